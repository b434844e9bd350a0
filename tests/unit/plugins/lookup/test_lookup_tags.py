# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup of tags."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleLookupError
from ansible_collections.k8scr.core.plugins.lookup import tags as lookup_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError


def run(*terms: Any, **options: Any) -> list[str]:
    """Run the lookup with options of a user."""
    lookup = lookup_tags.LookupModule.__new__(lookup_tags.LookupModule)
    lookup.set_options = lambda **_options: None  # the options of the configuration need a loaded plugin
    return lookup.run(list(terms), {}, **options)


def test_lookup_returns_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_tags, "find_tags", lambda terms, options: [*terms, options["semver"]])

    assert run("team/api", semver="1.x") == ["team/api", "1.x"]


def test_lookup_raises_error_of_ansible_without_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> list[str]:
        raise InputError("the tags are wrong", "Write others")

    monkeypatch.setattr(lookup_tags, "find_tags", fail)

    with pytest.raises(AnsibleLookupError, match=r"^the tags are wrong\. Write others\.$") as caught:
        run("team/api")

    assert caught.value.__cause__ is None
