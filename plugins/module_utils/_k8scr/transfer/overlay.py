# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A source that has manifests beside those that it is made of."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.manifest import Manifest, parse_manifest

_CANONICAL = "sha256"


class OverlaySource:
    """A source with manifests that were added to it.

    Args:
        source: What it is made of.
    """

    def __init__(self, source: ImageSource) -> None:
        self.description = source.description
        self.referrers = source.referrers
        self._source = source
        self._added: dict[str, Manifest] = {}

    def add(self, manifest: Manifest) -> None:
        """Have a manifest or index more, whose parts are there."""
        self._added[manifest.descriptor.digest] = manifest

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        return self._added.get(descriptor.digest) or self._source.fetch_manifest(descriptor)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageSource.has_blob`."""
        return self._source.has_blob(descriptor)

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        """See :meth:`ImageSource.open_blob`."""
        return self._source.open_blob(descriptor, offset)

    def close(self) -> None:
        """See :meth:`ImageSource.close`."""
        self._source.close()


def known_by_tag(source: ImageSource, image: SourceImage) -> tuple[ImageSource, SourceImage]:
    """Return an image as a registry names it that has it under a tag: by the sha256 of its manifest.

    Raises:
        K8scrError: The source cannot be read.
    """
    if split_digest(image.root.digest)[0] == _CANONICAL:
        return source, image
    root = source.fetch_manifest(image.root)
    named = parse_manifest(root.content, root.descriptor.media_type)
    overlay = OverlaySource(source)
    overlay.add(named)
    return overlay, replace(image, root=named.descriptor)
