# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares results of modules with their documentation of return values."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import yaml

# Values of every module, which Ansible documents.
COMMON = {"changed", "diff", "failed", "invocation", "msg", "warnings"}
TYPES: dict[str, Any] = {
    "bool": bool,
    "dict": dict,
    "float": (int, float),
    "int": int,
    "list": list,
    "str": str,
}


def differences(
    module: str, result: Mapping[str, Any], *, check_mode: bool = False, options: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the differences between a result of a module and its documentation, in words.

    Args:
        options: The options of the task that the conditions of the return values name.
    """
    documentation = yaml.safe_load(import_module(f"ansible_collections.k8scr.core.plugins.modules.{module}").RETURN)
    given = {name for name, value in (options or {}).items() if value}
    found = [f"{name} is not documented" for name in sorted(set(result) - set(documentation) - COMMON)]
    for name, entry in documentation.items():
        expected = _is_returned(entry["returned"], bool(result.get("failed")), check_mode, given)
        if expected != (name in result):
            found.append(f"{name} is {'not ' if expected else ''}returned, although: {entry['returned']}")
        if name in result:
            found += _differences_of(name, entry, result[name])
    return found


def _is_returned(condition: str, failed: bool, check_mode: bool, given: set[str]) -> bool:
    """Return whether a condition applies. Failures of images and objects are no success."""
    known = {
        "success": not failed,
        "always": True,
        "success, not in check mode": not failed and not check_mode,
        "success, with O(state=present)": not failed and "faults" not in given,
        "success or a fault in the bundle, with O(state=verified)": "faults" in given,
        "with O(piece_dir)": not failed and "piece_dir" in given,
        "without O(piece)": not failed and "piece" not in given,
    }
    return known[condition]


def _differences_of(name: str, entry: Mapping[str, Any], value: Any) -> list[str]:
    # A bool is an int in Python.
    if not isinstance(value, TYPES[entry["type"]]) or (isinstance(value, bool) and entry["type"] != "bool"):
        return [f"{name} is {value!r:.50}, not of type {entry['type']}"]
    if entry["type"] != "list":
        return []
    wrong = [each for each in value if not isinstance(each, TYPES[entry["elements"]])]
    found = [f"{name} has {each!r:.50}, not of type {entry['elements']}" for each in wrong]
    if "contains" in entry:
        for each in value:
            found += [f"{name}[].{key} is not documented" for key in sorted(set(each) - set(entry["contains"]))]
            for key in set(each) & set(entry["contains"]):
                if each[key] is not None:
                    found += _differences_of(f"{name}[].{key}", entry["contains"][key], each[key])
    return found
