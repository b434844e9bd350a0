# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What refers to an image, on its way into the cluster's registry beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from .copy import ImageCopy
from .errors import MissingManifestError
from .oci.descriptor import Descriptor
from .oci.manifest import OCI_INDEX, Manifest, parse_manifest
from .stores.overlay import OverlaySource
from .stores.referrers import Attached, RegistryReferrers, attached_to, fallback_tag, referrers_in, with_entries
from .stores.registry import RegistryRepository
from .stores.store import ImageSource, SourceImage


@dataclass(frozen=True)
class Referrer:
    """One artifact that goes along with an image.

    Attributes:
        subject: The digest of the manifest that it is about.
        tag: The tag that it gets; ``None`` for one that is found by the registry's list.
        copy: Its way.
    """

    subject: str
    tag: str | None
    copy: ImageCopy


def find_referrers(source: ImageSource, image: ImageCopy, destination: RegistryRepository) -> Iterator[Referrer]:
    """Find what refers to an image, and say how it gets to where the image goes.

    Args:
        source: Where the image is, with all that its place has beside it.
        image: The image's way, by which it may be reduced to some platforms.
        destination: Where it goes to.

    Raises:
        InputError: Such a source has no place for referrers.
        K8scrError: They cannot be found out.
    """
    for attached in attached_to(image.source, referrers_in(source), image.image.root):
        for tag, descriptor in attached.tags.items():
            copy = ImageCopy(source, SourceImage(descriptor), destination, tag, image.neighbours)
            yield Referrer(attached.subject, tag, copy)
        if attached.entries:
            yield from _listed(source, attached, destination, image)


def _listed(
    source: ImageSource, attached: Attached, destination: RegistryRepository, image: ImageCopy
) -> Iterator[Referrer]:
    if RegistryReferrers(destination).listed(attached.subject) is not None:
        for entry in attached.entries:
            copy = ImageCopy(source, SourceImage(Descriptor.from_json(entry)), destination, None, image.neighbours)
            yield Referrer(attached.subject, None, copy)
        return
    # Who pushes to a registry that keeps no list keeps it himself, and what others have put there stays.
    tag = fallback_tag(attached.subject)
    before = RegistryReferrers(destination).of(attached.subject)
    entries = with_entries(before, attached.entries)
    before_root = destination.resolve(tag)
    if entries == before and before_root:
        index = destination.fetch_manifest(before_root)
    else:
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        index = parse_manifest(json.dumps(value, separators=(",", ":")).encode())
    merged = _ListSource(source, destination, index)
    copy = ImageCopy(merged, SourceImage(index.descriptor), destination, tag, image.neighbours)
    yield Referrer(attached.subject, tag, copy)


class _ListSource(OverlaySource):
    """A source that has a list of referrers too, of which some may be at the destination alone."""

    def __init__(self, source: ImageSource, destination: RegistryRepository, index: Manifest) -> None:
        super().__init__(source)
        self._destination = destination
        self.add(index)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        try:
            return super().fetch_manifest(descriptor)
        except MissingManifestError:
            return self._destination.fetch_manifest(descriptor)
