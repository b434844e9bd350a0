# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The managed block: marked lines in a file of administrators, which can be replaced and removed.

Only LF and CRLF end a line, as in TOML. ``str.splitlines`` also splits at other line breaks of Unicode, which may occur
in comments and strings. Bytes outside the block do not change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InputError

BEGIN = "# BEGIN k8scr.core (these lines are written anew)"
BEGIN_WITHIN = "# BEGIN k8scr.core (this line break and these lines are written anew)"
"""Begins a block within a line: the line break before the marker is managed."""
BEGIN_LAST = "# BEGIN k8scr.core (the last line had no line break, and these lines are written anew)"
"""Begins a block after a last line without a line break: the break before the marker is managed if no line follows."""
END = "# END k8scr.core"
DISABLED = "# set aside by k8scr.core: "
"""Precedes a line of administrators that the block overrides."""
_BREAKS = r"[\n\r\x85\u2028\u2029]"
_BEGIN_MARK = "# BEGIN k8scr.core"


@dataclass(frozen=True)
class ManagedFile:
    """A file, divided at the markers.

    Attributes:
        unmanaged: The file without the managed block, with disabled lines enabled.
        managed: The managed block and the disabled lines.
        block: The line numbers of the block in ``text``, counted from 0.
        disabled: The line numbers in ``unmanaged`` of lines that are disabled outside the block.
    """

    text: str
    unmanaged: str
    managed: str
    block: range
    disabled: frozenset[int]


def split_lines(text: str) -> list[str]:
    """Return the lines of a file with their line breaks."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def has_entries(text: str) -> bool:
    """Return whether a file has more than comments and blank lines, also with the line breaks of YAML 1.1."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in re.split(_BREAKS, text))


def parse_markers(text: str, file: object = "the file") -> ManagedFile:
    """Divide a file at the markers; its path, ``file``, is for messages.

    Raises:
        InputError: The file has markers other than one BEGIN followed by one END.
    """
    lines = split_lines(text)
    block = _find_block(lines, file)
    before, replaced, after = lines[: block.start], "", lines[block.stop :]
    begin = lines[block.start].lstrip() if block else ""
    # A blank line after the block ends the last line before it.
    if begin.startswith(BEGIN_WITHIN) or (begin.startswith(BEGIN_LAST) and not "".join(after[:1]).strip("\r\n")):
        before, replaced = _before_joined_block(lines, block)
    unmanaged, managed, disabled = "", "", set()
    for line in [*before, None, *after]:
        if line is None:
            unmanaged += replaced
            managed += "".join(lines[block.start : block.stop])
        elif line.startswith(DISABLED):
            disabled.add(unmanaged.count("\n"))
            unmanaged += line[len(DISABLED) :]
            managed += line
        else:
            unmanaged += line
    return ManagedFile(text, unmanaged, managed, block, frozenset(disabled))


def remove_block(text: str) -> str:
    """Return a file without the managed block, with disabled lines enabled; see :func:`parse_markers`."""
    return parse_markers(text).unmanaged


def managed_lines(text: str) -> str:
    """Return the managed block and the disabled lines; see :func:`parse_markers`."""
    return parse_markers(text).managed


def insert_block(lines: Sequence[str], index: int, block: Iterable[str], disabled: Iterable[int] = ()) -> str:
    """Return a file with a managed block between its lines.

    Args:
        lines: The lines with their line breaks, without a managed block.
        index: The number of the line after the block.
        block: The lines of the block; an empty one is not inserted.
        disabled: The numbers of lines to disable: they are comments until the block is removed.
    """
    numbers = frozenset(disabled)
    kept = [f"{DISABLED}{line}" if number in numbers else line for number, line in enumerate(lines)]
    before, after, block = "".join(kept[:index]), "".join(kept[index:]), list(block)
    if not block:
        return before + after
    line_break = _line_break(lines)
    begin = f"{line_break}{BEGIN_LAST}" if before and not before.endswith("\n") else BEGIN
    return before + _with_markers(block, line_break, begin) + after


def replace_span(text: str, start: int, end: int, block: Iterable[str]) -> str:
    """Return a file with a managed block in place of ``text[start:end]``, which may begin and end within lines."""
    line_break = _line_break(split_lines(text))
    begin = f"{line_break}{BEGIN_WITHIN}"
    return text[:start] + _with_markers(list(block), line_break, begin, text[start:end]) + text[end:]


def _with_markers(block: Sequence[str], line_break: str, begin: str, replaced: str = "") -> str:
    disabled = [DISABLED + replaced.replace("\n", f"\n{DISABLED}")] if replaced else []
    return "".join(f"{line}{line_break}" for line in (begin, *block, *disabled, END))


def _line_break(lines: Sequence[str]) -> str:
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"


def _before_joined_block(lines: Sequence[str], block: range) -> tuple[list[str], str]:
    """Return the lines before a block whose preceding line break is managed, and the text that the block replaces."""
    line_break = _line_break(lines[block.start :])
    *before, last = lines[: block.start] or [""]
    replaced = "".join(lines[n][len(DISABLED) :] for n in block if lines[n].startswith(DISABLED))
    return [*before, last.removesuffix(line_break)], replaced.removesuffix(line_break)


def _find_block(lines: Sequence[str], file: object) -> range:
    stripped = enumerate(line.strip() for line in lines)
    marks = [(number, mark) for number, mark in stripped if mark.startswith((_BEGIN_MARK, END))]
    if not marks:
        return range(len(lines), len(lines))
    (first, mark), *others = marks
    if mark.startswith(END):
        raise _damaged(file, first, "this END has no BEGIN before it")
    if not others:
        raise _damaged(file, first, "this BEGIN has no END after it")
    second, mark = others[0]
    if not mark.startswith(END):
        raise _damaged(file, second, f"this BEGIN follows another one, in line {first + 1}, without END")
    if len(others) > 1:
        raise _damaged(file, others[1][0], f"this marker follows the complete block that ends in line {second + 1}")
    return range(first, second + 1)


def _damaged(file: object, number: int, reason: str) -> InputError:
    return InputError(
        f"the managed block of k8scr.core in {file} is damaged: line {number + 1}: {reason}",
        f"Put one '{END}' after the block and delete other markers, or restore the file from a backup",
    )
