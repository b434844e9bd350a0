# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receive a file in pieces: return the state of its partial file, and append the next piece.

A new process receives each piece, and several tasks may copy the same file at once. Existing data is therefore never
truncated: pieces of the same file have the same bytes at the same offset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import DestinationError, SourceError
from ..files.file_access import exists, file_blocks, open_regular, read_errors, sync, write_all, write_errors
from ..files.locked_file import open_locked
from ..files.partial_file import partial_path
from ..oci.digest import digest_of_blocks
from .host import HostFiles

_FIRST_PIECE = 4 << 20
_SMALLEST_PIECE = 1 << 20
_LARGEST_PIECE = 256 << 20
_LONG = 10.0
"""Target seconds for a piece: the next piece doubles after a faster one, and halves after a slower one."""


@contextmanager
def open_source(path: Path | str) -> Iterator[int]:
    """Open a regular file for reading.

    Raises:
        SourceError: The file cannot be opened, or is not a regular file.
    """
    with read_errors(path):
        source = open_regular(path)
    try:
        yield source
    finally:
        os.close(source)


@dataclass(frozen=True)
class TransferState:
    """The state of a file: whether it is complete, and the size and the digest of its partial file."""

    whole: bool
    part_size: int = 0
    part_digest: str = ""


def digest_of_file(descriptor: int, size: int, what: str) -> str:
    """Return the digest of the first ``size`` bytes of an open file.

    Raises:
        SourceError: The file is shorter, or cannot be read.
    """
    return digest_of_blocks(file_blocks(descriptor, 0, size, what))


def copy_piece(source: int, start: int, length: int, target: int, source_path: str, target_path: str) -> None:
    """Copy ``length`` bytes at offset ``start`` of an open file to the current offset of another one.

    Raises:
        SourceError: The source is shorter, or cannot be read.
        DestinationError: The target cannot be written.
    """
    for block in file_blocks(source, start, length, source_path):
        with write_errors(target_path):
            write_all(target, block)


def free_space(folder: Path) -> int:
    """Return the bytes that users may still write to the file system of a folder.

    A file system without a size, such as ramfs, has no limit. The largest piece always fits in it.

    Raises:
        SourceError: The file system cannot be read.
    """
    with read_errors(folder):
        state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize if state.f_blocks else 2 * _LARGEST_PIECE


class PieceSize:
    """The size of the next piece: it grows while pieces arrive quickly, and half of the free space is the maximum."""

    def __init__(self) -> None:
        self._size = _FIRST_PIECE

    def fit(self, remaining: int, room: int, folder: str) -> int:
        """Return the size of the next piece in bytes.

        Args:
            remaining: The bytes of the file that are still missing.
            room: The free space in the folder that receives the pieces, which other programs need too.
            folder: That folder, for messages.

        Raises:
            DestinationError: The free space is too small.
        """
        size = min(self._size, room // 2)
        if size < min(_SMALLEST_PIECE, remaining):
            raise DestinationError(
                f"the folder {folder} on the host, which receives the pieces of the file, has only {room} bytes free",
                f"Free {2 * _SMALLEST_PIECE} bytes there, or set ansible_remote_tmp to another folder",
            )
        return min(size, remaining)

    def sent(self, seconds: float) -> None:
        """Adapt the size to the seconds that the last piece took."""
        fast = seconds < _LONG
        self._size = min(2 * self._size, _LARGEST_PIECE) if fast else max(self._size // 2, _SMALLEST_PIECE)


@dataclass(frozen=True)
class FileTransfer:
    """A file to receive in an existing folder, with its complete size in bytes and its digest."""

    path: Path
    size: int
    digest: str

    def state(self) -> TransferState:
        """Return the state of the file.

        Raises:
            SourceError: An existing file cannot be read.
            DestinationError: The partial file is not usable.
        """
        if self._is_complete():
            return TransferState(whole=True)
        if not exists(partial_path(self.path)):
            return TransferState(whole=False)
        with self._open_partial_file() as partial:
            part_size = os.fstat(partial).st_size
            if not 0 < part_size <= self.size:
                return TransferState(whole=False)
            return TransferState(False, part_size, digest_of_file(partial, part_size, str(self.path)))

    def append(self, piece: Path, offset: int, files: HostFiles) -> None:
        """Append a piece to the partial file, and move the file to its path when it is complete.

        An ``offset`` of 0 discards the existing partial file.

        Args:
            piece: The file with the piece.
            offset: The offset of the piece in the complete file, in bytes.
            files: The module, which moves the complete file.

        Raises:
            DestinationError: The file cannot be written, or data before the piece is missing.
            SourceError: The piece cannot be read, or the complete file has another size or digest.
        """
        partial_file = partial_path(self.path)
        with self._open_partial_file() as partial:
            part_size = os.fstat(partial).st_size
            if part_size < offset:
                # The caller repeats the last piece if it did not receive the response to it.
                complete = self._is_complete()
                if not part_size:
                    partial_file.unlink()
                if complete:
                    return
                raise DestinationError(
                    f"{self.path} cannot be written: the next piece begins at byte {offset}, and the partial file has"
                    f" {part_size} bytes",
                    "Another task copies a different file to this path; wait until it ends, and run again",
                )
            try:
                with write_errors(self.path):
                    if not offset:
                        os.ftruncate(partial, 0)
                    os.lseek(partial, offset, os.SEEK_SET)
                with open_source(piece) as source:
                    copy_piece(source, 0, os.fstat(source).st_size, partial, str(piece), str(self.path))
            except DestinationError:
                # Free the space: the disk of the node may be full.
                partial_file.unlink()
                raise
            part_size = os.fstat(partial).st_size
            if part_size < self.size:
                return
            if part_size > self.size or digest_of_file(partial, part_size, str(self.path)) != self.digest:
                partial_file.unlink()
                raise SourceError(
                    f"{self.path} cannot be written: the source changed during the transfer",
                    "Run again when it no longer changes",
                )
            with write_errors(self.path):
                sync(partial)
            files.atomic_move(str(partial_file), str(self.path))

    @contextmanager
    def _open_partial_file(self) -> Iterator[int]:
        """Open and lock the partial file; create it if it is missing."""
        partial_file = partial_path(self.path)
        with write_errors(partial_file):
            partial = open_locked(partial_file, wait=True)
        if partial is None:
            raise DestinationError(
                f"{partial_file} is not used: it is not a regular file of this user without other hard links",
                "Check which user created it, and delete it",
            )
        try:
            yield partial
        finally:
            os.close(partial)

    def _is_complete(self) -> bool:
        with read_errors(self.path):
            try:
                file = open_regular(self.path)
            except FileNotFoundError:
                return False
        try:
            size = os.fstat(file).st_size
            return size == self.size and digest_of_file(file, size, str(self.path)) == self.digest
        finally:
            os.close(file)
