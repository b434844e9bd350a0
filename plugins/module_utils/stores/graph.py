# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image consists of: its manifests, found by following descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import SourceError
from ..oci.descriptor import Descriptor
from ..oci.manifest import Manifest
from .store import ManifestSource

_MAXIMUM_DEPTH = 8
_MAXIMUM_MANIFESTS = 10_000


def walk_manifests(source: ManifestSource, root: Descriptor) -> Iterator[Manifest]:
    """Yield all manifests of an image, each once, children before the indexes that list them.

    Raises:
        SourceError: One is missing, or the image is nested or large beyond reason.
    """
    yield from _walk(source, root, 0, set())


def _walk(source: ManifestSource, descriptor: Descriptor, depth: int, seen: set[str]) -> Iterator[Manifest]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if depth > _MAXIMUM_DEPTH or len(seen) > _MAXIMUM_MANIFESTS:
        raise SourceError(
            f"an image in {source.description} has indexes nested deeper than {_MAXIMUM_DEPTH}"
            f" or more than {_MAXIMUM_MANIFESTS} manifests"
        )
    manifest = source.fetch_manifest(descriptor)
    for child in manifest.manifests:
        yield from _walk(source, child, depth + 1, seen)
    yield manifest
