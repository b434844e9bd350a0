# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces of sources, destinations and stores; a transfer uses nothing else of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import K8scrError
from .content import BlobContent, Blocks
from .descriptor import Descriptor
from .manifest import Manifest
from .reference import Reference


@dataclass(frozen=True)
class SourceImage:
    """An image of a source.

    Attributes:
        root: Its manifest or index.
        name: Its name at the source, if it has one.
        config_digest: The digest of its config, for images that are identified by it. A Docker archive stores no
            manifest, so the collection makes one.
        compressible: Whether the manifest was made by the collection, so that compressed layers do not make it another
            image.
        name_error: The reason why the image has no name, if the source has a name that cannot be used.
        sparse: Explains which blobs the source does not have on purpose; ``None`` for a source with all blobs.
        deferred: Loads the image, if its manifest is not known before that; the digest of ``root`` then only tells
            whether the destination has the image. ``None`` if ``root`` is the image's manifest or index.
    """

    root: Descriptor
    name: Reference | None = None
    config_digest: str | None = None
    compressible: bool = False
    name_error: K8scrError | None = field(default=None, compare=False)
    deferred: DeferredImage | None = field(default=None, compare=False)
    sparse: SparseContent | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """The digest that identifies the image, independent of the compression of its layers."""
        return self.config_digest or self.root.digest

    def is_same(self, other: SourceImage) -> bool:
        """Whether another source has the same image for certain."""
        return self.root == other.root or self.identity == other.identity


class SparseContent(Protocol):
    """The blobs that the source of images does not have on purpose."""

    def omission(self, blob: Descriptor) -> K8scrError | None:
        """Return the error for a blob that only the destination can have, because the source leaves it out."""

    def absence(self, blob: Descriptor) -> K8scrError | None:
        """Return the error for a blob on a medium that is not at hand, so that a later run may copy it."""

    def location(self, blob: Descriptor) -> str:
        """Return a blob's volume and source for messages: ``on volume 2 of the bundle in the folder /media``."""

    def has_part(self, blob: Descriptor) -> bool:
        """Whether at least a part of a blob is at hand."""

    def end(self, blob: Descriptor, offset: int) -> int:
        """Return up to which byte the content of a blob can be read from ``offset``."""

    def repositories(self, root: Descriptor) -> Sequence[str]:
        """Return the repositories of the destination that should have the blobs that the source leaves out."""


class DeferredImage(Protocol):
    """An image that takes a slow request to load, such as the export of an engine."""

    def load(self, image: SourceImage) -> SourceImage:
        """Return the image with its manifest.

        Raises:
            K8scrError: The source cannot be read.
        """

    def unload(self) -> None:
        """Free the disk space of the image, which is not read any more."""


class ManifestSource(Protocol):
    """A source of manifests. In messages, the description is its name."""

    description: str

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest or index, verified.

        Raises:
            SourceError: The source does not have it.
            DigestMismatchError: Its content does not match its digest or its size.
        """


class Referrers(Protocol):
    """The artifacts that refer to the manifests of one source, such as signatures."""

    def of(self, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose ``subject`` has this digest, as an index lists them.

        Raises:
            K8scrError: The source does not return them.
        """

    def tagged(self, tag: str) -> Descriptor | None:
        """Return the manifest or index with this tag, or ``None``."""


class ImageSource(ManifestSource, Protocol):
    """A source of images.

    Attributes:
        referrers: Finds artifacts that refer to images; ``None`` if sources of this kind cannot store any.
    """

    @property
    def referrers(self) -> Referrers | None: ...

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the source has a blob."""

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open a blob's content at ``offset`` (bytes); the content is not verified.

        Raises:
            SourceError: The source does not have it, or its content is too short.
        """

    def close(self) -> None:
        """Close files and connections."""


@dataclass(frozen=True)
class Capabilities:
    """Properties of a kind of destination.

    Attributes:
        verifies_digests: Whether it rejects content that does not match its digest.
        commits: Whether images become visible only when the store is committed.
        referrers: Whether it can store artifacts that refer to images.
    """

    verifies_digests: bool = False
    commits: bool = False
    referrers: bool = False


class ImageDestination(ManifestSource, Protocol):
    """A destination of images.

    Attributes:
        repository: The repository for the image's blobs; empty for stores without repositories.
        capabilities: The properties of this kind of destination.
    """

    repository: str
    capabilities: Capabilities

    @property
    def store(self) -> DestinationStore:
        """The store of the destination; blobs can be mounted between the repositories of one store."""

    def resolve(self, tag: str) -> Descriptor | None:
        """Return the manifest or index with a tag, or ``None``."""

    def require_support(self, manifest: Manifest) -> None:
        """Raise DestinationError if the destination cannot store this kind of manifest."""

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        """Whether a blob of an image is copied; nondistributable layers may be skipped."""

    def is_whole(self, root: Descriptor, tagged: bool) -> bool:
        """Whether an image that :meth:`resolve` returned is complete; this reads no layer.

        Args:
            tagged: Whether it was found by a tag. A registry's garbage collector may leave a manifest without its
                blobs, but keeps tagged images whole.
        """

    def has_manifest(self, descriptor: Descriptor) -> bool:
        """Whether the destination has a manifest or index and everything that it refers to."""

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the destination has an undamaged blob; a store that does not verify digests reads the blob."""

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """Store a blob, or mount it from the repository ``mount_from`` of the store. Return whether it was mounted.

        Raises:
            K8scrError: The content cannot be read, or the destination cannot store it.
        """

    def fallback_referrers(self, subject: str) -> list[dict[str, Any]] | None:
        """Return the entries of the index with the fallback tag of the manifest with the digest ``subject``.

        Clients maintain that index. The result is ``None`` if the destination lists referrers itself.
        """

    def put_manifest(self, manifest: Manifest) -> None:
        """Store a manifest or index without a name; the destination has its blobs and children."""

    def publish(self, root: Manifest, tag: str | None) -> None:
        """Store an image's manifest or index and set its tag, if any; the destination has its blobs and children."""


class LayerCompressor(Protocol):
    """Compresses layers during their upload to one destination."""

    def cached(self, layer: Descriptor) -> Descriptor | None:
        """Return the compressed form of a layer that an earlier task compressed, for any destination."""

    def put(
        self, layer: Descriptor, expected: Descriptor, content: BlobContent, mount_from: str | None = None
    ) -> tuple[Descriptor, bool]:
        """Store a layer compressed, and return the compressed layer and whether it was mounted instead of read.

        Args:
            expected: The compressed layer, to find or mount it.
            content: Opens the uncompressed layer.
            mount_from: Another repository of the same store that has ``expected``.
        """


class DestinationStore(Protocol):
    """The store of destinations."""

    def commit(self) -> None:
        """Make all published images permanent.

        Raises:
            DestinationError: They cannot be written; the previous content stays.
        """

    def abandon(self, resumable: bool = False) -> bool:
        """Discard uncommitted data unless it is visible, and return whether published images were discarded.

        With ``resumable``, partial data stays for the next run.
        """

    def close(self) -> None:
        """Close files and connections."""
