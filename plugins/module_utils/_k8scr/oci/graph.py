# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image consists of: its manifests, found by following descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import K8scrError, MissingManifestError, SourceError
from .descriptor import Descriptor
from .interfaces import ManifestSource
from .manifest import Manifest

MAXIMUM_DEPTH = 8
"""Indexes within indexes; no tool makes more than two."""
_MAXIMUM_MANIFESTS = 10_000
_MAXIMUM_BYTES = 32 << 20
"""Of all manifests of an image, which are kept and take several times as much memory."""


class BoundedSource:
    """The manifests of one image at a source, as many as an image has; more are an attack.

    Args:
        source: Where the image is.
    """

    def __init__(self, source: ManifestSource) -> None:
        self.description = source.description
        self._source = source
        self._manifests = self._bytes = 0

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ManifestSource.fetch_manifest`.

        Raises:
            SourceError: It is one too many.
        """
        manifest = self._source.fetch_manifest(descriptor)
        self._manifests += 1
        self._bytes += len(manifest.content)
        if self._manifests > _MAXIMUM_MANIFESTS or self._bytes > _MAXIMUM_BYTES:
            raise SourceError(
                f"an image in {self.description} has more than {_MAXIMUM_MANIFESTS} manifests,"
                f" or more than {_MAXIMUM_BYTES} bytes of them"
            )
        return manifest


def walk_manifests(source: ManifestSource, root: Descriptor) -> Iterator[Manifest]:
    """Yield all manifests of an image, each once, children before the indexes that list them.

    Raises:
        MissingManifestError: One is missing; the advice says what is there.
        SourceError: the image is nested or large beyond reason.
    """
    yield from _walk(BoundedSource(source), root, 0, set())


def _walk(source: ManifestSource, descriptor: Descriptor, depth: int, seen: set[str]) -> Iterator[Manifest]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if depth > MAXIMUM_DEPTH:
        raise SourceError(f"an image in {source.description} has indexes nested deeper than {MAXIMUM_DEPTH}")
    manifest = source.fetch_manifest(descriptor)
    for child in manifest.manifests:
        try:
            yield from _walk(source, child, depth + 1, seen)
        except MissingManifestError as error:
            raise _lacking(source, manifest, child, error) from error
    yield manifest


def _lacking(
    source: ManifestSource, index: Manifest, child: Descriptor, error: MissingManifestError
) -> MissingManifestError:
    """Return the error that says which platform is missing, and what to ask for instead."""
    there = [entry for entry in index.manifests if entry.platform and _has(source, entry)]
    if child.platform is None or not there:
        return error
    platforms = ", ".join(dict.fromkeys(str(entry.platform) for entry in there))
    return MissingManifestError(
        f"{source.description} lacks the image for {child.platform}, manifest {child.digest}",
        f"Ask for what it has with platforms: [{platforms}]",
    )


def _has(source: ManifestSource, descriptor: Descriptor) -> bool:
    try:
        source.fetch_manifest(descriptor)
    except K8scrError:
        return False
    return True
