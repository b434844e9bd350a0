# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compressed layers whose only digest is that of what they unpack to: they are checked while they are read.

A registry checks the digest that a blob is sent with; where that was made from the blob itself, it says nothing of
damage that was there before, and nodes would find it when they unpack the layer (RFC 1952; OCI image specification,
"Layer DiffID").
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ..errors import SourceError
from ..oci.content import BLOCK_SIZE, Blocks
from ..oci.digest import split_digest
from .file_content import GZIP_FORMAT


class GzipCheck:
    """What is known of one gzip-compressed content so far; it goes on from there when reading does.

    Args:
        read: Opens the content from an offset (bytes) on.
        size: Its length in bytes.
        digest: What it must unpack to.
        what: What is read from where, for people.
    """

    def __init__(
        self, read: Callable[[int], AbstractContextManager[Blocks]], size: int, digest: str, what: str
    ) -> None:
        algorithm, self._expected = split_digest(digest)
        self._read = read
        self._size = size
        self._what = what
        self._hasher = hashlib.new(algorithm)
        self._decompressor = zlib.decompressobj(GZIP_FORMAT)
        self._checked = 0

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[Blocks]:
        """Open the content from ``offset`` (bytes) on; its last block is given out when all of it was right.

        Raises:
            SourceError: It is damaged; raised by the blocks.
        """
        begin = min(self._checked, offset)
        with self._read(begin) as blocks:
            yield self._blocks(blocks, begin, offset)

    def _blocks(self, blocks: Blocks, position: int, offset: int) -> Blocks:
        for block in blocks:
            end = position + len(block)
            if end > self._checked:
                self._check(block[max(self._checked - position, 0) :])
                self._checked = end
            if end > offset:
                yield block[max(offset - position, 0) :]
            position = end

    def _check(self, block: memoryview) -> None:
        rest: bytes | memoryview = block
        unpacked = b""
        try:
            # What comes out at once is bounded, whatever went in.
            while rest or (len(unpacked) == BLOCK_SIZE and not self._decompressor.eof):
                if self._decompressor.eof:
                    # Such a content may have several parts, each with a beginning of its own.
                    self._decompressor = zlib.decompressobj(GZIP_FORMAT)
                unpacked = self._decompressor.decompress(rest, BLOCK_SIZE)
                self._hasher.update(unpacked)
                rest = self._decompressor.unused_data or self._decompressor.unconsumed_tail
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if self._checked + len(block) < self._size:
            return
        if not self._decompressor.eof:
            raise self._damaged("it ends in the middle")
        if self._hasher.hexdigest() != self._expected:
            raise self._damaged(f"its content has the digest {self._hasher.name}:{self._hasher.hexdigest()}")

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"{self._what} does not unpack to what the image's config says: {why}", "Save it again")
