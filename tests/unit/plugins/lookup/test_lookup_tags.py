# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup of tags."""

from __future__ import annotations

import os
import subprocess
import sys

# A process of its own: with the import of ansible.errors, Ansible sends the warnings of modules to its display.
RUN = """
import sys
from ansible.errors import AnsibleLookupError
from ansible_collections.k8scr.core.plugins.lookup import tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError

def find(terms, options):
    if terms == ["wrong"]:
        raise InputError("the tags are wrong", "Write others")
    return [*terms, options["semver"]]

tags.find_tags = find
lookup = tags.LookupModule.__new__(tags.LookupModule)
lookup.set_options = lambda **_options: None  # the options of the configuration need a loaded plugin
try:
    print(lookup.run([sys.argv[1]], {}, semver="1.x"))
except AnsibleLookupError as error:
    print(error, error.__cause__)
"""


def run(term: str) -> str:
    """Run the lookup with a function that finds the term and the range of versions, and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, term],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout.strip()


def test_lookup_returns_tags() -> None:
    assert run("team/api") == "['team/api', '1.x']"


def test_lookup_raises_error_of_ansible_without_cause() -> None:
    assert run("wrong") == "the tags are wrong. Write others. None"
