# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the referrers of an image, such as signatures, and make the jobs that copy them together with the image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, K8scrError, MissingManifestError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_manifests
from ..oci.interfaces import ImageDestination, ImageSource, Referrers, SourceImage
from ..oci.manifest import OCI_INDEX, Manifest, parse_manifest
from ..oci.reference import parse_reference
from ..oci.referrers import cosign_tags, fallback_tag, with_entries
from .job import ImageCopy, ImageJob
from .overlay import OverlaySource

_MOST_REFERRERS = 1000


@dataclass(frozen=True)
class Attached:
    """The referrers of one manifest.

    Attributes:
        subject: The manifest's digest.
        entries: The referrers that name it as their subject, as an index lists them.
        tags: The artifacts with one of cosign's tags for it, by tag.
    """

    subject: str
    entries: list[dict[str, Any]]
    tags: dict[str, Descriptor]


def referrer_jobs(job: ImageJob, source: ImageSource, target_of: Callable[[str], str]) -> list[ImageJob]:
    """Return the jobs for the referrers of a job's image, or one job that fails if they cannot be found.

    Args:
        source: The source with all its artifacts, not only those of selected platforms.
        target_of: Returns the target, for results and messages, of a tag or digest at the destination.
    """
    if job.copy is None:
        return []
    try:
        return list(_find(job, job.copy, source, target_of))
    except K8scrError as error:
        return [replace(job, name=f"referrers of {job.name}", copy=None, target=None, error=error)]


def _find(job: ImageJob, image: ImageCopy, source: ImageSource, target_of: Callable[[str], str]) -> Iterator[ImageJob]:
    if not image.destination.capabilities.referrers:
        raise InputError(
            f"{image.destination.description} cannot store referrers", "Use oci: or oci-archive: as the destination"
        )
    for attached in attached_to(image.source, referrers_in(source), image.image.root):
        copies = [
            ImageCopy(source, SourceImage(descriptor), image.destination, tag, image.neighbors)
            for tag, descriptor in attached.tags.items()
        ]
        copies += _listed(source, attached, image) if attached.entries else ()
        for copy in copies:
            digest = copy.image.root.digest
            name = replace(parse_reference(job.name), tag=copy.tag, digest=None if copy.tag else digest)
            target, facts = target_of(copy.tag or digest), {**job.facts, "tag": copy.tag}
            yield ImageJob(str(name), copy, target, job.source, facts, attached.subject)


def _listed(source: ImageSource, attached: Attached, image: ImageCopy) -> Iterator[ImageCopy]:
    destination = image.destination
    before = destination.fallback_referrers(attached.subject)
    if before is None:
        for entry in attached.entries:
            referrer = SourceImage(Descriptor.from_json(entry))
            yield ImageCopy(source, referrer, destination, None, image.neighbors)
        return
    # The client maintains the list of a registry without the referrers API; entries of other clients stay.
    tag = fallback_tag(attached.subject)
    entries = with_entries(before, attached.entries)
    before_root = destination.resolve(tag)
    if entries == before and before_root:
        index = destination.fetch_manifest(before_root)
    else:
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        index = parse_manifest(json.dumps(value, separators=(",", ":")).encode())
    merged = _ListSource(source, destination, index)
    yield ImageCopy(merged, SourceImage(index.descriptor), destination, tag, image.neighbors)


def referrers_in(source: ImageSource) -> Referrers:
    """Return the referrers of a source.

    Raises:
        InputError: Sources of this kind have no referrers.
    """
    if source.referrers is None:
        raise InputError(
            f"{source.description} cannot store referrers", "Use docker://, oci: or oci-archive: as the source"
        )
    return source.referrers


def attached_to(source: ImageSource, referrers: Referrers, root: Descriptor) -> Iterator[Attached]:
    """Find the referrers of an image and of all its manifests, and the referrers of those.

    Args:
        source: The source of the image, limited to the selected platforms.
        referrers: The referrers of the complete source.

    Raises:
        K8scrError: The source does not return them, or returns more than 1,000.
    """
    subjects = [manifest.descriptor.digest for manifest in walk_manifests(source, root)]
    listed = 0
    for subject in subjects:
        entries = referrers.of(subject)
        # A referrer has one subject, so one that is listed several times counts each time.
        listed += len(entries)
        subjects += [entry["digest"] for entry in entries if entry["digest"] not in subjects]
        if listed > _MOST_REFERRERS:
            raise SourceError(f"more than {_MOST_REFERRERS} manifests in {source.description} refer to one image")
        tags = {tag: descriptor for tag in cosign_tags(subject) if (descriptor := referrers.tagged(tag))}
        if entries or tags:
            yield Attached(subject, entries, tags)


class _ListSource(OverlaySource):
    """A source with a merged list of referrers, some of which only the destination has."""

    def __init__(self, source: ImageSource, destination: ImageDestination, index: Manifest) -> None:
        super().__init__(source)
        self._destination = destination
        self.add(index)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        try:
            return super().fetch_manifest(descriptor)
        except MissingManifestError:
            return self._destination.fetch_manifest(descriptor)
