# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compress layers during upload, and save the digests of compressed layers.

With the saved digest, the next run finds an existing layer without compressing it again. The digest is only a hint:
each run looks up the blob in the registry.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..files.cache_file import CacheFile
from ..files.compression import CompressedContent, Compression
from ..oci.content import BlobContent
from ..oci.descriptor import Descriptor
from ..registry.repository import Repository

_MOST_LAYERS = 4000


class CompressedLayers:
    """The compressed forms of layers, with a cache file for each compression."""

    def __init__(self, folder: Path, compression: Compression) -> None:
        self.compression = compression
        self._file = CacheFile(folder / f"layers{compression.suffix}", _MOST_LAYERS)
        self._lock = threading.Lock()

    def get(self, layer: Descriptor) -> Descriptor | None:
        """Return the compressed form of a layer, or ``None`` if it is not known."""
        known = self._file.get(layer.digest)
        try:
            return Descriptor.from_json(known) if known else None
        except InputError:
            return None

    def remember(self, layer: Descriptor, compressed: Descriptor) -> None:
        """Save the compressed form of a layer at once, so that it survives a killed run."""
        with self._lock:
            self._file.put(layer.digest, compressed.to_json())
            self._file.save()


class CompressingRepository:
    """Compresses layers during their upload to a repository; see :class:`LayerCompressor`."""

    def __init__(self, repository: Repository, layers: CompressedLayers) -> None:
        self._repository = repository
        self._layers = layers

    def cached(self, layer: Descriptor) -> Descriptor | None:
        return self._layers.get(layer)

    def put(
        self, layer: Descriptor, expected: Descriptor, content: BlobContent, mount_from: str | None = None
    ) -> tuple[Descriptor, bool]:
        remember = partial(self._layers.remember, layer)
        compressed = CompressedContent(content, layer, self._layers.compression, remember)
        return self._repository.put_compressed(expected, compressed, mount_from)
