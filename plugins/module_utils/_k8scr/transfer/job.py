# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Image jobs: the image to copy, its source and its destination."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import DestinationError, InputError, K8scrError, MissingVolumeError, SourceError, StorageFullError
from ..oci.descriptor import Descriptor
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
        omitted: The digests of blobs that are not copied, because the image is whole without them.
    """

    source: ImageSource
    image: SourceImage
    destination: ImageDestination
    tag: str | None
    neighbors: tuple[ImageDestination, ...] = ()
    compressor: LayerCompressor | None = None
    pinned: PinnedDigest | None = None
    digest_tag: str | None = None
    omitted: Container[str] = frozenset()

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


class ReferrersMode(Enum):
    """Whether to copy the referrers of an image, such as signatures.

    Attributes:
        AUTO: Copy them together with a new image. The result reports those that cannot be copied. If a later task may
            copy them, the image fails, because that task would not look for the referrers of an unchanged image.
        ALWAYS: Copy them, also those of an unchanged image. The task fails if that is impossible.
    """

    AUTO = "auto"
    ALWAYS = "true"
    NEVER = "false"


def stays_behind(error: K8scrError) -> bool:
    """Return whether an image is copied without a referrer after an error: no later task could copy the referrer."""
    is_local = isinstance(error, DestinationError) and isinstance(error.__cause__, OSError)
    return not (error.transient or is_local or isinstance(error, (StorageFullError, MissingVolumeError)))


@dataclass(frozen=True, eq=False)
class WantedReferrers:
    """The referrers to copy with an image.

    Attributes:
        source: The source with all artifacts, not only those of selected platforms.
        target_of: Returns the target, for results and messages, of a tag or digest at the destination.
        replaced: The index in that source, if only a part of it is copied; its referrers stay behind.
    """

    mode: ReferrersMode
    source: ImageSource
    target_of: Callable[[str], str]
    replaced: Descriptor | None = None


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
        verified: The verified signature of the image, for results; ``None`` if none is required.
        referrers: The referrers to copy with it, if any.
    """

    name: str
    copy: ImageCopy | None = None
    target: str | None = None
    source: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    subject: str | None = None
    error: K8scrError | None = None
    locked_as: tuple[Reference, str] | None = None
    verified: Mapping[str, str] | None = None
    referrers: WantedReferrers | None = None

    def unload(self) -> None:
        """Free the disk space of an image that its source exported for the copy."""
        if self.copy and self.copy.image.deferred:
            self.copy.image.deferred.unload()


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
