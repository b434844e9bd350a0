# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker archives, the format of ``docker save`` and ``docker load`` (``docker-archive:``)."""

from __future__ import annotations

import json
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from ..errors import DestinationError, InputError, SourceError
from ..files.file_access import read_file
from ..files.tar_reader import TarFiles
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of, parse_digest
from ..oci.interfaces import Capabilities, ImageSource, SourceImage
from ..oci.manifest import (
    MAXIMUM_CONFIG_SIZE,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Manifest,
    load_json_object,
    parse_manifest,
)
from ..oci.reference import parse_reference
from .docker_layers import DockerLayers
from .docker_manifest import (
    MANIFEST_FILE,
    ArchiveEntry,
    archive_entry,
    read_archive_entries,
    require_container_image,
    unreadable,
    verify_path,
)
from .oci_archive import OciArchiveDestination
from .oci_index import INDEX_FILE, blob_path, full_name, unusable_name
from .oci_layout import OciLayoutSource


@dataclass(frozen=True)
class _Config:
    """An image's config, with the digests of the uncompressed layers, or the reason why it has none."""

    descriptor: Descriptor
    diff_ids: tuple[str, ...] = ()
    error: str = ""


class DockerArchiveSource:
    """A Docker archive as a source of images.

    Old archives have no OCI manifests. Each of their images gets a generated manifest with the layers as stored, and
    its config identifies it. Archives of current Docker and of this collection have the original manifests.

    Raises:
        SourceError: The archive is damaged or not a Docker archive.
    """

    referrers = None

    def __init__(self, files: TarFiles) -> None:
        self.files = files
        self.description = files.description
        self._paths: dict[str, str] = {}
        self._layers = DockerLayers(files)
        # By path without links: each file is read once.
        self._configs: dict[str, _Config] = {}
        self._manifests: dict[str, Manifest] = {}
        self._originals = self._read_originals()
        self._images = [
            (replace(self._read_image(entry), name_error=unusable_name(entry.name_error, position)), entry.tags)
            for position, entry in enumerate(read_archive_entries(files))
        ]

    def images(self, name: str | None = None) -> list[SourceImage]:
        """Return the image with a name, or all images, once for each of their names.

        Args:
            name: A name, or ``@`` and the position of the image in the archive, counted from 0.

        Raises:
            SourceError: The archive has no such image, or no image at all.
        """
        if name and name.startswith("@"):
            found = [image for position, (image, _tags) in enumerate(self._images) if name == f"@{position}"]
        else:
            reference = parse_reference(name) if name else None
            found = [
                replace(image, name=parse_reference(tag))
                for image, tags in self._images
                for tag in tags
                if reference in (None, parse_reference(tag))
            ]
        if name is None:
            found += [image for image, tags in self._images if image.name_error or not tags]
        if not found:
            known = ", ".join(tag for _image, tags in self._images for tag in tags) or "all without names"
            wanted = f"image {name!r}" if name else "image"
            raise SourceError(f"{self.description} has no {wanted}", f"It has {len(self._images)} images: {known:.500}")
        return found

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        return self._manifests[descriptor.digest]

    def has_blob(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._paths or descriptor.digest in self._layers

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        if descriptor.digest in self._layers:
            return self._layers.open(descriptor, offset)
        return self.files.open(self._paths[descriptor.digest], offset)

    def close(self) -> None:
        self.files.close()

    def _read_originals(self) -> dict[str, Manifest]:
        originals: dict[str, Manifest] = {}
        if self.files.size(INDEX_FILE) is None:
            return originals
        layout = OciLayoutSource(self.files)
        found = deque(layout.entries)
        seen: set[str] = set()
        while found:
            descriptor = found.popleft()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            try:
                manifest = layout.fetch_manifest(descriptor)
            except SourceError:
                # Docker's index also lists platforms that it did not save, and other artifacts.
                continue
            found.extend(manifest.manifests)
            if manifest.config and self._has_all(manifest):
                originals[manifest.config.digest] = manifest
        return originals

    def _has_all(self, manifest: Manifest) -> bool:
        """Whether the archive has all blobs of a manifest. A blob of another size is an error."""
        sizes = [(blob, self.files.size(blob_path(blob.digest))) for blob in manifest.blobs]
        for blob, size in sizes:
            if size not in (None, blob.size):
                raise unreadable(
                    self.files, f"blob {blob.digest} has {size} bytes instead of {blob.size} as in its manifest"
                )
        return all(size is not None for _blob, size in sizes)

    def _read_image(self, entry: ArchiveEntry) -> SourceImage:
        config = self._read_config(entry.config)
        digest = config.descriptor.digest
        manifest = self._originals.get(digest)
        if manifest is None:
            manifest = self._generate_manifest(config, entry)
        else:
            self._paths.update({blob.digest: blob_path(blob.digest) for blob in manifest.blobs})
        self._manifests[manifest.descriptor.digest] = manifest
        # Docker, too, generates a manifest for uncompressed layers; no registry has it.
        generated = digest not in self._originals or all(layer.media_type == OCI_LAYER for layer in manifest.layers)
        return SourceImage(manifest.descriptor, None, digest, generated)

    def _read_config(self, path: str) -> _Config:
        file = self.files.resolve(path)
        if file is None:
            raise SourceError(f"{self.description} has no {path}")
        if file not in self._configs:
            content = read_file(self.files, file, MAXIMUM_CONFIG_SIZE)
            descriptor = Descriptor(OCI_CONFIG, digest_of(content), len(content))
            verify_path(self.files, path, descriptor.digest)
            try:
                self._configs[file] = _Config(descriptor, _diff_ids(content))
            except InputError as error:
                self._configs[file] = _Config(descriptor, error=error.message)
        return self._configs[file]

    def _generate_manifest(self, config: _Config, entry: ArchiveEntry) -> Manifest:
        if config.error:
            raise unreadable(self.files, f"{entry.config} is not the config of an image: {config.error}")
        if len(config.diff_ids) != len(entry.layers):
            raise unreadable(
                self.files,
                f"an image has {len(entry.layers)} layers, but its config {entry.config} has {len(config.diff_ids)}",
            )
        layers = list(map(self._layer, entry.layers, config.diff_ids))
        self._paths[config.descriptor.digest] = entry.config
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.descriptor.to_json(),
                "layers": [layer.to_json() for layer in layers],
            },
            separators=(",", ":"),
        )
        try:
            return parse_manifest(content.encode())
        except InputError as error:
            raise unreadable(self.files, error.message) from error

    def _layer(self, path: str, diff_id: str) -> Descriptor:
        file = self.files.resolve(path)
        if file is None:
            raise SourceError(
                f"{self.description} does not have the layer {path}", "The image was saved incompletely; save it again"
            )
        return self._layers.add(path, file, diff_id)


class DockerArchiveDestination(OciArchiveDestination):
    """A Docker archive as a destination of images.

    It is an OCI archive with Docker's ``manifest.json``, like archives of current Docker. All versions of
    ``docker load`` can read it, and it preserves the image's manifest and digest.
    """

    capabilities = Capabilities(commits=True)

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        # Docker loads complete images only.
        return True

    def require_support(self, manifest: Manifest) -> None:
        if manifest.config is None:
            platforms = ", ".join(str(child.platform) for child in manifest.manifests if child.platform)
            raise DestinationError(
                "the image is an index of several platforms, but a Docker archive can store only one",
                f"Write to oci-archive: or select one with platforms ({platforms})",
            )
        require_container_image(manifest, "a Docker archive")
        super().require_support(manifest)

    def index_files(self) -> dict[str, bytes]:
        images: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            try:
                manifest = self.fetch_manifest(entry)
            except SourceError:
                # The manifest is missing in the existing archive, or the entry is not an image.
                continue
            if manifest.config is None or not all(map(self.will_have, manifest.blobs)):
                continue
            image = images.setdefault(entry.digest, archive_entry(manifest, manifest.config))
            name = full_name(entry)
            if name and name.tag:
                image["RepoTags"].append(str(replace(name, digest=None)))
        return {**super().index_files(), MANIFEST_FILE: json.dumps(list(images.values())).encode()}


def _diff_ids(config: bytes) -> tuple[str, ...]:
    """Return the diff IDs in an image's config.

    Raises:
        InputError: The content is not the config of an image.
    """
    root = load_json_object(config, "it", MAXIMUM_CONFIG_SIZE).get("rootfs")
    # The list is null or missing in the config of an image without layers.
    if not isinstance(root, dict) or not isinstance(root.get("diff_ids"), (list, type(None))):
        raise InputError("it has no list of diff IDs")
    return tuple(map(parse_digest, root.get("diff_ids") or ()))
