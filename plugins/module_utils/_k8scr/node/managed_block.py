# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The managed block of a file that administrators own: marked, so that it can be replaced and removed.

Lines end with LF or CRLF alone, as in TOML: other line breaks of Unicode, at which ``str.splitlines`` splits too, may
stand in comments and strings. Every byte outside the block stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InputError

BEGIN = "# BEGIN k8scr.core (these lines are written anew)"
BEGIN_JOINED = "# BEGIN k8scr.core (this line break and these lines are written anew)"
"""Begins a block within a line, or after a last line without a line break: the one before the marker is ours."""
END = "# END k8scr.core"
SET_ASIDE = "# set aside by k8scr.core: "
_BREAKS = r"[\n\r\x85\u2028\u2029]"
_BEGIN_MARK = "# BEGIN k8scr.core"


@dataclass(frozen=True)
class Marked:
    """A file, divided at the markers.

    Attributes:
        text: The whole file.
        others: The file without the managed block, and with the lines that were set aside.
        own: The managed block, and the lines that were set aside.
        block: The numbers of the block's lines in ``text``, counted from 0.
        aside: The numbers of the lines in ``others`` that were set aside outside the block.
    """

    text: str
    others: str
    own: str
    block: range
    aside: frozenset[int]


def split_lines(text: str) -> list[str]:
    """Return the lines of a file with their line breaks."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def has_entries(text: str) -> bool:
    """Whether a file has more than comments and blank lines, also where lines end as in YAML 1.1."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in re.split(_BREAKS, text))


def read_marked(text: str, file: object = "the file") -> Marked:
    """Divide a file at the markers.

    Args:
        text: The file.
        file: Its path, for messages.

    Raises:
        InputError: The markers are not one BEGIN and, after it, one END.
    """
    lines = split_lines(text)
    block = _block(lines, file)
    if block and lines[block.start].lstrip().startswith(BEGIN_JOINED):
        before, replaced, after = _around_joined(lines, block)
    else:
        before, replaced, after = lines[: block.start], "", lines[block.stop :]
    others, own, aside = "", "", set()
    for line in [*before, None, *after]:
        if line is None:
            others += replaced
            own += "".join(lines[block.start : block.stop])
        elif line.startswith(SET_ASIDE):
            aside.add(others.count("\n"))
            others += line[len(SET_ASIDE) :]
            own += line
        else:
            others += line
    return Marked(text, others, own, block, frozenset(aside))


def taken_back(text: str) -> str:
    """Return the file as it is without the managed block, and with the lines that were set aside.

    Raises:
        InputError: As :func:`read_marked`.
    """
    return read_marked(text).others


def own_part(text: str) -> str:
    """Return the managed block and the lines that were set aside.

    Raises:
        InputError: As :func:`read_marked`.
    """
    return read_marked(text).own


def with_block(lines: Sequence[str], place: int, block: Iterable[str], aside: Iterable[int] = ()) -> str:
    """Return a file with a managed block between its lines.

    Args:
        lines: Its lines with their line breaks, without a managed block.
        place: The number of the line before which the block is inserted.
        block: The lines of the block; without any, nothing is added.
        aside: The numbers of lines to set aside: they become comments until the block is removed.
    """
    numbers = frozenset(aside)
    kept = [f"{SET_ASIDE}{line}" if number in numbers else line for number, line in enumerate(lines)]
    before, after, block = "".join(kept[:place]), "".join(kept[place:]), list(block)
    if not block:
        return before + after
    joined = bool(before) and not before.endswith("\n")
    return before + _marked(block, _line_break(lines), joined) + after


def with_span(text: str, start: int, end: int, block: Iterable[str]) -> str:
    """Return a file in which a managed block replaces a part of it, which may begin and end within lines.

    Args:
        text: The file, without a managed block.
        start: The offset of the replaced part.
        end: The offset after it.
        block: The lines of the block.
    """
    return text[:start] + _marked(list(block), _line_break(split_lines(text)), True, text[start:end]) + text[end:]


def _marked(block: Sequence[str], line_break: str, joined: bool, replaced: str = "") -> str:
    aside = [SET_ASIDE + replaced.replace("\n", f"\n{SET_ASIDE}")] if replaced else []
    begin = f"{line_break}{BEGIN_JOINED}" if joined else BEGIN
    return "".join(f"{line}{line_break}" for line in (begin, *block, *aside, END))


def _line_break(lines: Sequence[str]) -> str:
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"


def _around_joined(lines: Sequence[str], block: range) -> tuple[list[str], str, list[str]]:
    """Return the lines before a joined block, the text that it replaces, and the lines after it."""
    line_break = "\r\n" if lines[block.start].endswith("\r\n") else "\n"
    *before, last = lines[: block.start] or [""]
    replaced = "".join(lines[n][len(SET_ASIDE) :] for n in block if lines[n].startswith(SET_ASIDE))
    return (
        [*before, last.removesuffix(line_break)],
        replaced.removesuffix(line_break),
        list(lines[block.stop :]),
    )


def _block(lines: Sequence[str], file: object) -> range:
    marks = [(number, line.strip()) for number, line in enumerate(lines)]
    marks = [(number, mark) for number, mark in marks if mark.startswith((_BEGIN_MARK, END))]
    if not marks:
        return range(len(lines), len(lines))
    (first, mark), *others = marks
    if mark.startswith(END):
        raise _damaged(file, first, "this END has no BEGIN before it")
    if not others:
        raise _damaged(file, first, "this BEGIN has no END after it")
    second, mark = others[0]
    if not mark.startswith(END):
        raise _damaged(file, second, f"this BEGIN follows another one, in line {first + 1}, that has no END")
    if len(others) > 1:
        raise _damaged(file, others[1][0], f"this marker follows a block that is complete with line {second + 1}")
    return range(first, second + 1)


def _damaged(file: object, number: int, reason: str) -> InputError:
    return InputError(
        f"the managed block of k8scr.core in {file} is damaged: line {number + 1}: {reason}",
        f"Put one '{END}' after the block and delete other markers, or restore the file from a backup",
    )
