# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of an image, found by following descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import DigestMismatchError, K8scrError, MissingManifestError, SourceError
from .descriptor import Descriptor
from .interfaces import ManifestSource
from .manifest import Manifest, is_index

MAXIMUM_DEPTH = 8
"""Levels of nested indexes. No tool creates more than two."""
MAXIMUM_MANIFESTS = 1000
"""Entries of an index, and manifests of an image. An image for all platforms of Go with attestations has about 100."""
_MOST_LOOKUPS = 100
"""Entries of an index that are looked up to name the existing platforms in an error message."""
_MAXIMUM_BYTES = 32 << 20
"""Total size of all manifests of an image. They stay in memory, where they take several times as much."""


class BoundedSource:
    """A source of one image's manifests. Raises SourceError if their number or total size exceeds a limit.

    Requested manifests count even if they are missing, so the number of requests is limited too.
    """

    def __init__(self, source: ManifestSource) -> None:
        self.description = source.description
        self._source = source
        self._requests = self._bytes = 0

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        self._requests += 1
        if self._requests > MAXIMUM_MANIFESTS:
            raise SourceError(f"an image in {self.description} has more than {MAXIMUM_MANIFESTS} manifests")
        manifest = self._source.fetch_manifest(descriptor)
        if len(manifest.manifests) > MAXIMUM_MANIFESTS:
            raise SourceError(
                f"index {descriptor.digest} in {self.description} lists {len(manifest.manifests)} manifests, more than"
                f" the maximum of {MAXIMUM_MANIFESTS}"
            )
        self._bytes += len(manifest.content)
        if self._bytes > _MAXIMUM_BYTES:
            raise SourceError(f"an image in {self.description} has more than {_MAXIMUM_BYTES} bytes of manifests")
        return manifest


def walk_manifests(source: ManifestSource, root: Descriptor, partial: bool = False) -> Iterator[Manifest]:
    """Yield all manifests of an image, each once, children before the indexes that list them.

    Args:
        partial: Whether to skip the children of an index that are missing or are not manifests.

    Raises:
        MissingManifestError: A manifest is missing; the advice lists the existing platforms.
        SourceError: The image exceeds a limit.
    """
    yield from _walk(BoundedSource(source), root, partial, 0, set())


def walk_digests(source: ManifestSource, root: Descriptor) -> Iterator[str]:
    """Yield the digests of an image's manifests as :func:`walk_manifests` does, but read only its root and its indexes.

    Raises:
        MissingManifestError: An index is missing.
        SourceError: The image exceeds a limit.
    """
    seen: set[str] = set()
    for digest in _walk_digests(BoundedSource(source), root, 0, seen):
        if len(seen) > MAXIMUM_MANIFESTS:
            raise SourceError(f"an image in {source.description} has more than {MAXIMUM_MANIFESTS} manifests")
        yield digest


def _walk_digests(source: ManifestSource, descriptor: Descriptor, depth: int, seen: set[str]) -> Iterator[str]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if depth > MAXIMUM_DEPTH:
        raise SourceError(f"an image in {source.description} has indexes nested deeper than {MAXIMUM_DEPTH}")
    # Registries may return another media type for the root.
    if depth == 0 or is_index(descriptor.media_type):
        for child in source.fetch_manifest(descriptor).manifests:
            yield from _walk_digests(source, child, depth + 1, seen)
    yield descriptor.digest


def _walk(
    source: ManifestSource, descriptor: Descriptor, partial: bool, depth: int, seen: set[str]
) -> Iterator[Manifest]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if depth > MAXIMUM_DEPTH:
        raise SourceError(f"an image in {source.description} has indexes nested deeper than {MAXIMUM_DEPTH}")
    manifest = source.fetch_manifest(descriptor)
    for child in manifest.manifests:
        try:
            yield from _walk(source, child, partial, depth + 1, seen)
        except SourceError as error:
            if partial:
                continue
            if isinstance(error, MissingManifestError):
                raise _missing_platform(source, manifest, child, error) from error
            raise
    yield manifest


def _missing_platform(
    source: ManifestSource, index: Manifest, child: Descriptor, error: MissingManifestError
) -> MissingManifestError:
    """Return the error for a missing manifest, with its platform and the existing platforms."""
    if child.platform is None:
        return error
    existing = _existing_platforms(source, index)
    if not existing:
        return error
    return MissingManifestError(
        f"{source.description} has no image for {child.platform}: manifest {child.digest} is missing",
        f"Select its existing platforms with platforms: [{', '.join(existing)}]",
    )


def _existing_platforms(source: ManifestSource, index: Manifest) -> list[str]:
    """Return the platforms of an index whose manifests exist, among its first entries."""
    platforms = dict[str, None]()
    for entry in [entry for entry in index.manifests if entry.platform][:_MOST_LOOKUPS]:
        try:
            source.fetch_manifest(entry)
        except (SourceError, DigestMismatchError):
            continue
        except K8scrError:
            # The source is no longer available. Each further lookup would be retried until the timeout.
            break
        platforms[str(entry.platform)] = None
    return list(platforms)
