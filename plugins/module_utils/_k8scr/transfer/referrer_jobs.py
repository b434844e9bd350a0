# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What refers to an image, on its way beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..errors import InputError, K8scrError, MissingManifestError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination, ImageSource, SourceImage
from ..oci.manifest import OCI_INDEX, Manifest, parse_manifest
from ..oci.reference import parse_reference
from ..oci.referrers import fallback_tag, with_entries
from .execute import Order, failing
from .overlay import OverlaySource
from .plan import ImageCopy
from .referrers import Attached, attached_to, referrers_in


@dataclass(frozen=True)
class _Referrer:
    """One artifact that goes along with an image.

    Attributes:
        subject: The digest of the manifest that it is about.
        tag: The tag that it gets; ``None`` for one that is found by the destination's list.
        copy: Its way.
    """

    subject: str
    tag: str | None
    copy: ImageCopy


def orders_beside(order: Order, source: ImageSource, target: Callable[[str], str]) -> list[Order]:
    """Return the orders for what refers to the image of another order; if it cannot be found out, one that fails.

    Args:
        order: The image, which is prepared.
        source: Where it is, with all that its place has beside it.
        target: Says where something of a tag or a digest goes to, for people.
    """
    if order.copy is None:
        return []
    try:
        found = list(_find(source, order.copy))
    except K8scrError as error:
        return [Order(f"what refers to {order.name}", failing(error), {**order.facts, "target": None})]
    return [_beside(order, referrer, target) for referrer in found]


def _beside(order: Order, referrer: _Referrer, target: Callable[[str], str]) -> Order:
    copy, tag = referrer.copy, referrer.tag
    digest = copy.image.root.digest
    name = replace(parse_reference(order.name), tag=tag, digest=None if tag else digest)
    facts = {**order.facts, "tag": tag, "target": target(tag or digest), "subject": referrer.subject}
    return Order(str(name), lambda: copy, facts, copy)


def _find(source: ImageSource, image: ImageCopy) -> Iterator[_Referrer]:
    destination = image.destination
    if not destination.capabilities.referrers:
        raise InputError(
            f"{destination.description} cannot store referrers", "Use oci: or oci-archive: as the destination"
        )
    for attached in attached_to(image.source, referrers_in(source), image.image.root):
        for tag, descriptor in attached.tags.items():
            copy = ImageCopy(source, SourceImage(descriptor), destination, tag, image.neighbours)
            yield _Referrer(attached.subject, tag, copy)
        if attached.entries:
            yield from _listed(source, attached, image)


def _listed(source: ImageSource, attached: Attached, image: ImageCopy) -> Iterator[_Referrer]:
    destination = image.destination
    before = destination.fallback_referrers(attached.subject)
    if before is None:
        for entry in attached.entries:
            copy = ImageCopy(source, SourceImage(Descriptor.from_json(entry)), destination, None, image.neighbours)
            yield _Referrer(attached.subject, None, copy)
        return
    # Who pushes to a registry that keeps no list keeps it himself, and what others have put there stays.
    tag = fallback_tag(attached.subject)
    entries = with_entries(before, attached.entries)
    before_root = destination.resolve(tag)
    if entries == before and before_root:
        index = destination.fetch_manifest(before_root)
    else:
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        index = parse_manifest(json.dumps(value, separators=(",", ":")).encode())
    merged = _ListSource(source, destination, index)
    copy = ImageCopy(merged, SourceImage(index.descriptor), destination, tag, image.neighbours)
    yield _Referrer(attached.subject, tag, copy)


class _ListSource(OverlaySource):
    """A source that has a list of referrers too, of which some may be at the destination alone."""

    def __init__(self, source: ImageSource, destination: ImageDestination, index: Manifest) -> None:
        super().__init__(source)
        self._destination = destination
        self.add(index)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        try:
            return super().fetch_manifest(descriptor)
        except MissingManifestError:
            return self._destination.fetch_manifest(descriptor)
