# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that comes to a node in pieces: what is there of it, and the next piece.

Each piece comes with a process of its own, and several runs may send the same file at once. So what is there is never
taken back: pieces of the same file are the same bytes at the same places, whoever brings them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import DestinationError, SourceError
from ..files.file_access import file_blocks, open_regular, read_errors, write_all, write_errors
from ..files.locked_file import open_locked
from ..files.partial_file import partial_path


class FileMover(Protocol):
    """What of AnsibleModule is needed here."""

    def atomic_move(self, src: str, dest: str) -> None:
        """Put a file in another's place, with that one's owner and mode."""


@dataclass(frozen=True)
class Beginning:
    """What is there of a file.

    Attributes:
        whole: Whether that is all of it, in its place.
        part_size: The bytes of the part that is there; 0 for none.
        part_digest: The digest of these; empty where there are none.
    """

    whole: bool
    part_size: int = 0
    part_digest: str = ""


def digest_of_file(descriptor: int, size: int, what: str) -> str:
    """Return the digest of an open file's first ``size`` bytes.

    Raises:
        SourceError: It has fewer, or cannot be read.
    """
    hasher = hashlib.sha256()
    for block in file_blocks(descriptor, 0, size, what):
        hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def copy_piece(source: int, start: int, length: int, target: int, source_path: str, target_path: str) -> None:
    """Copy ``length`` bytes of an open file from ``start`` on to where another one is at.

    Raises:
        SourceError: The file ends before, or cannot be read.
        DestinationError: The other one cannot be written.
    """
    for block in file_blocks(source, start, length, source_path):
        with write_errors(target_path):
            write_all(target, block)


def look(path: Path, size: int, digest: str) -> Beginning:
    """Return what is there of a file.

    Args:
        path: Its place.
        size: Its bytes.
        digest: The digest of these.

    Raises:
        SourceError: What is there cannot be read.
        DestinationError: A part is there that is somebody else's.
    """
    if _is_whole(path, size, digest):
        return Beginning(whole=True)
    if not partial_path(path).exists():
        return Beginning(whole=False)
    with _part(path) as part:
        there = os.fstat(part).st_size
        if not 0 < there <= size:
            return Beginning(whole=False)
        return Beginning(whole=False, part_size=there, part_digest=digest_of_file(part, there, str(path)))


def append(path: Path, size: int, digest: str, piece: Path, offset: int, mover: FileMover) -> None:
    """Add a piece to what is there of a file, which takes its place when that is all of it.

    Args:
        path: Its place, in a folder that exists.
        size: Its bytes.
        digest: The digest of these.
        piece: A file with the piece.
        offset: Where in the file it begins; 0 begins anew, whatever is there.
        mover: The module.

    Raises:
        DestinationError: It cannot be written, or less is there than what comes before the piece.
        SourceError: The piece cannot be read, or all pieces together are not the file that was to be sent.
    """
    place = partial_path(path)
    with _part(path) as part:
        there = os.fstat(part).st_size
        if there < offset:
            # An answer that was lost is asked for again: then this was the last piece.
            whole = _is_whole(path, size, digest)
            if not there:
                place.unlink()
            if whole:
                return
            raise DestinationError(
                f"{path} cannot be written: of the {offset} bytes that were sent, {there} are there",
                "Another run sends another file to the same place; let it end, and run again",
            )
        try:
            with write_errors(path):
                if not offset:
                    os.ftruncate(part, 0)
                os.lseek(part, offset, os.SEEK_SET)
            _copy_all(piece, part, path)
        except DestinationError:
            # A node whose disk is full needs the room.
            place.unlink()
            raise
        if os.fstat(part).st_size < size:
            return
        if os.fstat(part).st_size > size or digest_of_file(part, size, str(path)) != digest:
            place.unlink()
            raise SourceError(f"{path} has become another while it was sent", "Run again when nobody changes it")
        with write_errors(path):
            os.fsync(part)
        mover.atomic_move(str(place), str(path))


@contextmanager
def _part(path: Path) -> Iterator[int]:
    """Open and lock the partial file of a file; it is created if it is missing."""
    place = partial_path(path)
    with write_errors(place):
        part = open_locked(place, wait=True)
    if part is None:
        raise DestinationError(
            f"{place} is not a file of this user's own, as what was sent so far must be",
            "See whose it is, and delete it",
        )
    try:
        yield part
    finally:
        os.close(part)


def _is_whole(path: Path, size: int, digest: str) -> bool:
    with read_errors(path):
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            return False
    try:
        return os.fstat(descriptor).st_size == size and digest_of_file(descriptor, size, str(path)) == digest
    finally:
        os.close(descriptor)


def _copy_all(piece: Path, target: int, path: Path) -> None:
    with read_errors(piece):
        source = open_regular(piece)
    try:
        copy_piece(source, 0, os.fstat(source).st_size, target, str(piece), str(path))
    finally:
        os.close(source)
