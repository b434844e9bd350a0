# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI layouts with many or large images, written quickly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cluster.media_types import CONFIG, INDEX, LAYER, MANIFEST
from images.sizes import MIB


class LayoutWriter:
    """Writes an OCI layout with many or large images. Layers are sparse files of zeros and use no disk space.

    Args:
        folder: The layout's folder, which is created.
        algorithm: The digest algorithm.
    """

    def __init__(self, folder: Path, algorithm: str = "sha256") -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self._algorithm = algorithm
        self._blobs = folder / "blobs" / algorithm
        self._blobs.mkdir(parents=True)

    def add(self, name: str, layers: int, size: int) -> None:
        """Add an image whose layers differ and have at least this size in bytes."""
        self.add_layers(name, [self._layer(size + number) for number in range(layers)])

    def add_layers(self, name: str, layers: list[dict[str, Any]]) -> str:
        """Add an image with the given layer descriptors and return its digest."""
        config = self._blob(CONFIG, json.dumps({"name": name}).encode())
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        entry = self._blob(MANIFEST, json.dumps(manifest).encode())
        self.entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
        return str(entry["digest"])

    def finish(self) -> str:
        """Write the index and return the layout as a source for tasks."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return f"oci:{self.folder}"

    def _layer(self, size: int) -> dict[str, Any]:
        hasher = hashlib.new(self._algorithm)
        for start in range(0, size, MIB):
            hasher.update(bytes(min(MIB, size - start)))
        with (self._blobs / hasher.hexdigest()).open("wb") as file:
            file.truncate(size)
        return {"mediaType": LAYER, "digest": f"{self._algorithm}:{hasher.hexdigest()}", "size": size}

    def _blob(self, media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.new(self._algorithm, content).hexdigest()
        (self._blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"{self._algorithm}:{digest}", "size": len(content)}
