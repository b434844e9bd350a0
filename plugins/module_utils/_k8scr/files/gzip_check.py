# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify compressed layers by the digest of their uncompressed content (the diff ID) during reading.

Docker archives have no digests of compressed layers. A digest that is computed from the blob itself does not reveal
earlier damage: nodes would find it when they unpack the layer (RFC 1952; OCI image specification, "Layer DiffID").
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
    """Verifies the digest of a gzip stream's uncompressed content. Later reads continue the verification.

    Offsets and the size are in compressed bytes.

    Args:
        read: Opens the compressed content at an offset.
        size: The size of the compressed content.
        digest: The digest of the uncompressed content.
        what: The name and source of the content, for messages.
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
        """Open the content at ``offset`` (bytes). The last block follows only after successful verification.

        Raises:
            SourceError: The content is damaged; raised by the blocks.
        """
        start = min(self._checked, offset)
        with self._read(start) as blocks:
            yield self._blocks(blocks, start, offset)

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
            # The output of each call is limited to one block.
            while rest or (len(unpacked) == BLOCK_SIZE and not self._decompressor.eof):
                if self._decompressor.eof:
                    # The next member of the stream.
                    self._decompressor = zlib.decompressobj(GZIP_FORMAT)
                unpacked = self._decompressor.decompress(rest, BLOCK_SIZE)
                self._hasher.update(unpacked)
                rest = self._decompressor.unused_data or self._decompressor.unconsumed_tail
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if self._checked + len(block) < self._size:
            return
        if not self._decompressor.eof:
            raise self._damaged("the gzip stream is truncated")
        if self._hasher.hexdigest() != self._expected:
            raise self._damaged(f"its content has the digest {self._hasher.name}:{self._hasher.hexdigest()}")

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"{self._what} does not match its diff ID in the image's config: {why}", "Save it again")
