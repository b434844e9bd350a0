# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reduce an image to selected platforms.

The reduced index lists the selected manifests with the same digests; the index itself gets another digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SourceError
from ..oci.descriptor import Descriptor
from ..oci.graph import MAXIMUM_DEPTH, BoundedSource
from ..oci.image_config import ConfigPlatforms
from ..oci.interfaces import DeferredImage, ImageSource, ManifestSource, SourceImage
from ..oci.manifest import Manifest, is_index, load_json_object, parse_manifest
from ..oci.platform import Platform
from .overlay import OverlaySource


@dataclass(frozen=True)
class _Entry:
    """One manifest of an index: its descriptor, its platform, and its JSON object in the index."""

    descriptor: Descriptor
    platform: Platform
    value: dict[str, Any]


@dataclass(frozen=True)
class _DeferredSelection:
    """Loads an image and selects its platforms; see :class:`DeferredImage`."""

    platforms: PlatformSource
    deferred: DeferredImage

    def load(self, image: SourceImage) -> SourceImage:
        return self.platforms.select(self.deferred.load(image))

    def unload(self) -> None:
        self.deferred.unload()


class PlatformSource(OverlaySource):
    """A source with images that are reduced to selected platforms."""

    def __init__(self, source: ImageSource, platforms: Sequence[Platform]) -> None:
        super().__init__(source)
        self._platforms = tuple(platforms)

    def select(self, image: SourceImage) -> SourceImage:
        """Return the image with the selected platforms only.

        An index with one selected manifest is replaced by that manifest, with its digest at the source. An index of
        which all manifests are selected stays unchanged. Otherwise, a new index is made, with the same bytes in each
        run. An artifact without a platform, such as a chart, stays unchanged.

        Raises:
            SourceError: The image does not have a selected platform.
            K8scrError: The source cannot be read.
        """
        if image.deferred:
            return replace(image, deferred=_DeferredSelection(self, image.deferred))
        bounded = BoundedSource(self._source)
        root = bounded.fetch_manifest(image.root)
        if root.config:
            platform = ConfigPlatforms(self._source).find(root)
            if platform:
                self._require_platforms(image.root, [platform])
            return image
        entries = list(self._entries(bounded, ConfigPlatforms(self._source), root, 0, set()))
        chosen = [entry for entry in entries if any(wanted.includes(entry.platform) for wanted in self._platforms)]
        self._require_platforms(image.root, [entry.platform for entry in entries])
        # A digest in the name is the digest of the whole index.
        name = replace(image.name, digest=None) if image.name else None
        if len(chosen) == 1:
            return replace(image, root=chosen[0].descriptor, name=name)
        values = [entry.value for entry in chosen]
        document = load_json_object(root.content, "the index")
        if values == document.get("manifests"):
            return image
        document["manifests"] = values
        content = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        made = parse_manifest(content, root.descriptor.media_type)
        self.add(made)
        return replace(image, root=made.descriptor, name=name)

    def _entries(
        self, source: ManifestSource, configs: ConfigPlatforms, index: Manifest, depth: int, seen: set[str]
    ) -> Iterator[_Entry]:
        """Yield the manifests of an index and its nested indexes, each nested index once."""
        if depth > MAXIMUM_DEPTH:
            raise SourceError(f"an image in {self.description} has indexes nested deeper than {MAXIMUM_DEPTH}")
        manifests = set(index.manifests)
        for value in load_json_object(index.content, "the index").get("manifests") or []:
            descriptor = Descriptor.from_json(value)
            if descriptor not in manifests:
                continue
            if is_index(descriptor.media_type):
                if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    nested = source.fetch_manifest(descriptor)
                    yield from self._entries(source, configs, nested, depth + 1, seen)
            else:
                platform = descriptor.platform or configs.find(source.fetch_manifest(descriptor))
                if platform and not platform.is_unknown:
                    yield _Entry(descriptor, platform, value)

    def _require_platforms(self, root: Descriptor, existing: Sequence[Platform]) -> None:
        missing = [wanted for wanted in self._platforms if not any(wanted.includes(platform) for platform in existing)]
        if missing:
            known = ", ".join(dict.fromkeys(map(str, existing))) or "no image of a known platform"
            raise SourceError(
                f"image {root.digest} in {self.description} does not have the platform {', '.join(map(str, missing))}",
                f"Select from its platforms: {known:.500}",
            )
