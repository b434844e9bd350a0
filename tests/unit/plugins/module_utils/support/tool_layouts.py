# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI layouts as hauler, cosign and BuildKit write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX

from .images import OCI_LAYER_GZIP, REFERENCE_NAME, Image, describe, encode, index_of, layer, make_image

CONTAINERD_NAME = "io.containerd.image.name"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
Entry = tuple[Image, Mapping[str, Any]]


def write_entries(folder: Path, entries: Iterable[Entry], **index: Any) -> Path:
    """Write a layout with these images, each with members of its entry, and members of its ``index.json``."""
    listed = []
    for image, members in entries:
        listed.append({**image.root.to_json(), **members})
        for digest, content in image.contents.items():
            path = folder / "blobs" / digest.replace(":", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": listed, **index}))
    return folder


def named(image: Image, name: str, **members: Any) -> Entry:
    """Return the entry of an image with a name."""
    return image, {"annotations": {REFERENCE_NAME: name}, **members}


def signature_of(image: Image) -> Image:
    """Return a signature of cosign, which states its image in a layer only."""
    payload = encode({"critical": {"image": {"docker-manifest-digest": image.digest}}})
    signature = make_image(layers=[describe(payload, SIMPLE_SIGNING)])
    return Image(signature.root, {**signature.contents, digest_of(payload): payload}, signature.config)


def hauler_entries(image: Image, name: str, host: str, vendor: str = "dev.hauler", **attached: Image) -> list[Entry]:
    """Return the entries of a hauler store for an image.

    Args:
        name: The name without its host.
        vendor: The beginning of the annotation ``kind``.
        attached: The artifacts of the image, by kind: ``sigs``, ``atts``, ``sboms`` or ``referrers``.
    """

    def entry(each: Image, kind: str) -> Entry:
        names = {REFERENCE_NAME: name, CONTAINERD_NAME: f"{host}/{name}"}
        return each, {"annotations": {"kind": f"{vendor}/{kind}", **names}}

    suffix = {"referrers": f"referrers/{image.digest.partition(':')[2]}"}
    entries = [entry(each, suffix.get(kind, kind)) for kind, each in attached.items()]
    return [*entries, entry(image, "imageIndex" if image.root.media_type == OCI_INDEX else "image")]


def cosign_entries(image: Image, **attached: Image) -> list[Entry]:
    """Return the entries that ``cosign save`` writes: without names, in versions before 2.3."""
    kinds = {"image": image, **attached}
    return [(each, {"annotations": {"kind": f"dev.cosignproject.cosign/{kind}"}}) for kind, each in kinds.items()]


def build_cache() -> Image:
    """Return a build cache as BuildKit exports it: an index of layers and a config, without a manifest."""
    parts = [
        (layer("cached", b"result"), OCI_LAYER_GZIP),
        (b'{"layers": [], "records": []}', "application/vnd.buildkit.cacheconfig.v0"),
    ]
    index = index_of([describe(content, media_type) for content, media_type in parts])
    return Image(index.root, {**{digest_of(content): content for content, _media_type in parts}, **index.contents})
