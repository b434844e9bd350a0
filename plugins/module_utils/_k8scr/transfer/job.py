# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Image jobs: the image to copy, its source and its destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, K8scrError, SourceError
from ..oci.interfaces import ImageDestination, ImageSource, LayerCompressor, SourceImage
from ..oci.reference import Reference


@dataclass(frozen=True, eq=False)
class ImageCopy:
    """The source and the destination of one image.

    Attributes:
        tag: The image's tag at the destination; ``None`` to store it by digest only.
        neighbors: Other repositories of the destination's store from which blobs may be mounted.
        compressor: Compresses uncompressed layers; ``None`` copies them unchanged.
        pinned: The digest that the image must have, and the texts for the error if it has another.
        digest_tag: The collection's tag for an image without ``tag``, which protects it from garbage collection;
            ``None`` if the image needs no protection.
    """

    source: ImageSource
    image: SourceImage
    destination: ImageDestination
    tag: str | None
    neighbors: tuple[ImageDestination, ...] = ()
    compressor: LayerCompressor | None = None
    pinned: PinnedDigest | None = None
    digest_tag: str | None = None

    @property
    def tag_to_set(self) -> str | None:
        """The tag to set at the destination, the user's or the collection's."""
        return self.tag or self.digest_tag


@dataclass(frozen=True)
class PinnedDigest:
    """The digest in the name of an image.

    Attributes:
        origin: The source in error messages.
    """

    name: Reference
    origin: str

    def require(self, image: SourceImage) -> None:
        """Check an image.

        Raises:
            SourceError: The image has another digest.
        """
        if image.root.digest != self.name.digest:
            advice = None
            if image.config_digest:
                advice = (
                    "An image that is known by its image ID may have lost its digest: use docker:// as the source, or"
                    " remove the digest from the name"
                )
            raise SourceError(f"{self.origin} has {image.root.digest}, not the digest of {self.name}", advice)


@dataclass(frozen=True, eq=False)
class ImageJob:
    """One image of a task.

    Attributes:
        name: The image's name, as the user wrote it.
        copy: What to copy; ``None`` if an error prevents it.
        target: The image's name at the destination, for results and messages.
        source: The location of the image, as the user wrote it.
        facts: Further entries of the image's result.
        subject: The digest that the image refers to, if it is a referrer of another image.
        locked_as: The name and the digest of the image in a lock file; ``None`` for an image that is not locked.
    """

    name: str
    copy: ImageCopy | None = None
    target: str | None = None
    source: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    subject: str | None = None
    error: K8scrError | None = None
    locked_as: tuple[Reference, str] | None = None

    def unload(self) -> None:
        """Free the disk space of an image that its source exported for the copy."""
        if self.copy and self.copy.image.deferred:
            self.copy.image.deferred.unload()


def unique_jobs(jobs: Iterable[ImageJob]) -> list[ImageJob]:
    """Remove duplicate referrers: one that belongs to several images is copied once.

    Raises:
        InputError: Different referrers have the same target.
    """
    seen: dict[str, set[str]] = {}
    kept = []
    for job in jobs:
        digest = job.copy.image.root.digest if job.copy else ""
        digests = seen.setdefault(str(job.target), set())
        if job.subject and digests and digest not in digests:
            raise InputError(f"{job.name} would be written to {job.target}, like another image", "Use two destinations")
        if not job.subject or digest not in digests:
            kept.append(job)
        digests.add(digest)
    return kept


def reject_collisions(jobs: Iterable[ImageJob], advice: str) -> None:
    """Check that no two jobs write different images to one target.

    Raises:
        InputError: Two jobs do.
    """
    targets: dict[str | None, ImageJob] = {}
    for job in jobs:
        other = targets.setdefault(job.target, job)
        if job.copy and other.copy and not other.copy.image.is_same(job.copy.image):
            raise InputError(
                f"{other.name} from {other.source} and {job.name} from {job.source}"
                f" are different images with the same target {job.target}",
                advice,
            )
