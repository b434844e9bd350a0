# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small source images, one set per delivery."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.media_types import CONFIG, INDEX, LAYER, MANIFEST
from images.layout import Layout

TRANSPORTS = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True)
class Layer:
    """A layer of random bytes that depend only on the seed."""

    seed: str
    size: int

    def content(self) -> bytes:
        """Return a tar archive with one file."""
        header = tarfile.TarInfo(f"{self.seed.replace('/', '-')}.bin")
        header.size = self.size
        body = random.Random(self.seed).randbytes(self.size)  # noqa: S311 - nothing secret
        padding = bytes(-self.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
        return header.tobuf(tarfile.GNU_FORMAT) + body + padding


@dataclass(frozen=True)
class Source:
    """The source image of a push.

    Attributes:
        location: The source, as in the module's option.
        files: Files with the layers.
        identity: Expected digest at the destination: of the root manifest, or of the config if the source has none.
        blobs: Sizes of the blobs by digest.
    """

    location: str
    files: tuple[Path, ...]
    identity: str
    blobs: dict[str, int]


def write(folder: Path, transport: str, layers: Sequence[Layer], platforms: Sequence[str] = ("amd64",)) -> Source:
    """Write a source image; several platforms divide the layers among them.

    Args:
        folder: Folder of the image; it is created.
        transport: One of :data:`TRANSPORTS`.
        layers: The layers; at least one per platform.
        platforms: Architectures of the platforms; exactly one for a Docker archive.
    """
    folder.mkdir(parents=True)
    layout = Layout(folder / "layout")
    layout.create()
    manifests, blobs, files = [], {}, []
    for number, platform in enumerate(platforms):
        described = [layout.stream([layer.content()], LAYER) for layer in layers[number :: len(platforms)]]
        rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in described]}
        config = layout.document({"architecture": platform, "os": "linux", "rootfs": rootfs}, CONFIG)
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described}
        manifests.append({**layout.document(value, MANIFEST), "platform": {"architecture": platform, "os": "linux"}})
        blobs.update({blob["digest"]: blob["size"] for blob in (config, *described)})
        files += [layout.blobs / layer["digest"].partition(":")[2] for layer in described]
    if transport == "docker-archive":
        archive = folder / "image.tar"
        _write_docker_archive(archive, layout, config, described)
        return Source(f"docker-archive:{archive}", (archive,), config["digest"], blobs)
    root = manifests[0]
    if len(manifests) > 1:
        root = layout.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)
    layout.tag({name: root[name] for name in ("mediaType", "digest", "size")}, None)
    if transport == "oci":
        return Source(f"oci:{layout.folder}", tuple(files), root["digest"], blobs)
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("oci-layout", "index.json", "blobs"):
            tar.add(layout.folder / name, name)
    return Source(f"oci-archive:{archive}", (archive,), root["digest"], blobs)


def _write_docker_archive(path: Path, layout: Layout, config: dict[str, Any], layers: Sequence[dict[str, Any]]) -> None:
    """Write an archive in the format of ``docker save`` before version 25."""
    with tarfile.open(path, "w") as tar:
        names = [f"{layer['digest'].partition(':')[2]}/layer.tar" for layer in layers]
        for layer, name in zip(layers, names):
            tar.add(layout.blobs / layer["digest"].partition(":")[2], name)
        digest = config["digest"].partition(":")[2]
        tar.add(layout.blobs / digest, f"{digest}.json")
        manifest = path.with_name("manifest.json")
        manifest.write_text(json.dumps([{"Config": f"{digest}.json", "RepoTags": None, "Layers": names}]))
        tar.add(manifest, "manifest.json")
