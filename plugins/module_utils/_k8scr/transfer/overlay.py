# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A source with additional manifests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.interfaces import ImageSource, Referrers, SourceImage
from ..oci.manifest import Manifest, parse_manifest


class OverlaySource:
    """A source with the manifests and blobs of another source, and additional manifests."""

    def __init__(self, source: ImageSource) -> None:
        self.description = source.description
        self._source = source
        self._added: dict[str, Manifest] = {}

    @property
    def referrers(self) -> Referrers | None:
        return self._source.referrers

    def add(self, manifest: Manifest) -> None:
        """Add a manifest or index; the source has its children and blobs."""
        self._added[manifest.descriptor.digest] = manifest

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        return self._added.get(descriptor.digest) or self._source.fetch_manifest(descriptor)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._source.has_blob(descriptor)

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        return self._source.open_blob(descriptor, offset)

    def close(self) -> None:
        self._source.close()


def with_canonical_digest(source: ImageSource, image: SourceImage) -> tuple[ImageSource, SourceImage]:
    """Return the image with the sha256 digest that a registry gives the manifest when it is pushed to a tag.

    Raises:
        K8scrError: The source cannot be read.
    """
    if split_digest(image.root.digest)[0] == "sha256":
        return source, image
    root = source.fetch_manifest(image.root)
    named = parse_manifest(root.content, root.descriptor.media_type)
    overlay = OverlaySource(source)
    overlay.add(named)
    return overlay, replace(image, root=named.descriptor)
