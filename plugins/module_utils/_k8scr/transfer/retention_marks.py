# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags and images that rules keep, with the children of indexes and the referrers that stay with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..oci.descriptor import Descriptor
from ..oci.digest_tag import digest_tag, is_digest_tag
from ..oci.reference import target_name
from ..oci.referrers import fallback_tag
from ..registry.inventory import ImageKey, Inventory, StoredImage, subject_of

_NO_DIGEST = Descriptor("application/octet-stream", "", 0)


@dataclass(frozen=True)
class Verdict:
    """The decision about one image.

    Attributes:
        kept: The tags that stay, each with the reasons.
        reasons: The reasons why an image without tags stays.
        deleted: The tags to delete.
        referrers: Those of ``deleted`` that are tags of referrers.
        orphans: Those of ``referrers`` whose subject the registry does not have.
        is_listed: Whether an index that stays lists the image, so that its content stays even without a tag.
        is_pinned: Whether a workload or a lock file names the image by digest, so that it must stay if its tags move.
    """

    image: StoredImage
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    is_listed: bool = False
    is_pinned: bool = False

    @property
    def stays(self) -> bool:
        """Whether the content of the image stays."""
        return bool(self.kept or self.reasons or self.is_listed)

    @property
    def needs_tag(self) -> bool:
        """Whether a garbage collection would delete the image without a tag of the collection.

        It has no tag and no index, or a push may move its tags before the collection.
        """
        if self.is_pinned:
            return digest_tag(self.image.root.digest) not in self.image.tags
        return bool(self.reasons) and not self.is_listed

    @property
    def digest(self) -> str | None:
        """The digest of the root; ``None`` for a broken tag."""
        return self.image.root.digest or None


def name_of(image: StoredImage, tag: str = "") -> str:
    """Return the name of an image with one of its tags; by default its first, or its digest without tags."""
    return target_name(image.repository, tag or next(iter(image.tags), image.root.digest))


def broken_images(inventory: Inventory) -> Iterator[StoredImage]:
    """Yield an image without a digest for each tag whose manifest cannot be read."""
    for item in inventory.unreadable:
        if item.tag and ":" not in item.tag:
            yield StoredImage(item.repository, _NO_DIGEST, (item.tag,), error=item.error)


class Marks:
    """The reasons why tags stay. The empty tag is the image itself, if it has no tag.

    Attributes:
        images: The images, including those of broken tags.
        tagged: The images by repository and tag.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.images = {image.key: image for image in (*inventory.images, *broken_images(inventory))}
        self.tagged = {(image.repository, tag): image for image in self.images.values() for tag in image.tags}
        self._reasons: dict[tuple[ImageKey, str], list[str]] = defaultdict(list)
        self._pinned: set[ImageKey] = set()
        self._holders: dict[str, dict[str, list[StoredImage]]] = defaultdict(dict)
        """The images with each manifest, by digest and repository."""
        self._configs: dict[tuple[str, str], list[StoredImage]] = defaultdict(list)
        """The images with each config, by repository and digest."""
        for image in self.images.values():
            for digest in image.digests:
                self._holders[digest].setdefault(image.repository, []).append(image)
            for manifest in image.manifests:
                for config in manifest.blobs[:1]:
                    self._configs[image.repository, config.digest].append(image)
        self._subjects = dict(self._find_subjects())
        """The digests to which the tags of referrers refer, by repository and tag."""
        self._remaining: dict[str, set[str]] = defaultdict(set)
        """The digests of the manifests that stay, by repository."""
        self._listed: dict[str, set[str]] = defaultdict(set)
        """Those of them that an index lists."""

    def keep(self, image: StoredImage, tag: str, reason: str) -> None:
        """Keep one tag of an image."""
        reasons = self._reasons[image.key, tag]
        if reason not in reasons:
            reasons.append(reason)

    def keep_all(self, image: StoredImage, reason: str) -> None:
        """Keep all tags of an image, or the image itself if it has none."""
        for tag in image.tags or ("",):
            self.keep(image, tag, reason)

    def pin(self, image: StoredImage) -> None:
        """Note that a workload or a lock file names an image by digest."""
        self._pinned.add(image.key)

    def holding(self, repository: str, digest: str) -> list[StoredImage]:
        """Return the images of a repository with a digest: of a manifest, or of a config."""
        return [*self._holders.get(digest, {}).get(repository, ()), *self._configs.get((repository, digest), ())]

    def is_referrer(self, image: StoredImage) -> bool:
        """Return whether all tags of an image are those of referrers."""
        return bool(image.tags) and all(self._refers_to_other(image, tag) for tag in image.tags)

    def names(self, image: StoredImage) -> list[str]:
        """Return the tags of an image that are neither those of referrers nor the collection's."""
        return [
            tag
            for tag in image.tags
            if not self._refers_to_other(image, tag) and not is_digest_tag(tag, image.root.digest)
        ]

    def follow_subjects(self) -> None:
        """Keep the referrers of all images that stay, the referrers of those, and so on."""
        followers = self._followers()
        if any(image.error or image.damaged for image in self.images.values()):
            for (repository, tag), subject in self._subjects.items():
                if subject not in self._holders:
                    self.keep(self.tagged[repository, tag], tag, "may refer to an image that cannot be read")
        pending = [image for image in self.images.values() if self._stays(image)]
        while pending:
            image = pending.pop()
            for follower, tags, reason in self._following(image, followers):
                # The referrers in a list follow the tag of the list, which an image that stays may get later.
                if not all((follower.key, tag) in self._reasons for tag in tags):
                    pending.append(follower)
                for tag in tags:
                    self.keep(follower, tag, reason)

    def verdict(self, image: StoredImage) -> Verdict:
        """Return the decision about an image, after all rules."""
        found = {tag: tuple(self._reasons.get((image.key, tag), ())) for tag in image.tags or ("",)}
        kept = {tag: reasons for tag, reasons in found.items() if tag and reasons}
        deleted = tuple(tag for tag in image.tags if tag not in kept)
        subjects = {tag: self._subjects.get((image.repository, tag)) for tag in deleted}
        referrers = tuple(tag for tag, subject in subjects.items() if subject)
        orphans = tuple(tag for tag in referrers if subjects[tag] not in self._holders)
        is_listed = image.root.digest in self._listed[image.repository]
        is_pinned = image.key in self._pinned
        return Verdict(image, kept, found.get("", ()), deleted, referrers, orphans, is_listed, is_pinned)

    def _refers_to_other(self, image: StoredImage, tag: str) -> bool:
        """Return whether a tag is that of a referrer, and not derived from the digest of the image itself.

        Tools that mirror images by digest may set such tags.
        """
        return self._subjects.get((image.repository, tag), image.root.digest) != image.root.digest

    def _stays(self, image: StoredImage) -> bool:
        return any((image.key, tag) in self._reasons for tag in image.tags or ("",))

    def _find_subjects(self) -> Iterator[tuple[tuple[str, str], str]]:
        fallbacks = {fallback_tag(digest): digest for digest in self._holders}
        for repository, tag in self.tagged:
            subject = fallbacks.get(tag) or subject_of(tag)
            if subject:
                yield (repository, tag), subject

    def _followers(self) -> Mapping[tuple[str, str], list[tuple[StoredImage, str]]]:
        """Return the tags of the referrers of each manifest, by repository and digest.

        OCI requires the same repository. cosign can store signatures in another one, so a referrer without a subject in
        its own repository follows the manifest in all others.
        """
        followers: dict[tuple[str, str], list[tuple[StoredImage, str]]] = defaultdict(list)
        for (repository, tag), subject in self._subjects.items():
            holders = self._holders.get(subject, {})
            for holder in [repository] if repository in holders else holders:
                followers[holder, subject].append((self.tagged[repository, tag], tag))
        return followers

    def _following(
        self, image: StoredImage, followers: Mapping[tuple[str, str], list[tuple[StoredImage, str]]]
    ) -> Iterator[tuple[StoredImage, tuple[str, ...], str]]:
        """Yield the images that stay because an image stays, each with these tags and the reason."""
        repository, children = image.repository, image.digests - {image.root.digest}
        self._listed[repository] |= children
        kept = (tag for tag in image.tags if (image.key, tag) in self._reasons)
        subject = next(filter(None, (self._subjects.get((repository, tag)) for tag in kept)), None)
        for digest in children if subject else ():
            referrer = self.images.get((repository, digest))
            if referrer:
                yield referrer, referrer.tags or ("",), f"listed as a referrer of {subject}"
        remaining = self._remaining[repository]
        for digest in image.digests - remaining:
            remaining.add(digest)
            for follower, tag in followers.get((repository, digest), ()):
                yield follower, (tag,), f"refers to {digest}, which stays"
