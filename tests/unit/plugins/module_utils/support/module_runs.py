# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that run in the process of the test, with the options of a task."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from ansible.module_utils import basic

from .arguments import patch_module_args

_FOLDER = Path(__file__).parents[5] / "plugins/modules"
# k8scr_send is an action plugin.
MODULES = sorted(path.stem for path in _FOLDER.glob("k8scr_*.py") if path.stem != "k8scr_send")
REQUIRED: dict[str, dict[str, Any]] = {
    "k8scr_apply": {"definition": {}},
    "k8scr_archive_info": {"archives": ["/missing"]},
    "k8scr_bundle": {"dest": "/missing/bundle", "images": ["oci:/missing"]},
    "k8scr_carry": {"state": "saved"},
    "k8scr_find_images": {"src": ["/missing"]},
    "k8scr_image": {"name": "app:2", "from": "app:1"},
    "k8scr_mirror": {"runtime": "containerd", "path": "/missing", "endpoint": "http://10.0.0.1", "upstreams": ["*"]},
    "k8scr_node_mirror": {"image": "registry:3", "endpoint": "http://10.0.0.1", "upstreams": ["*"]},
    "k8scr_pull": {"images": ["app:1"]},
    "k8scr_push": {"images": ["oci:/missing"]},
    "k8scr_send_part": {"dest": "/missing/file", "size": 1, "digest": "sha256:0"},
}
"""Valid values of the required options of each module."""


def spec_of(module: str) -> dict[str, dict[str, Any]]:
    """Return the argument spec of a module."""
    with (
        patch.object(basic.AnsibleModule, "__init__", side_effect=KeyboardInterrupt) as made,
        pytest.raises(KeyboardInterrupt),
    ):
        _main_of(module)()
    spec: dict[str, dict[str, Any]] = made.call_args.args[0]
    return spec


def run_module(module: str, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """Run a module with its required options and others, and return its result. None removes an option."""
    given = {name: value for name, value in {**REQUIRED.get(module, {}), **options}.items() if value is not None}
    with patch_module_args(given), pytest.raises(SystemExit):
        _main_of(module)()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def _main_of(module: str) -> Any:
    return import_module(f"ansible_collections.k8scr.core.plugins.modules.{module}").main
