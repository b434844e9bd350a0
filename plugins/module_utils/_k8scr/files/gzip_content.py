# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random access to the content of a gzip file (RFC 1952).

gzip has no random access. The first pass saves checkpoints; later reads resume at the nearest one, so nothing is
unpacked to disk.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import Any

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE, Blocks
from .file_access import read_errors

GZIP_MAGIC = b"\x1f\x8b"
GZIP_FORMAT = 31
"""zlib's window size for gzip streams with the largest window. A header that zlib writes has no name and no time."""
_READ_SIZE = 16 << 10
"""Bytes per read of a compressed file; each checkpoint keeps up to as many."""
_MAXIMUM_CHECKPOINTS = 128
"""Each takes about 64 KiB. Half of that is deflate's window (RFC 1951)."""
_MAXIMUM_RATIO = 200
"""The largest ratio of content to file. Images compress by 2 to 5, decompression bombs by 1000."""
_ALWAYS_ALLOWED = 1 << 30
"""Bytes of content that even the smallest file may have."""


@dataclass(frozen=True)
class _Checkpoint:
    """A position in a gzip stream at which reading can resume.

    Attributes:
        position: The position in the content, in bytes.
        offset: The offset of the next bytes in the file.
        pending: Bytes from before that offset that are not decompressed yet.
        decompressor: The state of the decompressor. It is copied before use.
    """

    position: int
    offset: int
    pending: bytes
    decompressor: Any


class GzipContent:
    """The content of a gzip file with one or more members; see :class:`Content`."""

    compressed = True

    def __init__(self, descriptor: int, description: str) -> None:
        self.length: int | None = None
        self._descriptor = descriptor
        self._description = description
        self._limit = _ALWAYS_ALLOWED + _MAXIMUM_RATIO * os.fstat(descriptor).st_size
        self._interval = BLOCK_SIZE
        self._checkpoints = [_Checkpoint(0, 0, b"", zlib.decompressobj(GZIP_FORMAT))]
        self._reader = self._reader_at(0)

    def read(self, position: int, size: int) -> bytes:
        self._reader.skip_to(position)
        if self._reader.position - self._checkpoints[-1].position >= self._interval:
            self._checkpoints.append(self._reader.checkpoint())
            if len(self._checkpoints) > _MAXIMUM_CHECKPOINTS:
                del self._checkpoints[1::2]
                self._interval *= 2
        content = self._reader.read(size)
        if len(content) < size:
            self.length = self._reader.position
        return content

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        reader = self._reader_at(position)
        reader.skip_to(position)
        while length:
            block = reader.read(min(length, BLOCK_SIZE))
            if not block:
                raise SourceError(f"{what} is truncated: {length} bytes are missing at its end")
            length -= len(block)
            yield memoryview(block)

    def check_end(self) -> None:
        """See :meth:`Content.check_end`. zlib verifies the checksum and the length of each member."""
        while self._reader.read(BLOCK_SIZE):
            pass

    def close(self) -> None:
        os.close(self._descriptor)

    def _reader_at(self, position: int) -> _Reader:
        checkpoint = next(found for found in reversed(self._checkpoints) if found.position <= position)
        return _Reader(self._descriptor, self._description, checkpoint, self._limit)


class _Reader:
    """Reads a gzip stream from a checkpoint. It decompresses only requested bytes."""

    def __init__(self, descriptor: int, description: str, checkpoint: _Checkpoint, limit: int) -> None:
        self.position = checkpoint.position
        self._descriptor = descriptor
        self._description = description
        self._limit = limit
        self._offset = checkpoint.offset
        self._pending = checkpoint.pending
        self._decompressor = checkpoint.decompressor.copy()

    def checkpoint(self) -> _Checkpoint:
        """Return a checkpoint for the current position."""
        return _Checkpoint(self.position, self._offset, self._pending, self._decompressor.copy())

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
        while missing and (self._pending or self._fill()):
            try:
                output = self._decompressor.decompress(self._pending, missing)
            except zlib.error as error:
                raise SourceError(f"{self._description} is damaged: {error}", "Create or copy it again") from error
            self._pending = self._decompressor.unconsumed_tail
            if self._decompressor.eof and not self._start_member():
                missing = len(output)
            outputs.append(output)
            missing -= len(output)
            self.position += len(output)
        if self.position > self._limit:
            raise SourceError(
                f"{self._description} decompresses to more than {self._limit} bytes, the limit for its size"
            )
        return b"".join(outputs)

    def _fill(self) -> bool:
        """Read more of the file, and return whether the stream continues."""
        if self._decompressor.eof:
            return False
        with read_errors(self._description):
            self._pending = os.pread(self._descriptor, _READ_SIZE, self._offset)
        self._offset += len(self._pending)
        if not self._pending:
            raise SourceError(f"{self._description} is truncated", "The copy is incomplete; copy it again")
        return True

    def _start_member(self) -> bool:
        """Start the next member, if any. Other data after the last member is ignored."""
        rest = self._decompressor.unused_data
        if len(rest) < len(GZIP_MAGIC):
            with read_errors(self._description):
                more = os.pread(self._descriptor, _READ_SIZE, self._offset)
            self._offset += len(more)
            rest += more
        if not rest.startswith(GZIP_MAGIC):
            return False
        self._pending = rest
        self._decompressor = zlib.decompressobj(GZIP_FORMAT)
        return True
