# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of ours in a file that is someone else's: marked, so that they can be written anew and taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BEGIN = "# BEGIN k8scr.core (these lines are written anew)"
END = "# END k8scr.core"
SET_ASIDE = "# set aside by k8scr.core: "


def taken_back(text: str) -> str:
    """Return the file as it is without our lines, and with those that we had set aside."""
    kept: list[str] = []
    ours = False
    for line in text.splitlines(keepends=True):
        if line.startswith(BEGIN):
            ours = True
        elif not ours:
            kept.append(line.removeprefix(SET_ASIDE))
        elif line.startswith(END):
            ours = False
    return "".join(kept)


def own_part(text: str) -> str:
    """Return the lines of a file that are ours or set aside by us."""
    others = taken_back(text).splitlines(keepends=True)
    own: list[str] = []
    for line in text.splitlines(keepends=True):
        if others and line == others[0]:
            others.pop(0)
        else:
            own.append(line)
            if line.startswith(SET_ASIDE):
                others.pop(0)
    return "".join(own)


def with_block(lines: Sequence[str], place: int, block: Iterable[str], aside: Iterable[int] = ()) -> str:
    """Return a file with lines of ours.

    Args:
        lines: Its lines, without ours.
        place: Before which of them ours shall stand.
        block: Our lines; without any, nothing is added.
        aside: Which of its lines are set aside: they become comments until ours are taken back.
    """
    numbers = frozenset(aside)
    kept = [f"{SET_ASIDE}{line}" if number in numbers else line for number, line in enumerate(lines)]
    block = list(block)
    ours = [BEGIN, *block, END] if block else []
    return "".join(f"{line}\n" for line in (*kept[:place], *ours, *kept[place:]))
