# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action groups, for ``module_defaults``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.doc_fragments import auth, docker_daemon, progress, registry

COLLECTION = Path(__file__).resolve().parents[3]
PREFIX = "k8scr.core."
GROUPS = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())["action_groups"]
_AUTH = auth.ModuleDocFragment.DOCUMENTATION
_POD = registry.ModuleDocFragment.POD
_TRANSFER = registry.ModuleDocFragment.DOCUMENTATION
_ENGINE = docker_daemon.ModuleDocFragment.DOCUMENTATION
_PROGRESS = progress.ModuleDocFragment.DOCUMENTATION
# The documented options of each group, as the doc fragments that describe them.
FRAGMENTS = {"k8scr": [_AUTH], "registry": [_AUTH, _POD], "images": [_AUTH, _POD, _TRANSFER, _ENGINE, _PROGRESS]}


@pytest.fixture(scope="module")
def documentation() -> Mapping[str, Any]:
    """The documentation of all modules by their short names, with the options of doc fragments."""
    names = [PREFIX + file.stem for file in sorted((COLLECTION / "plugins/modules").glob("*.py"))]
    command = ["ansible-doc", "--type", "module", "--json", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.removeprefix(PREFIX): module["doc"] for name, module in json.loads(done.stdout).items()}


def shared_options(group: str) -> set[str]:
    """Return the options that users may set for all modules of a group."""
    return {option for fragment in FRAGMENTS[group] for option in yaml.safe_load(fragment)["options"]}


def test_documentation_describes_all_groups() -> None:
    assert set(GROUPS) == set(FRAGMENTS)


@pytest.mark.parametrize("group", GROUPS)
def test_modules_of_group_have_its_options(group: str, documentation: Mapping[str, Any]) -> None:
    members = {name for name, module in documentation.items() if shared_options(group) <= set(module["options"])}

    assert set(GROUPS[group]) == members


def test_modules_document_their_groups(documentation: Mapping[str, Any]) -> None:
    for name, module in documentation.items():
        documented = module["attributes"].get("action_group", {}).get("membership", [])
        assert documented == [PREFIX + group for group in GROUPS if name in GROUPS[group]], name
