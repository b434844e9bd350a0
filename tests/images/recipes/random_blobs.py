# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of any size with incompressible bytes, for measurements."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from cluster.media_types import CONFIG, LAYER, MANIFEST

from ..layout import Layout

SUMMARY = "random bytes, the same for the same seed"
BLOCK = 1 << 20


def name(size: int, layers: int, seed: int) -> str:
    """Return the image's name in the cache, which is also the last component of its repository."""
    return f"random-{size}-{layers}-{seed}"


def make(folder: Path, size: int, layers: int, seed: int) -> None:
    """Make an OCI layout in which each layer is a tar archive of one file."""
    layout = Layout(folder / "layout")
    layout.create()
    descriptors = []
    for number in range(layers):
        layer_size = size // layers + (number < size % layers)
        descriptors.append(layout.stream(_layer(number, layer_size, f"{seed}/{number}"), LAYER))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in descriptors]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.document(config, CONFIG),
        "layers": descriptors,
    }
    layout.tag(layout.document(manifest, MANIFEST), f"example.com/random/{name(size, layers, seed)}:latest")


def _layer(number: int, size: int, seed: str) -> Iterator[bytes]:
    header = tarfile.TarInfo(f"random/{number}.bin")
    header.size = size
    yield header.tobuf(tarfile.GNU_FORMAT)
    source = random.Random(seed)  # noqa: S311 - nothing secret
    for start in range(0, size, BLOCK):
        yield source.randbytes(min(BLOCK, size - start))
    # A tar archive pads files to whole blocks and ends with two empty blocks.
    yield bytes(-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
