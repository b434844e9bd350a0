# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Positions of keys and tables in a TOML file, for edits that keep all other lines.

This is not a parser: it returns no values but strings. Python has a parser since 3.11 only, and no parser returns the
positions of entries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError

_KEY = re.compile(r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))(?:[ \t]*(\.))?""")
_STRING = re.compile(r"""[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')""")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Statement:
    """The header of a table, or a key with its value.

    Attributes:
        start: The number of the first line, counted from 0.
        end: The number of the line after the last one.
        key: The parts of the key, or of the name in the header.
        table: The table of the key, or the name in the header.
        header: The number of brackets of a header; 0 for a key.
        string: The value if it is a string of one line.
        name: The text of the key with the white space before it; empty for a header.
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
        """The keys from the root of the file."""
        return self.table if self.header else (*self.table, *self.key)


def read_statements(lines: Sequence[str]) -> list[Statement]:
    """Return the statements of a TOML file, from :func:`.managed_block.split_lines`, in order."""
    found: list[Statement] = []
    table: tuple[str, ...] = ()
    number = 0
    while number < len(lines):
        start, text = number, lines[number].rstrip("\r\n")
        number += 1
        stripped = text.strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("["):
            brackets = 2 if stripped.startswith("[[") else 1
            table, _end_of_key = _read_key(stripped[brackets:])
            found.append(Statement(start, number, table, table, brackets, None))
            continue
        number = _end_of_value(lines, start)
        key, end = _read_key(text)
        match = _STRING.match(text, end)
        string = _unquote(*match.groups()) if match else None
        found.append(Statement(start, number, key, table, 0, string, text[:end]))
    return found


def inline_table_error(statement: Statement) -> InputError:
    """Return the error for an inline table, which cannot have more keys."""
    name = dotted_key(statement.path)
    return InputError(
        f"it has {name} as an inline table, in line {statement.start + 1}",
        f"Write it as [{name}], with each key on a line below",
    )


def quote(text: str) -> str:
    """Return a TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dotted_key(parts: Sequence[str]) -> str:
    """Return a TOML key of several parts."""
    return ".".join(part if _BARE.fullmatch(part) else quote(part) for part in parts)


def _unquote(basic: str | None, literal: str | None) -> str:
    return literal or "" if basic is None else _ESCAPE.sub(r"\1", basic)


def _read_key(text: str) -> tuple[tuple[str, ...], int]:
    """Return the parts of the key at the beginning of a text, and the offset after it."""
    parts: list[str] = []
    offset, match = 0, _KEY.match(text)
    while match:
        basic, literal, bare, dot = match.groups()
        parts.append(bare or _unquote(basic, literal))
        offset = match.end()
        match = _KEY.match(text, offset) if dot else None
    return tuple(parts), offset


def _end_of_value(lines: Sequence[str], start: int) -> int:
    """Return the number of the line after a value: arrays and strings in three quotes may have several lines."""
    depth, closing = 0, ""
    for number in range(start, len(lines)):
        depth, closing = _scan_line(lines[number], depth, closing)
        if not depth and not closing:
            return number + 1
    return len(lines)


def _scan_line(line: str, depth: int, closing: str) -> tuple[int, str]:
    """Read one line of a value; return the depth of brackets at its end, and the quotes that end an open string."""
    offset = 0
    while offset < len(line):
        if closing:
            if line[offset] == "\\" and closing[0] == '"':
                offset += 2
            elif line.startswith(closing, offset):
                offset += len(closing)
                closing = ""
            else:
                offset += 1
            continue
        character = line[offset]
        if character == "#":
            break
        if character in "\"'":
            closing = character * 3 if line.startswith(character * 3, offset) else character
            offset += len(closing)
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0)
        offset += 1
    # Strings without three quotes end with their line.
    return max(depth, 0), closing if len(closing) == 3 else ""
