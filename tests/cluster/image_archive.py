# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes an image of one program, with or without a shell, as an OCI archive, reproducibly."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .catalogue import ARCH
from .media_types import CONFIG, INDEX, LAYER, MANIFEST


@dataclass(frozen=True)
class Image:
    """An image whose only file is a static program, or which has a shell as well."""

    reference: str
    program: Path
    """The program's file, which is the entry point of the image: /NAME, or /bin/NAME with a shell."""
    command: Sequence[str] = ()
    user: str = "65532:65532"
    shell: Path | None = None
    """A static busybox, which provides the commands of /bin, as in images that are based on Alpine."""

    @property
    def folder(self) -> str:
        return "bin/" if self.shell else ""


def write(image: Image, path: Path) -> str:
    """Write the archive to `path` and return the digest of the image's manifest."""
    layer = _layer(image)
    config = _encode(
        {
            "architecture": ARCH,
            "os": "linux",
            "config": {
                "User": image.user,
                "Entrypoint": [f"/{image.folder}{image.program.name}"],
                "Cmd": list(image.command),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer)],
        }
    )
    tagged = {
        **_descriptor(MANIFEST, manifest),
        "annotations": {
            "io.containerd.image.name": image.reference,
            "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
        },
    }
    files = {
        "oci-layout": _encode({"imageLayoutVersion": "1.0.0"}),
        "index.json": _encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [tagged]}),
    }
    for blob in (manifest, config, layer):
        files["blobs/sha256/" + _digest(blob).partition(":")[2]] = blob
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            _add(archive, name, content, 0o644)
    temporary.replace(path)
    return _digest(manifest)


def _layer(image: Image) -> bytes:
    """Return a layer, uncompressed: it is unpacked on the same machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as layer:
        _add(layer, image.folder + image.program.name, image.program.read_bytes(), 0o755)
        if image.shell:
            _add(layer, "bin/busybox", image.shell.read_bytes(), 0o755)
            listed = subprocess.run([str(image.shell), "--list"], capture_output=True, text=True, check=True)
            for command in sorted(set(listed.stdout.split()) - {"busybox", image.program.name}):
                link = tarfile.TarInfo(f"bin/{command}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                layer.addfile(link)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)  # The default owner (root) and time (1970) are reproducible.
    entry.size = len(content)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(content))


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
