# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that a registry stores, with their manifests and blobs, each digest counted once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from ..errors import K8scrError
from ..oci.descriptor import Descriptor
from ..oci.manifest import is_nondistributable
from ..oci.platform import Platform
from ..oci.referrers import COSIGN_SUFFIXES

_TAG_OF_SUBJECT = re.compile(rf"sha256-([0-9a-f]{{64}})(?:{'|'.join(map(re.escape, COSIGN_SUFFIXES))})?")

ImageKey = tuple[str, str]
"""The repository of an image and the digest of its root; for a broken tag, the tag in place of the digest."""


class Verify(Enum):
    """How thoroughly the content of a registry is verified.

    Attributes:
        NONE: The tags are looked up. No manifest is read, so the children and blobs of images are unknown.
        MANIFESTS: All manifests are read, and their digests and sizes are verified.
        BLOBS: Also, each blob is looked up, and its size is compared.
        CONTENT: Also, each blob is read once, and its digest is verified.
    """

    NONE = "none"
    MANIFESTS = "manifests"
    BLOBS = "blobs"
    CONTENT = "content"


@dataclass(frozen=True)
class StoredManifest:
    """A manifest or index of a repository.

    Attributes:
        descriptor: Its own descriptor.
        platform: Its platform, if the index states it or the config was read.
        blobs: The config first, then the layers. Of their properties other than the media type, the digest and the
            size, only the URLs of nondistributable layers are kept, because registries do not store these.
    """

    descriptor: Descriptor
    platform: Platform | None = None
    blobs: tuple[Descriptor, ...] = ()

    @property
    def stored_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs without nondistributable layers."""
        return tuple(blob for blob in self.blobs if not is_nondistributable(blob))

    @property
    def size(self) -> int:
        """Bytes of the manifest and its blobs."""
        return self.descriptor.size + sum(blob.size for blob in self.stored_blobs)


@dataclass(frozen=True)
class StoredReferrer:
    """A manifest that refers to another one, such as a signature.

    Attributes:
        subject: The digest of the manifest to which it refers.
        descriptor: The referrer's own descriptor.
        artifact_type: The kind of artifact, as its list states it; ``None`` if it is found by cosign's tag.
        tag: Cosign's tag; ``None`` if a list of referrers names it.
    """

    subject: str
    descriptor: Descriptor
    artifact_type: str | None = None
    tag: str | None = None


@dataclass(frozen=True)
class StoredImage:
    """One root manifest or index of a repository, with all its tags.

    Attributes:
        root: The manifest or index; its annotations are empty.
        tags: The tags, sorted; empty if the image was found by its digest.
        manifests: The existing manifests, each once, the root first; empty if they were not read.
        missing: The digests of the children and blobs that the registry does not have, as far as it was verified. A
            blob of another size is damaged if it was read, and otherwise missing.
        damaged: The digests of the manifests and blobs whose content has another digest.
        referrers: The artifacts that refer to the image or its manifests, if they were requested.
        created: The time of creation in RFC 3339, if it was requested: of the config, or of the annotation.
        annotations: The annotations of the root, if they were requested.
        labels: The labels in the first config, if they were requested.
        error: The reason why the image or a part of it cannot be read or verified.
    """

    repository: str
    root: Descriptor
    tags: tuple[str, ...] = ()
    manifests: tuple[StoredManifest, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    referrers: tuple[StoredReferrer, ...] = ()
    created: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    error: K8scrError | None = field(default=None, compare=False)

    @property
    def key(self) -> ImageKey:
        """The key that identifies the image in its registry."""
        return self.repository, self.root.digest or self.tags[0]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, damaged or unreadable, as far as it was verified."""
        return not (self.missing or self.damaged or self.error)

    @property
    def digests(self) -> set[str]:
        """The digests of its manifests; that of the root only, if they were not read; none for a broken tag."""
        return {self.root.digest, *(manifest.descriptor.digest for manifest in self.manifests)} - {""}

    @property
    def size(self) -> int:
        """Bytes of its manifests and blobs, each counted once."""
        return sum(_sizes([self]).values())


@dataclass(frozen=True)
class Unreadable:
    """A repository or a tag that cannot be read; ``tag`` is ``None`` if the tags of the repository are unknown."""

    repository: str
    tag: str | None
    error: K8scrError = field(compare=False)


@dataclass(frozen=True)
class Inventory:
    """The images of a registry.

    Attributes:
        repositories: The names of the repositories, sorted, including those without images.
        images: The images by repository, in the order of their first tags.
        absent: The requested images that do not exist, each with the repository and the tag or digest.
        unreadable: The repositories and tags without an image above, because they cannot be read.
    """

    repositories: tuple[str, ...] = ()
    images: tuple[StoredImage, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    @cached_property
    def manifests(self) -> int:
        """The number of different manifests and indexes."""
        return len({manifest.descriptor.digest for image in self.images for manifest in image.manifests})

    @cached_property
    def blobs(self) -> int:
        """The number of different blobs."""
        return len(self._sizes) - self.manifests

    @cached_property
    def bytes(self) -> int:
        """The size of all different manifests and blobs."""
        return sum(self._sizes.values())

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return _sizes(self.images)


def subject_of(tag: str) -> str | None:
    """Return the digest of the manifest to which the image with a tag refers, or ``None``.

    Such tags are those of OCI's lists of referrers, ``sha256-DIGEST``, and of cosign, ``sha256-DIGEST.sig``. The tag
    for a sha512 digest contains only its first half, so it is compared with :func:`..oci.referrers.fallback_tag`.
    """
    match = _TAG_OF_SUBJECT.fullmatch(tag)
    return f"sha256:{match[1]}" if match else None


def _sizes(images: Iterable[StoredImage]) -> dict[str, int]:
    """Return the bytes of the existing manifests and blobs of images, by digest."""
    sizes: dict[str, int] = {}
    for image in images:
        missing = set(image.missing)
        for manifest in image.manifests:
            sizes[manifest.descriptor.digest] = manifest.descriptor.size
            for blob in manifest.stored_blobs:
                if blob.digest not in missing:
                    sizes.setdefault(blob.digest, blob.size)
    return sizes
