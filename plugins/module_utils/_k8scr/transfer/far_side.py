# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of the other side, which has images already: a bundle leaves them and their layers out.

Layers of an image are known from its manifests: those of an earlier bundle, or those that an upstream registry returns
for the image's digest. If they cannot be read, the layers are not left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import InputError, K8scrError, SourceError
from ..oci.graph import walk_manifests
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.manifest import is_index
from ..oci.platform import Platform
from ..oci.reference import Reference, host_component, parse_workload_reference
from ..registry.upstreams import Upstreams
from ..stores.bundle_format import BundleImage, BundleManifest, OmittedBlob
from .far_side_files import FarImage, FarSideFile
from .platforms import PlatformSource

_MOST_IMAGES = 1000
"""Images whose manifests are read."""
_MOST_PLATFORMS = 32
_MOST_LAYERS = 100_000
"""Layers that are remembered: those of a thousand images."""


@dataclass(frozen=True)
class WantedImage:
    """An image that a task bundles.

    Attributes:
        name: Its full name.
        image: The image with the selected platforms.
        identity: Its digest in a lock file.
        upstream: Its name in an upstream registry; ``None`` for other sources.
        platforms: The selected platforms; empty for all.
        is_required: Whether the bundle must have it also if the other side has it, for its referrers.
    """

    name: Reference
    image: SourceImage
    identity: str
    upstream: Reference | None
    platforms: tuple[Platform, ...]
    is_required: bool = False


@dataclass(eq=False)
class FarSide:
    """The images of the other side's registry, and the blobs that a bundle leaves out because of them.

    As a container, it has the digests of these blobs. The first lookup of a blob that the existing bundle does not
    leave out reads the manifests of the images.

    Args:
        file: What the other side reported.
        upstreams: The registries to read manifests from.
        connections: The maximum number of requests at once.
        existing: The existing bundle, if any.
    """

    file: FarSideFile
    upstreams: Upstreams
    connections: int
    existing: BundleManifest | None = None
    _repositories: dict[tuple[str, str], set[tuple[Platform, ...]]] = field(default_factory=dict)
    _names: dict[int, BundleImage] = field(default_factory=dict)
    _left_out: dict[str, BundleImage] = field(default_factory=dict)
    _layers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    _is_read: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __contains__(self, digest: object) -> bool:
        return digest in self._recorded or digest in self.file.omitted or digest in self.layers

    def leaves_out(self, wanted: WantedImage) -> bool:
        """Return whether the bundle leaves out an image that the other side has under its name, and remember that.

        Call it for all images of the task before the first lookup of a blob.
        """
        if wanted.upstream:
            at = wanted.upstream.host, wanted.upstream.path
            self._repositories.setdefault(at, set()).add(wanted.platforms)
        image, name = wanted.image, wanted.name
        if wanted.is_required:
            return False
        if image.deferred or image.config_digest:
            # The digest of its manifest is not known before its layers are compressed.
            return False
        digest = wanted.identity if self.file.is_lock else image.root.digest
        found = any(each.has_name(name) for each in self._by_digest.get(digest, ()))
        if found:
            full = str(replace(name, digest=None) if name.tag else name)
            self._left_out[full] = BundleImage(full, image.root.digest, image.root.size)
        return found

    def has_image(self, image: BundleImage) -> bool:
        """Return whether the other side has an image that the bundle of a source leaves out, and remember that."""
        found = self._has(image)
        if found:
            self._left_out[image.name] = image
        return found

    @property
    def left_out(self) -> Mapping[str, BundleImage]:
        """The images of the task that the other side has, by their full names."""
        return self._left_out

    def base_of(self, missing: Mapping[str, int]) -> tuple[tuple[BundleImage, ...], dict[str, OmittedBlob]]:
        """Return the images that the other side must have, and the blobs of them that the bundle leaves out.

        Args:
            missing: The sizes of the blobs that the bundle leaves out, by digest.
        """
        base, omitted = dict(self._left_out), dict[str, OmittedBlob]()
        chosen: set[int] = set()
        for digest, size in sorted(missing.items()):
            # Without a further read, the record in the existing bundle is sufficient.
            positions = self.layers.get(digest, ()) if self._is_read or digest not in self._recorded else ()
            if positions:
                position = next((each for each in positions if each in chosen), positions[0])
                chosen.add(position)
                omitted[digest] = OmittedBlob(size, self.file.images[position].repositories)
                found: Sequence[BundleImage] = [self._names[position]]
            elif digest in self.file.omitted:
                omitted[digest] = self.file.omitted[digest]
                found = list(map(_bundle_image, self.file.base))
            else:
                found, recorded = recorded_base(self.existing, {digest: size})
                omitted.update(recorded)
            for each in found:
                base.setdefault(each.name, each)
        return tuple(sorted(base.values(), key=lambda each: each.name)), omitted

    @property
    def layers(self) -> Mapping[str, Sequence[int]]:
        """The positions of the images with a layer, by its digest."""
        with self._lock:
            if not self._is_read:
                self._layers = self._known_layers() if self.file.layers is not None else self._read_layers()
                self._is_read = True
            return self._layers

    @cached_property
    def _by_digest(self) -> Mapping[str, Sequence[FarImage]]:
        found: dict[str, list[FarImage]] = {}
        for image in (*self.file.images, *self.file.base):
            found.setdefault(image.digest, []).append(image)
        return found

    @cached_property
    def _recorded(self) -> Mapping[str, OmittedBlob]:
        """The blobs that the existing bundle leaves out, if the other side still has all images of its base."""
        if self.existing is None or not all(map(self._has, self.existing.base)):
            return {}
        return self.existing.omitted

    def _has(self, image: BundleImage) -> bool:
        try:
            name = parse_workload_reference(image.name)
        except InputError:
            return False
        return any(each.has_name(name) for each in self._by_digest.get(image.digest, ()))

    def _known_layers(self) -> Mapping[str, Sequence[int]]:
        self._names = dict(enumerate(map(_bundle_image, self.file.images)))
        return self.file.layers or {}

    def _read_layers(self) -> Mapping[str, Sequence[int]]:
        numbered = [(number, list(self._references(image))) for number, image in enumerate(self.file.images)]
        related = [each for each in numbered if each[1]]
        # The images of the task's own repositories come first: they are the most likely to have the same layers.
        related.sort(key=lambda each: (each[1][0].host, each[1][0].path) not in self._repositories)
        layers: dict[str, list[int]] = {}
        with ThreadPoolExecutor(self.connections) as workers:
            for number, found in workers.map(lambda each: (each[0], self._layers_of(*each)), related[:_MOST_IMAGES]):
                for digest in found if len(layers) < _MOST_LAYERS else ():
                    layers.setdefault(digest, []).append(number)
        return layers

    def _references(self, image: FarImage) -> Iterator[Reference]:
        """Yield the names under which an upstream registry of the task may have an image."""
        hosts = list(dict.fromkeys(host for host, _path in self._repositories))
        if image.name:
            if image.name.host in hosts:
                yield replace(image.name, digest=image.digest)
            return
        for host, path in self._repositories:
            if image.is_at(Reference(host, path)):
                yield Reference(host, path, digest=image.digest)
        for host in hosts:
            prefix = f"{host_component(host)}/"
            if image.repository.startswith(prefix):
                yield Reference(host, image.repository[len(prefix) :], digest=image.digest)
        if len(hosts) == 1:
            (only,) = hosts
            yield Reference(only, image.repository, digest=image.digest)

    def _layers_of(self, number: int, references: Sequence[Reference]) -> set[str]:
        """Return the digests of an image's layers; none if no upstream registry returns its manifests."""
        image = self.file.images[number]
        for reference in dict.fromkeys(references):
            # The registry of the other side may have only some platforms of the upstream registry's index.
            for digests in ((image.digest,), image.platforms[:_MOST_PLATFORMS]):
                layers: set[str] = set()
                for digest in digests:
                    with suppress(K8scrError):
                        root, found = self._read_image(replace(reference, digest=digest))
                        known_as = root if digest == image.digest else image.digest
                        self._names[number] = _bundle_image(replace(image, name=reference, digest=known_as))
                        layers |= found
                if layers:
                    return layers
        return set()

    def _read_image(self, reference: Reference) -> tuple[str, set[str]]:
        """Return the digest of an image on the other side, and the digests of its layers."""
        source: ImageSource
        source, image = self.upstreams.open(reference)
        if self.file.is_lock and is_index(image.root.media_type):
            # A lock file has the digest of the index before platforms are selected.
            at = reference.host, reference.path
            selections = self._repositories.get(at) or set().union(*self._repositories.values())
            if len(selections) != 1:
                raise SourceError(f"the platforms of {reference} are unknown")
            (platforms,) = selections
            if platforms:
                source = selection = PlatformSource(source, platforms)
                image = selection.select(image)
        manifests = walk_manifests(source, image.root)
        return image.root.digest, {layer.digest for manifest in manifests for layer in manifest.layers}


def recorded_base(
    existing: BundleManifest | None, missing: Mapping[str, int]
) -> tuple[tuple[BundleImage, ...], dict[str, OmittedBlob]]:
    """Return what an existing bundle states about the blobs that it leaves out; see :meth:`FarSide.base_of`."""
    known = existing.omitted if existing else {}
    omitted = {digest: known[digest] for digest in missing if digest in known}
    return (existing.base if existing and omitted else ()), omitted


def _bundle_image(image: FarImage) -> BundleImage:
    name = image.name or Reference("", image.repository)
    tag = image.tags[0] if image.tags else None
    return BundleImage(str(replace(name, tag=tag, digest=None if tag else image.digest)), image.digest)
