# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter ``images_in``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.filter.images_in import FilterModule

images_in = FilterModule().filters()["images_in"]
POD: dict[str, Any] = {"spec": {"containers": [{"image": "nginx:1", "args": ["--agent=quay.io/team/agent:2"]}]}}
TEXT = "spec: {containers: [{image: 'nginx:1', args: ['--agent=quay.io/team/agent:2']}]}"


@pytest.mark.parametrize("manifests", [TEXT, POD, [POD, POD]])
def test_images_in_returns_full_names(manifests: Any) -> None:
    assert images_in(manifests) == ["docker.io/library/nginx:1"]


def test_images_in_returns_guesses_on_request() -> None:
    assert images_in(POD, guess=True) == ["docker.io/library/nginx:1", "quay.io/team/agent:2"]


def test_images_in_reads_extra_paths() -> None:
    assert images_in({"kind": "Database", "spec": {"ref": "db:1"}}, extra_paths={"Database": ["spec.ref"]}) == [
        "docker.io/library/db:1"
    ]


# A process of its own: with the import of ansible.errors, Ansible sends the warnings of modules to its display.
FAIL = """
import json, sys
from ansible.errors import AnsibleFilterError
from ansible_collections.k8scr.core.plugins.filter.images_in import FilterModule
try:
    FilterModule().filters()["images_in"](json.loads(sys.argv[1]))
except AnsibleFilterError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("manifests", "message"),
    [
        ("a: [", "images_in: the text is not YAML"),
        (
            "manifests/app.yml",
            "images_in: a document is a text or a number, not an object. For a file, read",
        ),
        ("spec:\n  containers:\n  - image: '{{ image }}'\n", "line 3"),
        (
            [{"spec": {"containers": [{"image": "Invalid"}]}}],
            "spec.containers[0].image: 'Invalid' is not a valid",
        ),
    ],
)
def test_images_in_fails_for_invalid_manifests(manifests: Any, message: str) -> None:
    command = [sys.executable, "-c", FAIL, json.dumps(manifests)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert message in done.stdout
