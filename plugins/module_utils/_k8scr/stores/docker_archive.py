# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker archives: what ``docker save`` writes and ``docker load`` reads (``docker-archive:``).

Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..errors import DestinationError, InputError, SourceError
from ..files.file_access import read_file
from ..files.gzip_check import GzipCheck
from ..files.tar_reader import TarFiles
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of, parse_digest, split_digest
from ..oci.interfaces import Capabilities, ImageSource, SourceImage
from ..oci.manifest import (
    DOCKER_CONFIG,
    MAXIMUM_SIZE,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Manifest,
    load_json,
    load_json_object,
    parse_manifest,
)
from ..oci.reference import parse_reference
from .oci_archive import OciArchiveDestination
from .oci_index import INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, with_entry, write_index
from .oci_layout import OciLayoutSource, blob_path, full_name

MANIFEST_FILE = "manifest.json"
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_MOST_PARTS = 60_000
"""Configs and layers that a list names, which take memory each; names as the tools write them leave room for fewer."""
_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/|sha256:)([0-9a-f]{64})|([0-9a-f]{64})\.json")
"""Names of configs as Docker, Podman and go-containerregistry write them, and of layers as Docker does since 25."""
_COMPRESSIONS = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}


@dataclass(frozen=True)
class _Config:
    """An image's config: what names it, and the digests of its uncompressed layers if it says so."""

    descriptor: Descriptor
    diff_ids: tuple[str, ...] | None


class DockerArchiveSource:
    """A Docker archive that images are read from.

    Such an archive has no manifests in the registry's sense: each image gets one made of its config and its
    layers as they are, and what identifies it is its config. An archive that carries the original manifest
    too, as those of current Docker and ours do, gives that one.

    Raises:
        SourceError: It is no Docker archive, or is damaged.
    """

    referrers = None

    def __init__(self, files: TarFiles) -> None:
        self.files = files
        self.description = files.description
        self._paths: dict[str, str] = {}
        self._diff_ids: dict[str, str] = {}
        self._checks: dict[str, GzipCheck] = {}
        # By their place in the archive: however often a list names a file, it is read once.
        self._configs: dict[str, _Config] = {}
        self._compressions: dict[str, tuple[str, str]] = {}
        self._parts = 0
        self._manifests: dict[str, Manifest] = {}
        self._originals = self._read_originals()
        self._images = [self._read_image(entry) for entry in self._read_entries()]

    def images(self, name: str | None = None) -> list[SourceImage]:
        """Return the image that has ``name``, or all, once for each of their names.

        Args:
            name: A name, or ``@`` and the place of the image in the archive, counted from 0.

        Raises:
            SourceError: There is none.
        """
        if name and name.startswith("@"):
            found = [image for place, (image, _tags) in enumerate(self._images) if name == f"@{place}"]
        else:
            reference = parse_reference(name) if name else None
            found = [
                replace(image, name=parse_reference(tag))
                for image, tags in self._images
                for tag in tags
                if reference in (None, parse_reference(tag))
            ]
        if name is None:
            found += [image for image, tags in self._images if not tags]
        if not found:
            known = ", ".join(tag for _image, tags in self._images for tag in tags) or "none has a name"
            wanted = f"image {name!r}" if name else "image"
            raise SourceError(f"{self.description} has no {wanted}", f"It has {len(self._images)} images: {known:.500}")
        return found

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        return self._manifests[descriptor.digest]

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageSource.has_blob`."""
        return descriptor.digest in self._paths

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        """See :meth:`ImageSource.open_blob`."""
        digest = descriptor.digest
        read = partial(self.files.open, self._paths[digest])
        if digest not in self._diff_ids:
            with read(offset) as blocks:
                yield blocks
            return
        # Whoever reads it at the same time has a check of its own.
        check = self._checks.pop(digest, None) or GzipCheck(
            read, descriptor.size, self._diff_ids[digest], f"{self._paths[digest]} in {self.description}"
        )
        try:
            with check.open(offset) as blocks:
                yield blocks
        finally:
            self._checks[digest] = check

    def close(self) -> None:
        """See :meth:`ImageSource.close`."""
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
                # Docker lists platforms in the index that it has not saved, and things that are no images.
                continue
            found.extend(manifest.manifests)
            if manifest.config and self._has_all(manifest):
                originals[manifest.config.digest] = manifest
        return originals

    def _has_all(self, manifest: Manifest) -> bool:
        """Whether the archive has all blobs of a manifest; one of another size than the manifest says is damaged."""
        sizes = [(blob, self.files.size(blob_path(blob.digest))) for blob in manifest.blobs]
        for blob, size in sizes:
            if size not in (None, blob.size):
                raise self._damaged(f"blob {blob.digest} has {size} bytes, and its manifest says {blob.size}")
        return all(size is not None for _blob, size in sizes)

    def _read_entries(self) -> list[Any]:
        content = read_file(self.files, MANIFEST_FILE, MAXIMUM_SIZE)
        try:
            entries = load_json(content, f"{MANIFEST_FILE} in {self.description}")
        except InputError as error:
            raise SourceError(error.message) from error
        if not isinstance(entries, list):
            raise SourceError(f"{MANIFEST_FILE} in {self.description} is not a list of images")
        return entries

    def _read_image(self, entry: Any) -> tuple[SourceImage, list[str]]:
        try:
            config_path, layer_paths, tags = entry["Config"], entry["Layers"] or [], entry.get("RepoTags") or []
        except (TypeError, KeyError, AttributeError) as error:
            raise self._damaged("an image lacks its config or its layers") from error
        if not isinstance(layer_paths, list) or not isinstance(tags, list):
            raise self._damaged("an image has layers or names that are not a list")
        if not all(isinstance(name, str) for name in (config_path, *layer_paths, *tags)):
            raise self._damaged("an image has names that are not strings")
        self._parts += 1 + len(layer_paths)
        if self._parts > _MOST_PARTS:
            raise self._damaged(f"its images have more than {_MOST_PARTS} configs and layers")
        config = self._read_config(config_path)
        manifest = self._originals.get(config.descriptor.digest)
        if manifest is None:
            manifest = self._make_manifest(config, config_path, layer_paths)
        else:
            self._paths.update({blob.digest: blob_path(blob.digest) for blob in manifest.blobs})
        self._manifests[manifest.descriptor.digest] = manifest
        try:
            for tag in tags:
                parse_reference(tag)
        except InputError as error:
            raise self._damaged(error.message) from error
        digest = config.descriptor.digest
        # Docker makes a manifest for an archive of layers as they are unpacked; no registry knows it.
        made = digest not in self._originals or all(layer.media_type == OCI_LAYER for layer in manifest.layers)
        return SourceImage(manifest.descriptor, None, digest, made), tags

    def _read_config(self, path: str) -> _Config:
        place = self.files.place(path)
        if place is None:
            raise SourceError(f"{self.description} has no {path}")
        if place not in self._configs:
            content = read_file(self.files, place, MAXIMUM_SIZE)
            descriptor = Descriptor(OCI_CONFIG, digest_of(content), len(content))
            self._require_named(path, descriptor.digest)
            self._configs[place] = _Config(descriptor, _diff_ids(content))
        return self._configs[place]

    def _make_manifest(self, config: _Config, config_path: str, layer_paths: list[str]) -> Manifest:
        if config.diff_ids is None:
            raise self._damaged(f"{config_path} is not the config of an image")
        if len(config.diff_ids) != len(layer_paths):
            raise self._damaged(f"an image has {len(layer_paths)} layers, its config says {len(config.diff_ids)}")
        layers = list(map(self._layer, layer_paths, config.diff_ids))
        self._paths[config.descriptor.digest] = config_path
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
            raise self._damaged(error.message) from error

    def _layer(self, path: str, diff_id: str) -> Descriptor:
        place = self.files.place(path)
        if place is None:
            raise SourceError(f"{self.description} lacks the layer {path}", "It was not saved whole; save it again")
        if place not in self._compressions:
            self._compressions[place] = self._compression(place)
        suffix, digest = self._compressions[place]
        if digest:
            self._require_named(path, digest)
        if suffix == "+gzip" and self._diff_ids.setdefault(digest, diff_id) != diff_id:
            raise self._damaged(f"the configs say different things of the layer {path}")
        digest = digest or diff_id
        self._paths[digest] = place
        return Descriptor(OCI_LAYER + suffix, digest, self.files.size(place) or 0)

    def _compression(self, place: str) -> tuple[str, str]:
        """How a layer is compressed, and its digest; both empty for one that is not, which its diff ID names."""
        with self.files.open(place) as blocks:
            beginning = bytes(next(blocks, memoryview(b""))[:4])
        suffix = next((s for magic, s in _COMPRESSIONS.items() if beginning.startswith(magic)), "")
        if not suffix:
            return "", ""
        hasher = hashlib.sha256()
        with self.files.open(place) as blocks:
            for block in blocks:
                hasher.update(block)
        return suffix, f"sha256:{hasher.hexdigest()}"

    def _require_named(self, path: str, digest: str) -> None:
        """Do nothing unless the file's name is a digest, and another one than that of its content."""
        match = _NAMED_BY_DIGEST.fullmatch(path)
        if match and (match[1] or match[2]) != split_digest(digest)[1]:
            raise self._damaged(f"the content of {path} has the digest {digest}")

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"{self.description} is not a Docker archive that can be read: {why}")


class DockerArchiveDestination(OciArchiveDestination):
    """A Docker archive that images are written to.

    It is an OCI archive with Docker's ``manifest.json`` added, as current Docker writes them: every version of
    ``docker load`` reads it, and the image's manifest and digest stay.
    """

    capabilities = Capabilities(commits=True)

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        """See :meth:`ImageDestination.takes`; Docker loads what is whole."""
        return True

    def require_support(self, manifest: Manifest) -> None:
        """See :meth:`ImageDestination.require_support`."""
        if manifest.config is None:
            platforms = ", ".join(str(child.platform) for child in manifest.manifests if child.platform)
            raise DestinationError(
                "the image is an index of several platforms, and a Docker archive holds one",
                f"Write to oci-archive: or choose one with platforms ({platforms})",
            )
        require_container_image(manifest, "a Docker archive")
        super().require_support(manifest)

    def index_files(self) -> dict[str, bytes]:
        """See :meth:`OciArchiveDestination.index_files`."""
        images: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            try:
                manifest = self.fetch_manifest(entry)
            except SourceError:
                # The existing archive lacks it, or it is no image.
                continue
            if manifest.config is None or not all(map(self.will_have, manifest.blobs)):
                continue
            image = images.setdefault(entry.digest, _list_image(manifest, manifest.config))
            name = full_name(entry)
            if name and name.tag:
                image["RepoTags"].append(str(replace(name, digest=None)))
        return {**super().index_files(), MANIFEST_FILE: json.dumps(list(images.values())).encode()}


def require_container_image(manifest: Manifest, who: str) -> None:
    """Do nothing if this is the manifest of a container image.

    Args:
        manifest: The manifest.
        who: What keeps nothing else, for people.

    Raises:
        DestinationError: It is something else, as a chart.
    """
    kind = manifest.config.media_type if manifest.config else manifest.descriptor.media_type
    if kind not in _CONFIGS:
        raise DestinationError(
            f"{who} holds container images, and this is {kind:.100}", "Write it to oci: or oci-archive:"
        )


def archive_files(root: Manifest, name: str) -> dict[str, bytes]:
    """Return the files, beside its blobs, of a Docker archive that has one image.

    Args:
        root: The image's manifest.
        name: Its name, with a tag.
    """
    listing = [_list_image(root, config, name) for config in (root.config,) if config]
    return {
        LAYOUT_FILE: LAYOUT_CONTENT,
        INDEX_FILE: write_index(with_entry([], root.descriptor, name)),
        blob_path(root.descriptor.digest): root.content,
        MANIFEST_FILE: json.dumps(listing).encode(),
    }


def _diff_ids(config: bytes) -> tuple[str, ...] | None:
    """The digests of an image's uncompressed layers by its config; ``None`` for what is no image's config."""
    try:
        return tuple(map(parse_digest, load_json_object(config, "the config")["rootfs"]["diff_ids"]))
    except (InputError, KeyError, TypeError):
        return None


def _list_image(manifest: Manifest, config: Descriptor, *tags: str) -> dict[str, Any]:
    return {
        "Config": blob_path(config.digest),
        "RepoTags": list(tags),
        "Layers": [blob_path(layer.digest) for layer in manifest.layers],
    }
