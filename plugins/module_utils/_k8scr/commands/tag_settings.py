# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the rules that select tags, in the option ``tags`` and in the lookup of the same name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .numbers import TAG_COUNTS, require_bounds

if TYPE_CHECKING:
    from ..oci.tag_selection import TagSelection

TAGS_ARGUMENT_SPEC: dict[str, Any] = {
    # Ansible would split a string at commas, which ranges and patterns may contain.
    "semver": {"type": "raw"},
    # Ansible would convert the number 1.10 to the string 1.1, and a list to a pattern with brackets.
    "match": {"type": "raw"},
    "exclude": {"type": "raw"},
    "newest": {"type": "int"},
    "at_most": {"type": "int", "default": 20},
}
"""Argument spec of the rules."""
_LONGEST_PATTERN = 1000
"""Characters of a regular expression."""


def read_selection(options: Mapping[str, Any]) -> TagSelection:
    """Return the rules.

    Raises:
        InputError: A rule is not valid.
    """
    from ..oci.tag_selection import TagSelection
    from ..oci.version_range import parse_ranges

    return TagSelection(
        tuple(each for text in _texts(options, "semver") for each in parse_ranges(text)),
        _whole_pattern(options),
        tuple(_pattern("exclude", text) for text in _texts(options, "exclude")),
        None if options["newest"] is None else require_bounds(options["newest"], "newest", TAG_COUNTS),
        require_bounds(options["at_most"], "at_most", TAG_COUNTS),
    )


def _texts(options: Mapping[str, Any], name: str) -> list[str]:
    value = options[name]
    texts = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    # YAML reads 1.10 as the number 1.1.
    if any(isinstance(text, bool) or not isinstance(text, (str, int)) for text in texts):
        raise InputError(f"{name} is {value!r:.200}", "Write a string in quotes, or a list of such strings")
    return [str(text) for text in texts]


def _whole_pattern(options: Mapping[str, Any]) -> re.Pattern[str] | None:
    patterns = _texts(options, "match")
    if isinstance(options["match"], (list, tuple)):
        raise InputError(f"match is {options['match']!r:.200}", "Write one regular expression; | joins alternatives")
    return _pattern("match", patterns[0]) if patterns else None


def _pattern(name: str, text: str) -> re.Pattern[str]:
    if len(text) > _LONGEST_PATTERN:
        raise InputError(f"{name} has more than {_LONGEST_PATTERN} characters", "Write a shorter regular expression")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"{name} is {text!r:.200}, which is not a regular expression: {error}",
            r"Write it in the syntax of Python, as in ^v[0-9]+\.[0-9]+$",
        ) from error
