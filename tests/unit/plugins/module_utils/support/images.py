# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small images, and layouts and archives of them as other tools write them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)

DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
REFERENCE_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Image:
    """An image in memory.

    Attributes:
        root: Its manifest or index.
        contents: Its manifests and blobs, by digest; the root is the last.
        config: Its config; empty for an index.
        files: Its uncompressed layers; none for an index.
    """

    root: Descriptor
    contents: Mapping[str, bytes]
    config: bytes = b""
    files: tuple[bytes, ...] = ()

    @property
    def digest(self) -> str:
        return self.root.digest

    @property
    def manifest(self) -> dict[str, Any]:
        """The JSON object of its manifest or index."""
        value = json.loads(self.contents[self.digest])
        assert isinstance(value, dict)
        return value

    @property
    def size(self) -> int:
        """The bytes of its manifests and blobs."""
        return sum(map(len, self.contents.values()))

    @property
    def blobs(self) -> dict[str, bytes]:
        """Its config and layers, by digest."""
        manifest = self.manifest
        digests = [part["digest"] for part in (manifest["config"], *manifest["layers"])]
        return {digest: self.contents[digest] for digest in digests}

    @property
    def layers(self) -> list[str]:
        """The digests of its layers."""
        return [layer["digest"] for layer in self.manifest["layers"]]


def encode(value: object) -> bytes:
    """Return the bytes of a JSON document."""
    return json.dumps(value).encode()


def describe(content: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """Return the JSON object of a descriptor."""
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content), **more}


def layer(name: str, content: bytes) -> bytes:
    """Return a layer with one file: an uncompressed tar archive."""
    return tar((name, content))


def tar(*entries: tuple[str, bytes]) -> bytes:
    """Return a tar archive of these files. The same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def make_image(
    *layers: bytes, architecture: str = "amd64", docker: bool = False, algorithm: str = "sha256", **manifest: Any
) -> Image:
    """Return an image of these layers, compressed with gzip.

    Args:
        layers: The uncompressed layers; by default, one.
        architecture: The architecture in the config.
        docker: Whether to use Docker's media types in place of OCI's.
        algorithm: The algorithm of the digests.
        manifest: Added or replaced members of the manifest.
    """
    files = layers or (layer("greeting", b"hello"),)
    config = encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(file) for file in files]},
        }
    )
    compressed = [gzip.compress(file, mtime=0) for file in files]
    content = encode(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": describe(config, DOCKER_CONFIG if docker else OCI_CONFIG, algorithm),
            "layers": [
                describe(file, DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP, algorithm) for file in compressed
            ],
            **manifest,
        }
    )
    contents = {digest_of(part, algorithm): part for part in (config, *compressed, content)}
    root = Descriptor(DOCKER_MANIFEST if docker else OCI_MANIFEST, digest_of(content, algorithm), len(content))
    return Image(root, contents, config, files)


def make_index(images: Mapping[str, Image], docker: bool = False) -> Image:
    """Return an index of these images, by platform (``os/architecture``)."""
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    entries = []
    for platform, image in images.items():
        system, _slash, architecture = platform.partition("/")
        entries.append({**image.root.to_json(), "platform": {"os": system, "architecture": architecture}})
    return index_of(entries, *images.values(), mediaType=media_type)


def index_of(entries: Sequence[object] | None, *images: Image, **members: Any) -> Image:
    """Return an index with these JSON objects as its entries, the contents of these images, and further members."""
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **members}
    content = encode(value)
    contents = {digest: part for image in images for digest, part in image.contents.items()}
    root = Descriptor(str(value["mediaType"]), digest_of(content), len(content))
    return Image(root, {**contents, root.digest: content})


def layout_files(images: Mapping[str, Image], leave_out: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the files of an OCI layout with these images, by name, except some blobs."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    entries = [{**image.root.to_json(), "annotations": {REFERENCE_NAME: name}} for name, image in images.items()]
    files["index.json"] = encode({"schemaVersion": 2, "manifests": entries})
    for image in images.values():
        files.update(
            {
                f"blobs/{digest.replace(':', '/')}": part
                for digest, part in image.contents.items()
                if digest not in leave_out
            }
        )
    return files


def write_layout(folder: Path, images: Mapping[str, Image], leave_out: Sequence[str] = ()) -> Path:
    """Write an OCI layout folder."""
    for name, content in layout_files(images, leave_out).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_oci_archive(path: Path, images: Mapping[str, Image], leave_out: Sequence[str] = ()) -> Path:
    """Write an OCI archive like skopeo."""
    path.write_bytes(tar(*layout_files(images, leave_out).items()))
    return path


def write_docker_archive(path: Path, images: Sequence[tuple[Sequence[str], Image]]) -> Path:
    """Write a Docker archive like Docker before version 25: configs and uncompressed layers, no manifests."""
    entries: dict[str, bytes] = {}
    listing = []
    for tags, image in images:
        config = f"{hashlib.sha256(image.config).hexdigest()}.json"
        layers = [(f"{hashlib.sha256(file).hexdigest()}/layer.tar", file) for file in image.files]
        entries.update([(config, image.config), *layers])
        listing.append({"Config": config, "RepoTags": list(tags) or None, "Layers": [path for path, _file in layers]})
    path.write_bytes(tar(*entries.items(), ("manifest.json", encode(listing))))
    return path


def read_tar(source: Path | BinaryIO) -> dict[str, bytes]:
    """Return the files of a tar archive, read with ``tarfile``."""
    with tarfile.open(source) if isinstance(source, Path) else tarfile.open(fileobj=source) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive if entry.isreg()}
        return {name: file.read() for name, file in files.items() if file}
