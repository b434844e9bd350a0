# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the members of JSON objects whose types must be right. All functions raise InputError for other types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError

LARGEST_NUMBER = 1 << 53
"""JSON parsers disagree on larger numbers (RFC 8259, "Numbers")."""
_SHA256 = re.compile("[0-9a-f]{64}")


def require_unique(names: Sequence[str], what: str) -> None:
    """Raise an error if names are not unique."""
    if len(set(names)) < len(names):
        raise InputError(f"its {what} have one name twice")


def objects(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a member that is a list of JSON objects; an empty list without it."""
    found = [] if value.get(key) is None else value[key]
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise InputError(f"its {key} are not a list of JSON objects")
    return found


def members(value: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return the members of a JSON object in a member; none without it."""
    found = {} if value.get(key) is None else value[key]
    if not isinstance(found, Mapping):
        raise InputError(f"its {key} are not a JSON object")
    return list(found.items())


def object_members(value: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the members of a JSON object in a member, which are all JSON objects."""
    found = members(value, key)
    if not all(isinstance(each, Mapping) for _name, each in found):
        raise InputError(f"its {key} are not JSON objects")
    return found


def texts(value: Mapping[str, Any], key: str) -> list[str]:
    """Return a member that is a list of strings; an empty list without it."""
    found = [] if value.get(key) is None else value[key]
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InputError(f"its {key} are not a list of strings")
    return found


def text(value: Mapping[str, Any], key: str) -> str:
    """Return a member that is a string and not empty."""
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise InputError(f"a {key} is not a string")
    return found


def number(value: Mapping[str, Any], key: str, least: int = 0, most: int = LARGEST_NUMBER) -> int:
    """Return a member that is an integer in a range."""
    return as_number(value.get(key), key, least, most)


def as_number(value: Any, what: str, least: int, most: int) -> int:
    """Return a value that is an integer in a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"a {what} is not a number from {least} to {most}")
    return value


def sha256_sum(value: Mapping[str, Any], key: str) -> str:
    """Return a member that is a SHA-256 sum."""
    found = value.get(key)
    if not isinstance(found, str) or not _SHA256.fullmatch(found):
        raise InputError(f"a {key} is not a SHA-256 sum")
    return found
