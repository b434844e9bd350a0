# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random access to the content of a file, plain or compressed with gzip (RFC 1952).

gzip has no random access. The first pass saves checkpoints; later reads resume at the nearest one, so nothing is
unpacked to disk.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE, Blocks
from .file_access import file_blocks, open_regular, read_errors

GZIP_FORMAT = 31
"""zlib's window size for gzip streams with the largest window. A header that zlib writes has no name and no time."""
_GZIP_MAGIC = b"\x1f\x8b"
_UNSUPPORTED = {b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ": ("xz", "unxz")}
_READ_SIZE = 16 << 10
"""Bytes per read of a compressed file; each checkpoint keeps up to as many."""
_MAXIMUM_CHECKPOINTS = 128
"""Each takes about 64 KiB. Half of that is deflate's window (RFC 1951)."""
_MAXIMUM_RATIO = 200
"""The largest ratio of content to file. Images compress by 2 to 5, decompression bombs by 1000."""
_ALWAYS_ALLOWED = 1 << 30
"""Bytes of content that even the smallest file may have."""


def open_content(path: Path, description: str) -> FileContent:
    """Open the content of a file. Only the first bytes are read.

    Raises:
        SourceError: The file cannot be read, or its compression is not supported.
    """
    with read_errors(path):
        descriptor = open_regular(path)
        try:
            beginning = os.pread(descriptor, 8, 0)
            for magic, (compression, command) in _UNSUPPORTED.items():
                if beginning.startswith(magic):
                    raise SourceError(
                        f"{description} is compressed with {compression}",
                        f"Decompress it first with {command}: its layers stay compressed",
                    )
            kind = _GzipContent if beginning.startswith(_GZIP_MAGIC) else FileContent
            return kind(descriptor, description)
        except BaseException:
            os.close(descriptor)
            raise


class FileContent:
    """The decompressed content of a file; in this class, the content of an uncompressed file.

    Attributes:
        compressed: Whether the file is compressed.
        length: The size of the content in bytes; ``None`` while it is unknown: gzip files must be read to the end.
    """

    compressed = False

    def __init__(self, descriptor: int, description: str) -> None:
        self.length: int | None = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._description = description

    def read(self, position: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``position``. One reader calls it, with ascending positions.

        Raises:
            SourceError: The file is damaged or truncated.
        """
        with read_errors(self._description):
            return os.pread(self._descriptor, size, position)

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        """Read ``length`` bytes at ``position``. Several readers can use it in parallel, at any position.

        Raises:
            SourceError: The file is truncated, damaged, or cannot be read.
        """
        return file_blocks(self._descriptor, position, length, what)

    def check_end(self) -> None:
        """Read to the end of the file, where gzip has the checksum and the length of the content.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def close(self) -> None:
        os.close(self._descriptor)


class _GzipContent(FileContent):
    """The content of a gzip file with one or more members."""

    compressed = True

    def __init__(self, descriptor: int, description: str) -> None:
        super().__init__(descriptor, description)
        limit = _ALWAYS_ALLOWED + _MAXIMUM_RATIO * os.fstat(descriptor).st_size
        self.length = None
        self._interval = BLOCK_SIZE
        self._reader = _GzipReader(descriptor, description, limit, zlib.decompressobj(GZIP_FORMAT))
        self._checkpoints = [self._reader.copy()]

    def read(self, position: int, size: int) -> bytes:
        self._reader.skip_to(position)
        if self._reader.position - self._checkpoints[-1].position >= self._interval:
            self._checkpoints.append(self._reader.copy())
            if len(self._checkpoints) > _MAXIMUM_CHECKPOINTS:
                del self._checkpoints[1::2]
                self._interval *= 2
        content = self._reader.read(size)
        if len(content) < size:
            self.length = self._reader.position
        return content

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        # The first checkpoint is at the beginning of the file.
        reader = [found for found in self._checkpoints if found.position <= position][-1].copy()
        reader.skip_to(position)
        while length:
            block = reader.read(min(length, BLOCK_SIZE))
            if not block:
                raise SourceError(f"{what} is truncated: {length} bytes are missing at its end")
            length -= len(block)
            yield memoryview(block)

    def check_end(self) -> None:
        # zlib verifies the checksum and the length of each member.
        while self._reader.read(BLOCK_SIZE):
            pass


@dataclass
class _GzipReader:
    """Reads a gzip stream, and decompresses only requested bytes. A copy serves as a checkpoint.

    Attributes:
        descriptor: The open file.
        limit: The maximum size of the content in bytes.
        position: The position in the content, in bytes.
        offset: The offset of the next bytes in the file.
        pending: Bytes from before that offset that are not decompressed yet.
    """

    descriptor: int
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
            raise SourceError(
                f"{self.description} decompresses to more than {self.limit} bytes, the limit for its size"
            )
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
        if len(rest) < len(_GZIP_MAGIC):
            rest += self._read_file()
        if not rest.startswith(_GZIP_MAGIC):
            return False
        self.pending = rest
        self.decompressor = zlib.decompressobj(GZIP_FORMAT)
        return True

    def _read_file(self) -> bytes:
        with read_errors(self.description):
            content = os.pread(self.descriptor, _READ_SIZE, self.offset)
        self.offset += len(content)
        return content
