# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random access to the content of a file, plain or compressed.

gzip (RFC 1952) has no random access. Readers save checkpoints; later reads resume at the nearest one, so nothing is
unpacked to disk. Decompressors of zstd, xz and bzip2 cannot be copied, so these files are unpacked.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE
from .decompression import GZIP, GZIP_FORMAT, GZIP_MAGIC, MAGIC_SIZE, Format, find_format
from .file_access import file_blocks, read_errors
from .file_pool import FilePool, PooledFile, UnchangedFile
from .unpacking import content_limit, temporary_folder, too_large, unpack

_READ_SIZE = 16 << 10
"""Bytes per read of a compressed file; each checkpoint keeps up to as many."""
_MAXIMUM_CHECKPOINTS = 128
"""Each takes about 64 KiB. Half of that is deflate's window (RFC 1951)."""
_FILES = FilePool(32)
_GZIP_FILES = FilePool(4)
"""Each takes memory for checkpoints, which its next reader saves again after the pool closed the file."""
_UNPACKED_FILES = FilePool(4)
"""Each takes disk space. A file that the pool closed is unpacked again by its next reader."""


def open_content(path: Path, description: str, keep: bool = False, tmp_dest: str | None = None) -> FileContent:
    """Open the content of a file. Only the first bytes are read, unless it has to be unpacked.

    Args:
        keep: Whether the path is valid only now, so that the file stays open.
        tmp_dest: The folder for the unpacked content; by default TMPDIR or ``/var/tmp``.

    Raises:
        SourceError: The file cannot be read or unpacked.
    """
    opened = UnchangedFile(path, description)
    descriptor = opened()
    try:
        with read_errors(path):
            compression = find_format(os.pread(descriptor, MAGIC_SIZE, 0))
    finally:
        os.close(descriptor)
    if compression is None:
        return FileContent(PooledFile(_FILES, opened, keep), description)
    if compression is GZIP:
        return _GzipContent(opened, description)
    unpacked = partial(_unpack, opened, compression, temporary_folder(tmp_dest), description)
    return FileContent(PooledFile(_UNPACKED_FILES, unpacked), description, compressed=True)


def _unpack(opened: UnchangedFile, compression: Format, folder: Path, description: str) -> int:
    descriptor = opened()
    try:
        return unpack(descriptor, compression, folder, description)
    finally:
        os.close(descriptor)


class FileContent:
    """The decompressed content of a file; in this class, the content of an uncompressed or unpacked file.

    Attributes:
        compressed: Whether the file is compressed.
        length: The size of the content in bytes; ``None`` while it is unknown: gzip files must be read to the end.
    """

    def __init__(self, file: PooledFile, description: str, compressed: bool = False) -> None:
        self.compressed = compressed
        self._file = file
        self._description = description
        with file.use() as descriptor:
            self.length: int | None = os.fstat(descriptor).st_size

    def read(self, position: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``position``. One reader calls it, with ascending positions.

        Raises:
            SourceError: The file is damaged or truncated.
        """
        with read_errors(self._description), self._file.use() as descriptor:
            return os.pread(descriptor, size, position)

    def blocks(self, position: int, length: int, what: str) -> Generator[memoryview, None, None]:
        """Read ``length`` bytes at ``position``. Several readers can use it in parallel, at any position.

        Raises:
            SourceError: The file is truncated, damaged, or cannot be read.
        """
        with self._file.use() as descriptor:
            yield from file_blocks(descriptor, position, length, what)

    def check_end(self) -> None:
        """Read to the end of the file, where gzip has the checksum and the length of the content.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def close(self) -> None:
        self._file.close()


class _GzipContent(FileContent):
    """The content of a gzip file with one or more members."""

    def __init__(self, opened: UnchangedFile, description: str) -> None:
        super().__init__(PooledFile(_GZIP_FILES, opened, on_close=self._forget_checkpoints), description, True)
        limit = content_limit(self.length or 0)
        self.length = None
        self._lock = threading.Lock()
        self._beginning = _GzipReader(self._file, description, limit, zlib.decompressobj(GZIP_FORMAT))
        self._reader = self._beginning.copy()
        self._forget_checkpoints()

    def read(self, position: int, size: int) -> bytes:
        self._reader.skip_to(position)
        self._save_checkpoint(self._reader)
        content = self._reader.read(size)
        if len(content) < size:
            self.length = self._reader.position
        return content

    def blocks(self, position: int, length: int, what: str) -> Generator[memoryview, None, None]:
        with self._file.use():
            reader = self._nearest(position)
            while reader.position < position and reader.read(min(position - reader.position, BLOCK_SIZE)):
                self._save_checkpoint(reader)
            while length:
                block = reader.read(min(length, BLOCK_SIZE))
                if not block:
                    raise SourceError(f"{what} is truncated: {length} bytes are missing at its end")
                length -= len(block)
                self._save_checkpoint(reader)
                yield memoryview(block)

    def _nearest(self, position: int) -> _GzipReader:
        """Return a reader at the last checkpoint before a position."""
        with self._lock:
            checkpoints = [found for found in self._checkpoints if found.position <= position]
        return (checkpoints[-1] if checkpoints else self._beginning).copy()

    def _save_checkpoint(self, reader: _GzipReader) -> None:
        with self._lock:
            latest = self._checkpoints[-1] if self._checkpoints else self._beginning
            if reader.position - latest.position < self._interval:
                return
            self._checkpoints.append(reader.copy())
            if len(self._checkpoints) > _MAXIMUM_CHECKPOINTS:
                del self._checkpoints[::2]
                self._interval *= 2

    def _forget_checkpoints(self) -> None:
        self._interval = BLOCK_SIZE
        self._checkpoints: list[_GzipReader] = []

    def check_end(self) -> None:
        # zlib verifies the checksum and the length of each member.
        while self._reader.read(BLOCK_SIZE):
            pass
        # The reader at the end takes as much memory as a checkpoint.
        self._reader = self._beginning


@dataclass
class _GzipReader:
    """Reads a gzip stream, and decompresses only requested bytes. A copy serves as a checkpoint.

    Attributes:
        limit: The maximum size of the content in bytes.
        position: The position in the content, in bytes.
        offset: The offset of the next bytes in the file.
        pending: Bytes from before that offset that are not decompressed yet.
    """

    file: PooledFile
    description: str
    limit: int
    decompressor: Any
    position: int = 0
    offset: int = 0
    pending: bytes = b""

    def copy(self) -> _GzipReader:
        return replace(self, decompressor=self.decompressor.copy())

    def skip_to(self, position: int) -> None:
        """Read to a position, or to the end of the content."""
        while self.position < position and self.read(min(position - self.position, BLOCK_SIZE)):
            pass

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end.

        Raises:
            SourceError: The file is damaged, truncated, or decompresses to more than the limit.
        """
        outputs, missing = [], size
        while missing and (self.pending or self._fill()):
            try:
                output = self.decompressor.decompress(self.pending, missing)
            except zlib.error as error:
                raise SourceError(f"{self.description} is damaged: {error}", "Create or copy it again") from error
            self.pending = self.decompressor.unconsumed_tail
            if self.decompressor.eof and not self._start_member():
                missing = len(output)
            outputs.append(output)
            missing -= len(output)
            self.position += len(output)
        if self.position > self.limit:
            raise too_large(self.description, self.limit)
        return b"".join(outputs)

    def _fill(self) -> bool:
        """Read more of the file, and return whether the stream continues."""
        if self.decompressor.eof:
            return False
        self.pending = self._read_file()
        if not self.pending:
            raise SourceError(f"{self.description} is truncated", "The copy is incomplete; copy it again")
        return True

    def _start_member(self) -> bool:
        """Start the next member, if any. Other data after the last member is ignored."""
        rest = self.decompressor.unused_data
        if len(rest) < len(GZIP_MAGIC):
            rest += self._read_file()
        if not rest.startswith(GZIP_MAGIC):
            return False
        self.pending = rest
        self.decompressor = zlib.decompressobj(GZIP_FORMAT)
        return True

    def _read_file(self) -> bytes:
        with read_errors(self.description), self.file.use() as descriptor:
            content = os.pread(descriptor, _READ_SIZE, self.offset)
        self.offset += len(content)
        return content
