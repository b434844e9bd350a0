# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify compressed layers by the digest of their uncompressed content (the diff ID) during reading.

Docker archives have no digests of compressed layers. A digest that is computed from the blob itself does not reveal
earlier damage: nodes would find it when they unpack the layer (RFC 1952; OCI image specification, "Layer DiffID").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ..errors import SourceError
from ..oci.content import Blocks
from ..oci.digest import split_digest
from .decompression import DecompressionError, Decompressor


class DiffIdCheck:
    """Verifies the digest of a compressed layer's uncompressed content. Later reads continue the verification.

    Offsets and the size are in compressed bytes.

    Args:
        read: Opens the compressed content at an offset.
        size: The size of the compressed content.
        digest: The digest of the uncompressed content.
        what: The name and source of the content, for messages.
        decompressor: Decompresses the content from its beginning.
    """

    def __init__(
        self,
        read: Callable[[int], AbstractContextManager[Blocks]],
        size: int,
        digest: str,
        what: str,
        decompressor: Decompressor,
    ) -> None:
        algorithm, self._expected = split_digest(digest)
        self._read = read
        self._size = size
        self._what = what
        self._hasher = hashlib.new(algorithm)
        self._decompressor = decompressor
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
        try:
            for unpacked in self._decompressor.feed(block):
                self._hasher.update(unpacked)
            if self._checked + len(block) < self._size:
                return
            self._decompressor.finish()
        except DecompressionError as error:
            raise self._damaged(str(error)) from error
        if self._hasher.hexdigest() != self._expected:
            raise self._damaged(f"its content has the digest {self._hasher.name}:{self._hasher.hexdigest()}")
        self._decompressor.close()

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"{self._what} does not match its diff ID in the image's config: {why}", "Save it again")
