# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where in a TOML file what stands: enough to add lines to a file and leave the others as they are.

It is no parser, since what administrators wrote is never written anew; Python has one from 3.11 on only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_KEY = re.compile(r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))(?:[ \t]*(\.))?""")
_STRING = re.compile(r"""[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')""")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Statement:
    """A table's header, or a key with its value.

    Attributes:
        start: Its first line, counted from 0.
        end: The line after its last one.
        key: The parts of its key, or of the name of the table whose header it is.
        table: The table that it is in, or whose header it is.
        header: How many brackets its header has; 0 for a key.
        string: Its value, if that is a string of one line.
        name: Its key as it is written, with the white space before it; empty for a header.
    """

    start: int
    end: int
    key: tuple[str, ...]
    table: tuple[str, ...]
    header: int
    string: str | None
    name: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to it from the root of the file."""
        return self.table if self.header else (*self.table, *self.key)


def read_statements(lines: Sequence[str]) -> list[Statement]:
    """Return the statements of a TOML file in order; comments and blank lines are none.

    Args:
        lines: Its lines, which end with LF or CRLF (``own_lines.split_lines``).
    """
    found: list[Statement] = []
    table: tuple[str, ...] = ()
    place = 0
    while place < len(lines):
        start, text = place, lines[place].rstrip("\r\n")
        place += 1
        shown = text.strip(" \t")
        if not shown or shown.startswith("#"):
            continue
        if shown.startswith("["):
            brackets = 2 if shown.startswith("[[") else 1
            table, _end_of_key = _key(shown[brackets:])
            found.append(Statement(start, place, table, table, brackets, None))
            continue
        place = _end(lines, start)
        key, end = _key(text)
        match = _STRING.match(text, end)
        found.append(Statement(start, place, key, table, 0, _unquote(*match.groups()) if match else None, text[:end]))
    return found


def quote(text: str) -> str:
    """Return a TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dotted(path: Sequence[str]) -> str:
    """Return a TOML key of several parts."""
    return ".".join(part if _BARE.fullmatch(part) else quote(part) for part in path)


def _unquote(basic: str | None, literal: str | None) -> str:
    return literal or "" if basic is None else _ESCAPE.sub(r"\1", basic)


def _key(text: str) -> tuple[tuple[str, ...], int]:
    """Return the parts of the key that a text begins with, and the offset after it."""
    parts: list[str] = []
    place = 0
    while True:
        match = _KEY.match(text, place)
        if not match:
            return tuple(parts), place
        basic, literal, bare, dot = match.groups()
        parts.append(bare or _unquote(basic, literal))
        place = match.end()
        if not dot:
            return tuple(parts), place


def _end(lines: Sequence[str], start: int) -> int:
    """Return the line after a value's last one: arrays, and strings in three quotes, may have many lines."""
    depth, closing = 0, ""
    for number in range(start, len(lines)):
        depth, closing = _follow(lines[number], depth, closing)
        if not depth and not closing:
            return number + 1
    return len(lines)


def _follow(line: str, depth: int, closing: str) -> tuple[int, str]:
    """Read one line of a value, and return how deep in arrays it ends, and what closes the string that it ends in."""
    place = 0
    while place < len(line):
        if closing:
            if line[place] == "\\" and closing[0] == '"':
                place += 2
            elif line.startswith(closing, place):
                place += len(closing)
                closing = ""
            else:
                place += 1
            continue
        character = line[place]
        if character == "#":
            break
        if character in "\"'":
            closing = character * 3 if line.startswith(character * 3, place) else character
            place += len(closing)
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0)
        place += 1
    # A string in single quotes ends with its line, at the latest.
    return max(depth, 0), closing if len(closing) == 3 else ""
