# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One image in the engine of Docker or Podman, as a source or as a destination."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from ..engine.client import Engine, EngineImage, error_message
from ..errors import DestinationError, EngineError, InputError, SourceError
from ..files.file_access import closed_on_failure
from ..files.tar_reader import TarFiles
from ..files.tar_writer import tar_header
from ..oci.content import BlobContent, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import parse_digest, verified
from ..oci.graph import BoundedSource
from ..oci.image_config import ConfigPlatforms
from ..oci.interfaces import Capabilities, ImageSource, SourceImage
from ..oci.manifest import OCI_CONFIG, Manifest
from ..oci.reference import DOCKER_HUB, Reference, parse_reference
from .docker_archive import DockerArchiveSource
from .docker_exports import Exports
from .docker_manifest import archive_files, require_container_image
from .oci_index import blob_path

_BLOCK = 512


class DockerDaemonSource:
    """One image of an engine. The engine exports it as a Docker archive.

    The engine returns an image's ID without an export, so only images that are missing at the destination are
    exported. Engines write ``manifest.json``, which identifies config and layers, at the end of an archive; therefore
    the archive is stored in a file in ``folder``. A file that was deleted to make room for another export is exported
    again when its content is read. The engine stays open.

    Args:
        folder: The folder for the exported archive.
        exports: The exports of the task.
        name: The name or the ID of the image.

    Attributes:
        image: The image, to be loaded.

    Raises:
        InputError: The name is missing or invalid.
        SourceError: The engine does not have it.
        EngineError: The engine is unavailable or returns an error.
    """

    referrers = None

    def __init__(self, engine: Engine, folder: Path, exports: Exports, name: str | None) -> None:
        self.description = engine.description
        self._engine = engine
        self._folder = folder
        self._exports = exports
        self._loaded: DockerArchiveSource | None = None
        if not name:
            raise InputError("docker-daemon: needs the name of an image", "Write docker-daemon:NAME[:TAG]")
        reference = None if _is_digest(name) else parse_reference(name)
        found = _find(engine, name, reference)
        if found is None:
            raise SourceError(
                f"{self.description} has no image {reference or name}", "Pull, build or load it there first"
            )
        # The ID is the digest of a config or of a manifest. The comparison with the destination shows which one.
        known = found.manifests[0] if len(found.manifests) == 1 else found.id
        self._found = found
        self.image = SourceImage(Descriptor(OCI_CONFIG, known, 0), reference, found.id, deferred=self)

    def load(self, image: SourceImage) -> SourceImage:
        with self._exports.open(self, self._export) as archive:
            self._loaded = archive
        exported = archive.images()[0]
        # An engine that stores manifests identifies the image by its manifest.
        return replace(exported, name=image.name, compressible=exported.compressible and not self._found.manifests)

    def unload(self) -> None:
        self._exports.delete(self)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        return self._content.fetch_manifest(descriptor)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._content.has_blob(descriptor)

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        with self._exports.open(self, self._export) as archive:
            if not archive.has_blob(descriptor):
                raise SourceError(f"{self._what} has other content than before", "Run again")
            with archive.open_blob(descriptor, offset) as blocks:
                yield blocks

    def close(self) -> None:
        """Delete the export."""
        self.unload()

    @property
    def _content(self) -> DockerArchiveSource:
        """The list of the export's content, which stays in memory after the file is deleted."""
        if self._loaded is None:
            raise SourceError(f"{self.description} did not export the image yet")
        return self._loaded

    @property
    def _what(self) -> str:
        return f"the export of {self.image.name or self._found.id} by {self.description}"

    def _export(self) -> DockerArchiveSource:
        with self._engine.export(self._found.id) as blocks:
            return _keep(blocks, self._folder, self._what, self._exports.limit)


class DockerDaemonDestination:
    """An engine as the destination of one image.

    An engine loads an image as one archive. Publishing reads the blobs one after the other into the request, without
    a file. The engine stays open.
    """

    repository = ""
    capabilities = Capabilities()

    def __init__(self, engine: Engine) -> None:
        self.store = self
        self.description = engine.description
        self._engine = engine
        self._contents: dict[str, BlobContent] = {}
        self._existing: EngineImage | None = None

    def select(self, source: ImageSource, image: SourceImage) -> SourceImage:
        """Return the image that the engine can load: of an index, the image for the engine's platform.

        Raises:
            DestinationError: The index has no image for the engine's platform.
            K8scrError: The source or the engine is unavailable.
        """
        manifest = source.fetch_manifest(image.root)
        if manifest.config is None:
            platform = self._engine.platform()
            bounded, configs = BoundedSource(source), ConfigPlatforms(source)
            children = [
                (child.platform or configs.find(bounded.fetch_manifest(child)), child) for child in manifest.manifests
            ]
            matching = [(each.variant, child) for each, child in children if each and platform.includes(each)]
            if not matching:
                known = ", ".join(str(each) for each, _child in children if each)
                raise DestinationError(
                    f"{image.name or image.root.digest} has no image for {platform},"
                    f" the platform of {self.description}",
                    f"Select one with platforms ({known:.300})",
                )
            # The lowest variant runs on all CPUs of the architecture.
            manifest = source.fetch_manifest(min(matching, key=itemgetter(0))[1])
        config = manifest.config.digest if manifest.config else None
        self._existing = self._engine.find(config) if config else None
        return SourceImage(manifest.descriptor, image.name, config)

    def resolve(self, tag: str) -> Descriptor | None:
        """Return the config, or the manifest if the engine stores manifests, of the image with this name."""
        image = _find(self._engine, tag, parse_reference(tag))
        return Descriptor(OCI_CONFIG, image.id, 0) if image else None

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        # The API of engines does not return manifests.
        raise SourceError(f"{self.description} has no manifest {descriptor.digest}")

    def fallback_referrers(self, subject: str) -> None:
        """Return None: an engine stores no referrers."""

    def require_support(self, manifest: Manifest) -> None:
        require_container_image(manifest, "an engine")

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        # Engines load complete images only.
        return True

    def is_whole(self, root: Descriptor, tagged: bool) -> bool:
        # Images in an engine are complete.
        return True

    def has_manifest(self, descriptor: Descriptor) -> bool:
        return False

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._existing is not None

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """Store how to open the blob, which :meth:`publish` reads."""
        self._contents[descriptor.digest] = content
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        """Do nothing: an image without an index has one manifest, which :meth:`publish` stores."""

    def publish(self, root: Manifest, tag: str | None) -> None:
        """Load the image with its name, or add the name to the existing image.

        Raises:
            EngineError: The engine rejects the image.
            K8scrError: The image cannot be read. The engine stores nothing of it.
        """
        if not tag:
            raise DestinationError(f"{self.description} stores images by name", "Set a name with a tag")
        if self._existing:
            name = parse_reference(tag)
            self._engine.tag(self._existing.id, f"{name.host}/{name.path}", name.tag or "latest")
        else:
            self._engine.load(self._pack(root, tag))
        found = self.resolve(tag)
        if found is None or found.digest not in (root.descriptor.digest, root.config and root.config.digest):
            raise EngineError(f"{self.description} loaded {tag} but has another image, or none, with that name")

    def commit(self) -> None:
        """Do nothing: :meth:`publish` loads each image."""

    def abandon(self, resumable: bool = False) -> bool:
        # A loaded image stays.
        return False

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _pack(self, root: Manifest, tag: str) -> Iterator[bytes]:
        for blob in root.blobs:
            content = self._contents[blob.digest]
            with content() as blocks:
                yield from _tar_entry(
                    blob_path(blob.digest), blob.size, verified(blocks, blob.digest, blob.size, content.what)
                )
        for name, file in archive_files(root, tag).items():
            yield from _tar_entry(name, len(file), [memoryview(file)])
        yield bytes(2 * _BLOCK)


def _find(engine: Engine, name: str, reference: Reference | None) -> EngineImage | None:
    """Find an image like the engine's own client: Podman names images that it builds ``localhost/NAME``."""
    image = engine.find(str(reference or name))
    if image is None and reference and reference.host == DOCKER_HUB and not name.startswith(f"{DOCKER_HUB}/"):
        path = reference.path.removeprefix("library/")
        image = engine.find(str(replace(reference, host="localhost", path=path)))
    return image


def _keep(blocks: Iterable[memoryview], folder: Path, what: str, limit: int) -> DockerArchiveSource:
    """Write an export to an unnamed file. The operating system deletes the file when it is closed."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for block in blocks:
                file.write(block)
            end = file.tell()
            file.flush()
            try:
                files = TarFiles(Path(f"/dev/fd/{file.fileno()}"), what, keep_open=True)
                with closed_on_failure(files):
                    return DockerArchiveSource(files)
            except SourceError as error:
                reason = _export_error(os.pread(file.fileno(), _BLOCK, max(end - _BLOCK, 0)))
                raise SourceError(f"{what} failed: {reason}") if reason else error from error
    except OSError as error:
        raise DestinationError(
            f"{what} cannot be stored in {folder}: {error.strerror}",
            "It needs the uncompressed size of the image; set tmp_dest to a folder with enough disk space"
            + (f", or lower connections: up to {limit} images are exported at once" if limit > 1 else ""),
        ) from error


def _export_error(end: bytes) -> str | None:
    """Return the error of a failed export. Engines append it to the incomplete archive."""
    return error_message(end[end.rfind(b'{"errorDetail"') :].strip()) if b'{"errorDetail"' in end else None


def _tar_entry(name: str, size: int, blocks: Iterable[memoryview]) -> Iterator[bytes]:
    yield tar_header(name, size)
    for block in blocks:
        yield bytes(block)
    yield bytes(-size % _BLOCK)


def _is_digest(text: str) -> bool:
    try:
        return bool(parse_digest(text))
    except InputError:
        return False
