# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bundle has after a task: the images of the task, and the existing ones that stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import DigestMismatchError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_manifests
from ..oci.manifest import Manifest, is_nondistributable
from ..oci.reference import Reference
from ..stores.bundle_format import BundleImage
from ..stores.bundle_store import BundleStore
from ..stores.layout_referrers import LayoutReferrers
from ..stores.oci_index import entry_names, full_name, with_entry
from .report import ImageResult


def bundle_tag(name: Reference) -> str | None:
    """Return the name of an image in ``index.json``; ``None`` for an image that is known by its digest alone."""
    return str(replace(name, digest=None)) if name.tag else None


@dataclass(eq=False)
class BundleImages:
    """The images of a bundle after a task, in check mode those that it would have.

    Attributes:
        results: The results of the task's images, which all succeeded.
        was_complete: Whether the bundle was complete before the task.
        prune: Whether images that the task does not name are removed.
        description: The name of the bundle in messages.
    """

    store: BundleStore
    results: Sequence[ImageResult]
    was_complete: bool
    prune: bool
    check_mode: bool
    description: str = ""

    def __post_init__(self) -> None:
        self.description = self.store.description

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest of the bundle or of the plans of the task; see :class:`ManifestSource`."""
        return self._planned.get(descriptor.digest) or self.store.fetch_manifest(descriptor)

    @cached_property
    def entries(self) -> list[Descriptor]:
        """The entries of ``index.json`` before images are removed."""
        entries = list(self.store.entries)
        for result in self.results if self.check_mode else ():
            copy, image = result.plan.job.copy, result.plan.image
            if copy and image and result.changed:
                entries = with_entry(entries, image.root, copy.tag)
        return entries

    @cached_property
    def kept(self) -> list[Descriptor]:
        """The entries that stay: images, and the referrers of their manifests."""
        referrers = LayoutReferrers(self.entries, None, self)
        subjects = {position: referrers.subject(entry) for position, entry in enumerate(self.entries)}
        kept = [entry for position, entry in enumerate(self.entries) if self._stays(entry, subjects[position])]
        digests = {digest for entry in kept for digest in _names_of(self._content(entry).manifests)}
        waiting = {position: subject for position, subject in subjects.items() if subject}
        while True:
            found = [
                at for at, subject in waiting.items() if subject in digests or subject.replace(":", "-") in digests
            ]
            if not found:
                return kept
            for position in found:
                del waiting[position]
                kept.append(self.entries[position])
                digests.update(_names_of(self._content(self.entries[position]).manifests))

    @cached_property
    def removed(self) -> list[Descriptor]:
        """The entries that are removed. Referrers of images that are gone are removed without ``prune`` too."""
        kept = set(map(id, self.kept))
        return [entry for entry in self.entries if id(entry) not in kept]

    @property
    def removed_images(self) -> list[BundleImage]:
        """The removed images that have a full name."""
        return self._named(self.removed, self._known_digests)

    @property
    def removed_names(self) -> list[str]:
        """The names or digests by which the store removes the entries."""
        digests = {entry.digest for entry in self.kept}
        named = [name for entry in self.removed for name in entry_names(entry)]
        return [*named, *(each.digest for each in self.removed if not entry_names(each) and each.digest not in digests)]

    @cached_property
    def images(self) -> tuple[BundleImage, ...]:
        """The images with their full names, as ``bundle.json`` lists them."""
        return tuple(self._named(self.kept, {**self._known_digests, **self._wanted_digests}))

    @cached_property
    def contents(self) -> Mapping[str, Descriptor]:
        """The manifests and the blobs of the images, by digest."""
        found: dict[str, Descriptor] = {}
        for entry in self.kept:
            content = self._content(entry)
            found.update({digest: each.descriptor for digest, each in content.manifests.items()})
            found.update({blob.digest: blob for blob in content.blobs})
        return found

    @cached_property
    def missing(self) -> Mapping[str, int]:
        """The sizes of the blobs that the bundle leaves out, by digest."""
        sent = {blob.descriptor.digest for each in self.results for blob in each.blobs if blob.descriptor}
        return {
            digest: blob.size
            for digest, blob in self.contents.items()
            if digest not in self._planned
            and digest not in sent
            and not is_nondistributable(blob)
            and not self.store.will_have(blob)
        }

    @property
    def size(self) -> int:
        """The bytes of the manifests and the blobs in the bundle."""
        return sum(each.size for digest, each in self.contents.items() if digest not in self.missing)

    @cached_property
    def _planned(self) -> dict[str, Manifest]:
        return {each.descriptor.digest: each for result in self.results for each in result.plan.manifests}

    @cached_property
    def _wanted_names(self) -> set[str]:
        return {copy.tag for copy in (result.plan.job.copy for result in self.results) if copy and copy.tag}

    @cached_property
    def _wanted_digests(self) -> dict[str, list[str]]:
        """The names of the images that are known by their digests alone, by digest."""
        found: dict[str, list[str]] = {}
        for result in self.results:
            job, image = result.plan.job, result.plan.image
            if job.copy and not job.copy.tag and not job.subject and image:
                found.setdefault(image.root.digest, []).append(job.name)
        return found

    @cached_property
    def _known_digests(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in self.store.previous.images if self.store.previous else ():
            if "@" in each.name:
                found.setdefault(each.digest, []).append(each.name)
        return found

    @staticmethod
    def _named(entries: Sequence[Descriptor], by_digest: Mapping[str, list[str]]) -> list[BundleImage]:
        """Return the entries that have names, in their own order; ``by_digest`` has the names of those without tags."""
        found: dict[str, BundleImage] = {}
        for entry in entries:
            known = entry_names(entry)
            names = by_digest.get(entry.digest, []) if not known else [known[0]] if full_name(entry) else []
            for name in names:
                found.setdefault(name, BundleImage(name, entry.digest, entry.size))
        return sorted(found.values(), key=lambda each: each.name)

    def _stays(self, entry: Descriptor, subject: str | None) -> bool:
        """Whether an entry stays because it is an image; referrers stay with their images."""
        names = entry_names(entry)
        if not names and entry.digest in self._wanted_digests:
            return True
        if subject:
            return False
        return not self._wanted_names.isdisjoint(names) or (not self.prune and self._is_usable(entry))

    def _is_usable(self, entry: Descriptor) -> bool:
        """Whether an existing image is complete, as all images of a complete bundle are."""
        omitted = self.store.previous.omitted if self.store.previous else {}
        return self.was_complete or all(
            is_nondistributable(blob) or self.store.will_have(blob) or blob.digest in omitted
            for blob in self._content(entry).blobs
        )

    def _content(self, entry: Descriptor) -> _Content:
        content = _Content()
        # A damaged image stays as it is; the store reports it.
        for manifest in _readable(walk_manifests(self, entry, partial=True)):
            content.manifests[manifest.descriptor.digest] = manifest
            content.blobs.update(dict.fromkeys(manifest.blobs))
        return content


@dataclass(frozen=True)
class _Content:
    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[Descriptor, None] = field(default_factory=dict)


def _readable(manifests: Iterator[Manifest]) -> Iterator[Manifest]:
    try:
        yield from manifests
    except (SourceError, DigestMismatchError):
        return


def _names_of(digests: Mapping[str, Manifest]) -> Iterator[str]:
    """Yield digests, and the tags of lists of referrers for them, which have the beginning of a long digest."""
    for digest in digests:
        yield digest
        algorithm, _colon, encoded = digest.partition(":")
        yield f"{algorithm}-{encoded[:64]}"
