# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that comes to a node in pieces: what is there of it, and the next piece."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..disk.files import file_blocks, open_regular, reading, write_all, writing
from ..disk.partial_file import Part, forget_expired, place_of_part
from ..errors import DestinationError, K8scrError, SourceError


@dataclass(frozen=True)
class Beginning:
    """What is there of a file.

    Attributes:
        whole: Whether that is all of it, in its place.
        part_size: The bytes of the part that is there; 0 for none.
        part_digest: The digest of these; empty where there are none.
    """

    whole: bool
    part_size: int
    part_digest: str


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
        with writing(target_path):
            write_all(target, block)


def look(path: Path, size: int, digest: str) -> Beginning:
    """Return what is there of a file.

    Args:
        path: Its place.
        size: Its bytes.
        digest: The digest of these.

    Raises:
        SourceError: What is there cannot be read.
    """
    if _measure(path, size) == (size, digest):
        return Beginning(True, 0, "")
    return Beginning(False, *_measure(place_of_part(path), size))


def append(path: Path, size: int, digest: str, piece: Path, offset: int) -> None:
    """Add a piece to what is there of a file, which takes its place when that is all of it.

    Args:
        path: Its place, in a folder that exists.
        size: Its bytes.
        digest: The digest of these.
        piece: A file with the piece.
        offset: Where in the file it begins; what is there from there on is dropped.

    Raises:
        DestinationError: It cannot be written, or less is there than what comes before the piece.
        SourceError: The piece cannot be read, or all pieces together are not the file that was to be sent.
    """
    forget_expired(path.parent)
    part = Part(path)
    try:
        if part.size() < offset:
            raise DestinationError(
                f"{path} cannot be written: of the {offset} bytes that were sent, {part.size()} are there",
                "Another run sends the same file; let it end, and run again",
            )
        with writing(path):
            os.ftruncate(part.descriptor, offset)
            os.lseek(part.descriptor, offset, os.SEEK_SET)
        _copy_all(piece, part.descriptor, path)
        if part.size() < size:
            part.abandon(keep=True)
            return
        if part.size() > size or digest_of_file(part.descriptor, size, str(path)) != digest:
            raise SourceError(f"{path} has become another while it was sent", "Run again when nobody changes it")
        part.finish()
    except BaseException as error:
        part.abandon(keep=not isinstance(error, K8scrError))
        raise


def _copy_all(piece: Path, target: int, path: Path) -> None:
    with reading(piece):
        source = open_regular(piece)
    try:
        copy_piece(source, 0, os.fstat(source).st_size, target, str(piece), str(path))
    finally:
        os.close(source)


def _measure(path: Path, limit: int) -> tuple[int, str]:
    """Return the size and the digest of a file; nothing of it where it is not there, or larger than it may be."""
    with reading(path):
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            return 0, ""
    try:
        size = os.fstat(descriptor).st_size
        return (size, digest_of_file(descriptor, size, str(path))) if size <= limit else (0, "")
    finally:
        os.close(descriptor)
