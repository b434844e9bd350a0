# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of an image, found by following descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import K8scrError, MissingManifestError, SourceError
from .descriptor import Descriptor
from .interfaces import ManifestSource
from .manifest import Manifest

MAXIMUM_DEPTH = 8
"""Levels of nested indexes. No tool creates more than two."""
_MAXIMUM_MANIFESTS = 10_000
_MAXIMUM_BYTES = 32 << 20
"""Total size of all manifests of an image. They stay in memory, where they take several times as much."""


class BoundedSource:
    """A source of one image's manifests. Raises SourceError if their number or total size exceeds a limit."""

    def __init__(self, source: ManifestSource) -> None:
        self.description = source.description
        self._source = source
        self._manifests = self._bytes = 0

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        manifest = self._source.fetch_manifest(descriptor)
        self._manifests += 1
        self._bytes += len(manifest.content)
        if self._manifests > _MAXIMUM_MANIFESTS or self._bytes > _MAXIMUM_BYTES:
            raise SourceError(
                f"an image in {self.description} has more than {_MAXIMUM_MANIFESTS} manifests,"
                f" or more than {_MAXIMUM_BYTES} bytes of them"
            )
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
    existing = [entry for entry in index.manifests if entry.platform and _has(source, entry)]
    if child.platform is None or not existing:
        return error
    platforms = ", ".join(dict.fromkeys(str(entry.platform) for entry in existing))
    return MissingManifestError(
        f"{source.description} has no image for {child.platform}: manifest {child.digest} is missing",
        f"Select its existing platforms with platforms: [{platforms}]",
    )


def _has(source: ManifestSource, descriptor: Descriptor) -> bool:
    try:
        source.fetch_manifest(descriptor)
    except K8scrError:
        return False
    return True
