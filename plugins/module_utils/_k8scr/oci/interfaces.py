# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the copy engine asks of a store: two protocols, and nothing of what is behind them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .content import BlobContent, Blocks
from .descriptor import Descriptor
from .manifest import Manifest
from .reference import Reference


@dataclass(frozen=True)
class SourceImage:
    """An image that a source has.

    Attributes:
        root: Its manifest or index.
        name: The name it has there, if any.
        config_digest: The digest of its config, for images whose manifest is made by us and is therefore not
            what identifies them (a Docker archive has none of its own).
        compressible: Whether its manifest was made for the occasion, so that its layers may be compressed on the way
            without its becoming another image.
        deferred: Loads the image, if its manifest is not known before that; the digest of ``root`` then only tells
            whether the destination has the image. ``None`` if ``root`` is the image's manifest or index.
    """

    root: Descriptor
    name: Reference | None = None
    config_digest: str | None = None
    compressible: bool = False
    deferred: DeferredImage | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """The digest that tells it from all others, however it is compressed where that may differ."""
        return self.config_digest or self.root.digest

    def is_same(self, other: SourceImage) -> bool:
        """Whether another source surely has the same image."""
        return self.root == other.root or self.identity == other.identity


class DeferredImage(Protocol):
    """An image that takes a slow request to load, such as the export of an engine."""

    def load(self, image: SourceImage) -> SourceImage:
        """Return the image with its manifest.

        Raises:
            K8scrError: The source cannot be read.
        """


class ManifestSource(Protocol):
    """A place that has manifests.

    Attributes:
        description: What it is, for people.
    """

    description: str

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest or index, verified.

        Raises:
            SourceError: It is not there.
            DigestMismatchError: It is not what its digest names, or has another size than its descriptor says.
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
        """Whether the blob is there."""

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open a blob's content from ``offset`` (bytes) on; it is not verified.

        Raises:
            SourceError: It is not there, or ends too early.
        """

    def close(self) -> None:
        """Let go of what is open."""


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
        capabilities: What this kind of destination can do.
    """

    repository: str
    capabilities: Capabilities

    @property
    def store(self) -> DestinationStore:
        """What it belongs to; blobs can be mounted between the repositories of one store."""

    def resolve(self, tag: str) -> Descriptor | None:
        """Return the manifest or index that has this tag, or ``None``."""

    def require_support(self, manifest: Manifest) -> None:
        """Do nothing if this kind of manifest can be kept here.

        Raises:
            DestinationError: It cannot.
        """

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        """Whether a blob of an image is to be copied here: what is not to be distributed may be left where it is."""

    def is_whole(self, root: Descriptor) -> bool:
        """Whether an image that :meth:`resolve` returned is complete; no layer is read for it."""

    def has_manifest(self, descriptor: Descriptor) -> bool:
        """Whether the manifest or index is there, with all that it points to."""

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, undamaged; a store that does not check digests reads it to find out."""

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """Store a blob.

        Args:
            descriptor: The blob.
            content: Opens its content.
            mount_from: Another repository of the same store that has it.

        Returns:
            ``True`` if it was mounted, so that no content was needed.
        """

    def fallback_referrers(self, subject: str) -> list[dict[str, Any]] | None:
        """Return the entries of the index with a manifest's fallback tag, if clients maintain that index.

        Args:
            subject: The digest of the manifest that the referrers name.

        Returns:
            ``None`` if the destination lists referrers itself.
        """

    def put_manifest(self, manifest: Manifest) -> None:
        """Store a manifest or index whose parts are all there, without making it visible under a name."""

    def publish(self, root: Manifest, tag: str | None) -> None:
        """Store an image's manifest or index, whose parts are all there, and give it the tag.

        Args:
            root: The image's own manifest or index.
            tag: Its tag; ``None`` leaves it to be found by its digest.
        """


class LayerCompressor(Protocol):
    """Compresses layers on their way to one destination."""

    def former(self, layer: Descriptor) -> Descriptor | None:
        """What a layer has become when it was compressed before, wherever it went then."""

    def put(
        self, layer: Descriptor, expected: Descriptor, content: BlobContent, mount_from: str | None = None
    ) -> tuple[Descriptor, bool]:
        """Store a layer compressed.

        Args:
            layer: The layer as it is.
            expected: What it is at the destination if it is there, or can be mounted.
            content: Opens the layer as it is.
            mount_from: Another repository of the same store that has it as it is expected.

        Returns:
            What it is at the destination, and whether it was mounted, so that no content was needed.
        """


class DestinationStore(Protocol):
    """What destinations belong to."""

    def commit(self) -> None:
        """Make all that was published last.

        Raises:
            DestinationError: It cannot be; what was there before stays.
        """

    def abandon(self, resumable: bool = False) -> bool:
        """Forget what was written since the last commit, where that is not in its place yet.

        Args:
            resumable: Whether the next run may go on with what there is of it.

        Returns:
            Whether what was published is forgotten with it.
        """

    def close(self) -> None:
        """Let go of what is open."""
