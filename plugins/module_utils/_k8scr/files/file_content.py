# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a file holds, from any place on: the file as it is, or what gzip has made smaller.

A gzip stream is read from its beginning on. Whoever goes through it once leaves marks on the way, from which it is gone
on with later; so nothing of it is unpacked to a disk.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE, Blocks
from .file_access import file_blocks, open_regular, reading

_GZIP = b"\x1f\x8b"
_OTHERS = {b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ": ("xz", "unxz")}
GZIP_FORMAT = 31
"""zlib's window size for streams with gzip's header and the largest window (RFC 1952)."""
_PIECE = 16 << 10
"""Bytes of a compressed file that are read at once; each mark keeps as many."""
_MOST_MARKS = 128
"""Each takes about 64 KiB, half of it the window that deflate looks back through (RFC 1951)."""
_MOST_TIMES = 200
"""How much larger than its file a content may be: images become 2 to 5 times smaller, and what was made to do harm
a thousand times."""
_SMALL = 1 << 30
"""Bytes that any content may have, however small its file."""


class Content(Protocol):
    """What a file holds.

    Attributes:
        compressed: Whether the file is smaller than what it holds.
        length: Its bytes; ``None`` while they are not known, because it was not read to its end.
    """

    compressed: bool
    length: int | None

    def read(self, position: int, size: int) -> bytes:
        """Return ``size`` bytes from ``position`` (bytes) on, or what there is of them; for one reader, going forward.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        """Read ``length`` bytes from ``position`` (bytes) on; for as many readers as there are, from any place.

        Args:
            position: Where to begin.
            length: How many.
            what: What they are, for people.

        Raises:
            SourceError: The file ends before, is damaged, or cannot be read.
        """

    def check_end(self) -> None:
        """Read on to the end of the file, where gzip has the checksum and the length of the content.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def close(self) -> None:
        """Let go of the file."""


def open_content(path: Path, description: str) -> Content:
    """Open what a file holds; nothing but its first bytes is looked at.

    Raises:
        SourceError: It cannot be read, or is compressed in a way that cannot be read here.
    """
    with reading(path):
        descriptor = open_regular(path)
        try:
            beginning = os.pread(descriptor, 8, 0)
            for magic, (compression, command) in _OTHERS.items():
                if beginning.startswith(magic):
                    raise SourceError(
                        f"{description} is compressed with {compression}",
                        f"Decompress it first with {command}: its layers stay compressed",
                    )
            gzip = beginning.startswith(_GZIP)
            return GzipContent(descriptor, description) if gzip else PlainContent(descriptor, description)
        except BaseException:
            os.close(descriptor)
            raise


class PlainContent:
    """A file as it is; see :class:`Content`."""

    compressed = False

    def __init__(self, descriptor: int, description: str) -> None:
        self.length: int | None = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._description = description

    def read(self, position: int, size: int) -> bytes:
        """See :meth:`Content.read`."""
        with reading(self._description):
            return os.pread(self._descriptor, size, position)

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        """See :meth:`Content.blocks`."""
        return file_blocks(self._descriptor, position, length, what)

    def check_end(self) -> None:
        """See :meth:`Content.check_end`; a file as it is has no checksum."""

    def close(self) -> None:
        """See :meth:`Content.close`."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class _Mark:
    """A place in a gzip stream that can be gone on from.

    Attributes:
        position: Where it is in the content, in bytes.
        offset: Where in the file its next bytes are.
        waiting: Bytes of the file before that which are not decompressed yet.
        decompressor: As it is there; it is copied to go on.
    """

    position: int
    offset: int
    waiting: bytes
    decompressor: Any


class GzipContent:
    """What gzip has made smaller (RFC 1952), also in several members; see :class:`Content`."""

    compressed = True

    def __init__(self, descriptor: int, description: str) -> None:
        self.length: int | None = None
        self._descriptor = descriptor
        self._description = description
        self._most = _SMALL + _MOST_TIMES * os.fstat(descriptor).st_size
        self._apart = BLOCK_SIZE
        self._marks = [_Mark(0, 0, b"", zlib.decompressobj(GZIP_FORMAT))]
        self._reader = self._reader_at(0)

    def read(self, position: int, size: int) -> bytes:
        """See :meth:`Content.read`."""
        self._reader.skip_to(position)
        if self._reader.position - self._marks[-1].position >= self._apart:
            self._marks.append(self._reader.mark())
            if len(self._marks) > _MOST_MARKS:
                del self._marks[1::2]
                self._apart *= 2
        found = self._reader.take(size)
        if len(found) < size:
            self.length = self._reader.position
        return found

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        """See :meth:`Content.blocks`."""
        reader = self._reader_at(position)
        reader.skip_to(position)
        while length:
            block = reader.take(min(length, BLOCK_SIZE))
            if not block:
                raise SourceError(f"{what} is truncated: {length} bytes are missing at its end")
            length -= len(block)
            yield memoryview(block)

    def check_end(self) -> None:
        """See :meth:`Content.check_end`; zlib compares the checksum and the length of each member."""
        while self._reader.take(BLOCK_SIZE):
            pass

    def close(self) -> None:
        """See :meth:`Content.close`."""
        os.close(self._descriptor)

    def _reader_at(self, position: int) -> _Reader:
        mark = next(mark for mark in reversed(self._marks) if mark.position <= position)
        return _Reader(self._descriptor, self._description, mark, self._most)


class _Reader:
    """Goes through a gzip stream, from a mark on; nothing is decompressed before it is asked for."""

    def __init__(self, descriptor: int, description: str, mark: _Mark, most: int) -> None:
        self.position = mark.position
        self._descriptor = descriptor
        self._description = description
        self._most = most
        self._offset = mark.offset
        self._waiting = mark.waiting
        self._decompressor = mark.decompressor.copy()

    def mark(self) -> _Mark:
        """Return a mark for where it is."""
        return _Mark(self.position, self._offset, self._waiting, self._decompressor.copy())

    def skip_to(self, position: int) -> None:
        """Go on to a place, or to the end if that comes first."""
        while self.position < position and self.take(min(position - self.position, BLOCK_SIZE)):
            pass

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or what is left of them.

        Raises:
            SourceError: The file is damaged, truncated, or larger inside than an image is.
        """
        pieces, missing = [], size
        while missing and (self._waiting or self._fill()):
            try:
                piece = self._decompressor.decompress(self._waiting, missing)
            except zlib.error as error:
                raise SourceError(f"{self._description} is damaged: {error}", "Make or copy it again") from error
            self._waiting = self._decompressor.unconsumed_tail
            if self._decompressor.eof and not self._begin_member():
                missing = len(piece)
            pieces.append(piece)
            missing -= len(piece)
            self.position += len(piece)
        if self.position > self._most:
            raise SourceError(f"{self._description} holds more than {self._most} bytes, which no image has of its size")
        return b"".join(pieces)

    def _fill(self) -> bool:
        """Read on in the file; whether it goes on."""
        if self._decompressor.eof:
            return False
        with reading(self._description):
            self._waiting = os.pread(self._descriptor, _PIECE, self._offset)
        self._offset += len(self._waiting)
        if not self._waiting:
            raise SourceError(f"{self._description} is truncated", "It was not copied whole; copy it again")
        return True

    def _begin_member(self) -> bool:
        """Go on to the next member, if there is one; what else comes after the last one is no content."""
        rest = self._decompressor.unused_data
        if len(rest) < len(_GZIP):
            with reading(self._description):
                more = os.pread(self._descriptor, _PIECE, self._offset)
            self._offset += len(more)
            rest += more
        if not rest.startswith(_GZIP):
            return False
        self._waiting = rest
        self._decompressor = zlib.decompressobj(GZIP_FORMAT)
        return True
