# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of changed configuration files: entries outside the managed block keep their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .managed_block import ManagedFile, has_entries, managed_lines, parse_markers, remove_block, split_lines

KeyPath = tuple[str, ...]
"""The keys of an entry; for an item of a list, the last key is the item."""
Parsed = Any
"""A parsed file: mappings, lists and values."""
_EMPTY = "<empty>"


class UnparsableError(InputError):
    """The text is not valid in its format; the message is the parser's."""


@dataclass(frozen=True)
class FileFormat:
    """The format of a configuration file.

    Attributes:
        parse: Parses a file. It raises :class:`UnparsableError` if the file is not valid, and another
            :class:`InputError` if the node has no parser.
        managed_keys: Returns the keys of the entries that the managed block sets or replaces.
    """

    parse: Callable[[str], Parsed]
    managed_keys: Callable[[ManagedFile], Iterable[KeyPath]]


@contextmanager
def edit_errors(file: object) -> Iterator[None]:
    """Name the file, which is not changed, in errors about its content."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file} is not changed: {error.message}", error.advice) from error


def checked_edit(file: object, before: str, after: str, file_format: FileFormat) -> str:
    """Return the new text of a file after checking that it differs from the existing text only in managed entries.

    A file without entries of administrators is not parsed. Its path, ``file``, is for messages.

    Raises:
        InputError: Entries of administrators would change, or one of the texts is not valid or cannot be parsed.
    """
    old, new = parse_markers(before, file), parse_markers(after, file)
    # Without the block, a last comment may join the line after it: earlier versions marked no last line as such.
    outside = "".join(line for number, line in enumerate(split_lines(before)) if number not in old.block)
    if before == after or not (has_entries(old.unmanaged) or has_entries(outside)):
        return after
    managed = list(file_format.managed_keys(new))
    comparisons = []
    if after != old.unmanaged:
        # Line numbers in the message are those of the text without the block.
        state = "it is not valid" if before == old.unmanaged else "it is not valid without the managed block"
        parsed = _parse(old.unmanaged, file_format, f"{file} is not changed: {state}", "Correct the file")
        comparisons.append((parsed, managed))
    if before != old.unmanaged:
        try:
            comparisons.append((file_format.parse(before), [*managed, *file_format.managed_keys(old)]))
        except UnparsableError:
            # The file may become valid without the block.
            if after == old.unmanaged:
                return after
    advice = "Write unusual entries in the form of the program's documentation"
    changed = _parse(after, file_format, f"{file} is not changed: it would no longer be valid", advice)
    for parsed, keys in comparisons:
        check_entries(file, parsed, changed, keys)
    return after


def checked_removal(file: object, text: str | None, file_format: FileFormat) -> str | None:
    """Return a file without the managed block, or None if nothing else is in it.

    Raises:
        InputError: Entries of administrators depend on the block.
    """
    if text is None or managed_lines(text) == "":
        return text
    return checked_edit(file, text, remove_block(text), file_format) or None


def check_entries(file: object, before: Parsed, after: Parsed, managed: Iterable[KeyPath]) -> None:
    """Check that the existing and the new version of a file differ only in entries with managed keys.

    Raises:
        InputError: Other entries differ.
    """
    keys = list(managed)
    for entry in sorted(set(list_entries(before)) ^ set(list_entries(after))):
        if not any(_belongs(entry, each) for each in keys):
            # The last key is the value, which may be a password.
            raise InputError(
                f"{file} is not changed: the change would affect {'.'.join(entry[:-1])}, an entry of the administrator",
                "Move entries that follow the managed block before it, or write them in another form",
            )


def list_entries(parsed: Parsed, keys: KeyPath = ()) -> Iterator[KeyPath]:
    """Return the entries of a parsed file, each as its keys followed by its value."""
    if isinstance(parsed, dict) and parsed:
        for key, value in parsed.items():
            yield from list_entries(value, (*keys, str(key)))
    elif isinstance(parsed, list) and parsed:
        for value in parsed:
            yield (*keys, repr(value))
    else:
        yield (*keys, _EMPTY if parsed in ({}, [], None) else repr(parsed))


def _belongs(entry: KeyPath, managed: KeyPath) -> bool:
    if entry[-1] == _EMPTY and managed[: len(entry) - 1] == entry[:-1]:
        return True
    return entry[: len(managed)] == managed


def _parse(text: str, file_format: FileFormat, problem: str, advice: str) -> Parsed:
    try:
        return file_format.parse(text)
    except UnparsableError as error:
        raise InputError(f"{problem}: {error.message}", advice) from None
