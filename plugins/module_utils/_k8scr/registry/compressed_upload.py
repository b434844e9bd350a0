# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads of layers that are compressed during the upload; their size and digest are known only at the end."""

from __future__ import annotations

from ..files.compression import CompressedContent
from ..oci.content import Blocks
from .upload import BlobUpload, RequestBody


class CompressedUpload(BlobUpload):
    """The upload of one compressed layer. Until all of the layer is compressed, its descriptor is the probable one."""

    _content: CompressedContent

    def _send(self) -> None:
        if self._offset == self.descriptor.size and self._content.descriptor:
            # All bytes have arrived, but the request that completes the upload failed.
            return
        with self._content(self._offset) as blocks:
            rest = _Rest(self._registry.limit(blocks))
            while rest.has_more():
                body = RequestBody(rest.take(self._registry.chunks.size))
                self._follow(self._send_body("PATCH", self._location or "", body))
                self._advance(body.size)
        if self._content.descriptor:
            self.descriptor = self._content.descriptor


class _Rest:
    """The remaining content of a layer, read in parts."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def has_more(self) -> bool:
        """Return whether bytes are left."""
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block = block
        return True

    def take(self, limit: int | None) -> Blocks:
        """Yield the next ``limit`` bytes, or all."""
        size = 0
        while (limit is None or size < limit) and self.has_more():
            block = self._block[: None if limit is None else limit - size]
            self._block = self._block[len(block) :]
            size += len(block)
            yield block
