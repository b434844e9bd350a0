# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploading a layer that is compressed on the way: how long it will be, and its digest, show when it has ended."""

from __future__ import annotations

from ..files.compression import CompressedContent
from ..http.retry import Attempts
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from .road import RegistryRoad
from .upload import BlobUpload, ChunkSize, RequestBody
from .upload_state import UploadFile


class CompressedUpload(BlobUpload):
    """One layer on its way into a repository; see :class:`BlobUpload`.

    Args:
        expected: What the layer has most likely become when it is there: it may be there already, or be mounted.
        content: Opens what it becomes.
    """

    def __init__(
        self,
        road: RegistryRoad,
        repository: str,
        expected: Descriptor,
        content: CompressedContent,
        chunks: ChunkSize,
        attempts: Attempts,
        record: UploadFile,
    ) -> None:
        super().__init__(road, repository, expected, content, chunks, attempts, record)
        self._compressed = content

    @property
    def descriptor(self) -> Descriptor:
        """What the layer is in the repository, once the upload has ended."""
        return self._descriptor

    def _send(self) -> None:
        if self._offset == self._descriptor.size and self._compressed.descriptor:
            # All has arrived, and what should have ended the upload did not.
            return
        with self._compressed(self._offset) as blocks:
            rest = _Rest(self._road.limit(blocks))
            while rest.more():
                body = RequestBody(rest.part(self._chunks.size))
                self._follow(self._carry("PATCH", self._location or "", body))
                self._advance(body.size)
        if self._compressed.descriptor:
            self._descriptor = self._compressed.descriptor


class _Rest:
    """What is left of a content."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def more(self) -> bool:
        """Whether anything is left."""
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block = block
        return True

    def part(self, most: int | None) -> Blocks:
        """All of it, or the next ``most`` bytes."""
        size = 0
        while (most is None or size < most) and self.more():
            block = self._block[: None if most is None else most - size]
            self._block = self._block[len(block) :]
            size += len(block)
            yield block
