# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts of many or of large images, made in a moment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

MEBIBYTE = 1 << 20
LAYER = "application/vnd.oci.image.layer.v1.tar"


class LayoutWriter:
    """Writes a layout of many or large images; the bytes of layers are zeros, which take no room on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        (folder / "blobs/sha256").mkdir(parents=True)

    def add(self, name: str, layers: int, size: int) -> None:
        """Add an image with layers of so many bytes, each another."""
        config = self._blob(OCI_CONFIG, json.dumps({"name": name}).encode())
        described = [self._layer(size + number) for number in range(layers)]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": described}
        entry = self._blob(OCI_MANIFEST, json.dumps(manifest).encode())
        self.entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})

    def finish(self) -> str:
        """Write the index; how a task means the layout comes back."""
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return f"oci:{self.folder}"

    def _layer(self, size: int) -> dict[str, Any]:
        hasher = hashlib.sha256()
        for start in range(0, size, MEBIBYTE):
            hasher.update(bytes(min(MEBIBYTE, size - start)))
        path = self.folder / "blobs/sha256" / hasher.hexdigest()
        with path.open("wb") as file:
            file.truncate(size)
        return {"mediaType": LAYER, "digest": f"sha256:{hasher.hexdigest()}", "size": size}

    def _blob(self, media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
