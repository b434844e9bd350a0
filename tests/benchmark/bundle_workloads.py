# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images for a bundle: half of them share layers, and one has a changed version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.media_types import CONFIG, LAYER, MANIFEST
from images.layout import Descriptor, Layout
from images.sizes import MIB

from .workloads import Factory, Source, Workload, Workloads

_SHARING = 5
"""Images that share one layer."""


def bundled_images(count: int, mebibytes: int) -> Factory:
    """Create images of two layers in one layout each, and a version of the first with another last layer.

    In half of the images, groups of five share the first layer. The workload's size counts each layer once.
    """

    def create(workloads: Workloads) -> Workload:
        shared = -(-(count // 2) // _SHARING)
        size = workloads.scaled(mebibytes / (count // 2 + shared + 2 * (count - count // 2)))
        layers = Layout(workloads.folder(f"layers-of-{count}"))
        layers.create()
        bases = [_layer(layers, size, f"base {number}") for number in range(shared)]
        sources, total = [], size * len(bases)
        for number in range(count):
            is_sharing = number < count // 2
            first = bases[number // _SHARING] if is_sharing else _layer(layers, size, f"first {number}")
            own = _layer(layers, size, f"own {number}")
            total += size if is_sharing else 2 * size
            sources.append(_image(workloads, layers, [first, own], f"bundled-{count}-{number}"))
        changed = [bases[0], _layer(layers, size, "changed")]
        return Workload((*sources, _image(workloads, layers, changed, f"bundled-{count}-changed")), total)

    return create


def _layer(layout: Layout, size: int, name: str) -> Descriptor:
    return layout.stream(_blocks(name.encode(), size), LAYER)


def _blocks(first: bytes, size: int) -> Iterator[bytes]:
    """Yield the bytes of a layer; only the first ones differ between layers, which no client compresses."""
    yield first[:size]
    left = size - len(first)
    while left > 0:
        yield bytes(min(left, MIB))
        left -= MIB


def _image(workloads: Workloads, layers: Layout, used: list[Descriptor], name: str) -> Source:
    image = Layout(workloads.folder(name))
    image.create()
    for layer in used:
        file = layer["digest"].partition(":")[2]
        os.link(layers.blobs / file, image.blobs / file)
    config: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in used]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": image.document(config, CONFIG),
        "layers": used,
    }
    root = image.document(manifest, MANIFEST)
    image.tag(root, "example.com/made:1")
    return Source("oci", str(Path(image.folder)), str(root["digest"]))
