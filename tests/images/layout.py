# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and writes OCI layouts directly, for tasks that no tool has a command for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster.media_types import INDEX

REFERENCE = "org.opencontainers.image.ref.name"

Descriptor = dict[str, Any]


class Layout:
    """An OCI layout: a folder of blobs with an index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def blobs(self) -> Path:
        """The folder of the blobs; each file's name is the hexadecimal part of its digest."""
        return self.folder / "blobs" / "sha256"

    @property
    def tagged(self) -> list[Descriptor]:
        """The descriptors in the layout's index."""
        manifests: list[Descriptor] = json.loads((self.folder / "index.json").read_bytes())["manifests"]
        return manifests

    def read(self, digest: str) -> dict[str, Any]:
        """Return a manifest, index or config."""
        document: dict[str, Any] = json.loads((self.blobs / digest.partition(":")[2]).read_bytes())
        return document

    def create(self) -> None:
        """Make an empty layout."""
        self.blobs.mkdir(parents=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def stream(self, chunks: Iterable[bytes], media_type: str) -> Descriptor:
        """Add a blob of any size and return its descriptor."""
        hasher = hashlib.sha256()
        unnamed = self.blobs / "unnamed"
        with unnamed.open("wb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                file.write(chunk)
            size = file.tell()
        unnamed.rename(self.blobs / hasher.hexdigest())
        return {"mediaType": media_type, "digest": f"sha256:{hasher.hexdigest()}", "size": size}

    def document(self, content: dict[str, Any], media_type: str) -> Descriptor:
        """Add a manifest, index or config and return its descriptor."""
        return self.stream([json.dumps(content, separators=(",", ":")).encode()], media_type)

    def add_file(self, file: Path, media_type: str) -> Descriptor:
        """Add the content of a file and return its descriptor."""
        digest = sha256(file)
        shutil.copyfile(file, self.blobs / digest)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": file.stat().st_size}

    def tag(self, descriptor: Descriptor, reference: str | None) -> None:
        """Write an index with one descriptor, tagged with a reference if one is given."""
        tagged = {**descriptor, "annotations": {REFERENCE: reference}} if reference else descriptor
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [tagged]}
        (self.folder / "index.json").write_text(json.dumps(index))


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    hasher = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            hasher.update(block)
    return hasher.hexdigest()
