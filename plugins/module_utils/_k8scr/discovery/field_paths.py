# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths of fields: ``spec.image``, ``spec.templates[].container.image``, ``spec.*.image``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

_STEP = re.compile(r"(?P<key>[A-Za-z0-9_-]+|\*)(?P<items>\[\])?")
_ANY = "*"


@dataclass(frozen=True)
class FieldPath:
    """A path of fields.

    Attributes:
        steps: The keys, each with whether its value is a list whose items are meant; ``*`` stands for every key.
    """

    steps: tuple[tuple[str, bool], ...]

    def values(self, item: object) -> Iterator[tuple[str, Any]]:
        """Yield the values at the path, each with its path in the object. Other types than expected are skipped."""
        reached: list[tuple[str, Any]] = [("", item)]
        for key, is_list in self.steps:
            reached = [
                found
                for before, value in reached
                for name in _keys(value, key)
                for found in _items(f"{before}.{name}" if before else name, value[name], is_list)
            ]
        yield from reached


def parse_field_path(text: str, where: str) -> FieldPath:
    """Parse a path.

    Args:
        where: The option in messages.

    Raises:
        InputError: The path is not valid.
    """
    matches = [_STEP.fullmatch(step) for step in text.removeprefix(".").split(".")]
    steps = tuple((match["key"], bool(match["items"])) for match in matches if match)
    if len(steps) < len(matches):
        raise InputError(
            f"{where} has the invalid path {text!r:.100}",
            "Write keys with dots between them, and [] after the key of a list, as in spec.templates[].image",
        )
    return FieldPath(steps)


def _keys(value: object, key: str) -> list[str]:
    if not isinstance(value, Mapping):
        return []
    if key == _ANY:
        return list(value)
    return [key] if key in value else []


def _items(path: str, value: Any, is_list: bool) -> list[tuple[str, Any]]:
    if not is_list:
        return [(path, value)]
    items = value if isinstance(value, list) else []
    return [(f"{path}[{number}]", item) for number, item in enumerate(items)]
