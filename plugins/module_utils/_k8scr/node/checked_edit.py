# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to configuration files, checked: their meaning stays the same but for our entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .managed_block import Marked, has_entries, own_part, read_marked, taken_back

KeyPath = tuple[str, ...]
"""The keys that lead to an entry; an entry of a list has itself as the last one."""
Meaning = Any
"""What a parser makes of a file: mappings, lists and values."""
_EMPTY = "<empty>"


class UnparsableError(InputError):
    """The text is not valid in its format; the message is the parser's."""


@dataclass(frozen=True)
class Format:
    """The format of a configuration file.

    Attributes:
        parse: Returns the meaning of a file. It raises :class:`UnparsableError` if the file is not valid, and another
            :class:`InputError` if the node has no parser.
        own_paths: Returns the entries that the managed block of a file sets or replaces.
    """

    parse: Callable[[str], Meaning]
    own_paths: Callable[[Marked], Iterable[KeyPath]]


def edited(file: object, before: str, after: str, kind: Format) -> str:
    """Return the new text of a file, once it is checked that only our entries differ.

    A file in which administrators have no entries is not parsed.

    Args:
        file: Its path, for messages.
        before: The file as it is.
        after: The file as it shall be.
        kind: Its format.

    Raises:
        InputError: Entries of administrators would be changed, or one of the two is not valid, or cannot be parsed.
    """
    old, new = read_marked(before, file), read_marked(after, file)
    if before == after or not has_entries(old.others):
        return after
    ours = list(kind.own_paths(new))
    meanings = []
    if after != old.others:
        # The administrators' entries, from which the new text was made.
        meanings.append((_parse(old.others, kind, f"{file} is not changed: it is not valid", "Correct it"), ours))
    if before != old.others:
        try:
            meanings.append((kind.parse(before), [*ours, *kind.own_paths(old)]))
        except UnparsableError:
            # Without the block it may be valid again.
            if after == old.others:
                return after
    advice = "Entries in an unusual form may be in the way; write them as the program's documentation does"
    changed = _parse(after, kind, f"{file} is not changed: it would no longer be valid", advice)
    for meaning, paths in meanings:
        compare(file, meaning, changed, paths)
    return after


def removed(file: object, text: str | None, kind: Format) -> str | None:
    """Return a file without the managed block; None if nothing else is in it.

    Raises:
        InputError: Entries of administrators depend on the block.
    """
    if text is None or own_part(text) == "":
        return text
    return edited(file, text, taken_back(text), kind) or None


def compare(file: object, before: Meaning, after: Meaning, ours: Iterable[KeyPath]) -> None:
    """Check that two meanings of a file differ only in our entries.

    Args:
        file: Its path, for messages.
        before: The meaning of the file as it is.
        after: The meaning of the file as it shall be.
        ours: Our entries.

    Raises:
        InputError: Others differ too.
    """
    ours = list(ours)
    for entry in sorted(set(entries_of(before)) ^ set(entries_of(after))):
        if not any(_belongs(entry, path) for path in ours):
            # The last key is the value, which may be a password.
            raise InputError(
                f"{file} is not changed: the change would affect {'.'.join(entry[:-1])}, an entry of the administrator",
                "Move entries that follow the managed block before it, or write them in another form",
            )


def entries_of(meaning: Meaning, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Return the entries of a file, each by the keys that lead to it and, at the end, its value."""
    if isinstance(meaning, dict) and meaning:
        for key, value in meaning.items():
            yield from entries_of(value, (*path, str(key)))
    elif isinstance(meaning, list) and meaning:
        for value in meaning:
            yield (*path, repr(value))
    else:
        yield (*path, _EMPTY if meaning in ({}, [], None) else repr(meaning))


def _belongs(entry: KeyPath, ours: KeyPath) -> bool:
    if entry[-1] == _EMPTY and ours[: len(entry) - 1] == entry[:-1]:
        return True
    return entry[: len(ours)] == ours


def _parse(text: str, kind: Format, problem: str, advice: str) -> Meaning:
    try:
        return kind.parse(text)
    except UnparsableError as error:
        raise InputError(f"{problem}: {error.message}", advice) from None
