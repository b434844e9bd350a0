# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write OCI layouts as tar archives (``oci-archive:``). An existing archive keeps its other images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import DestinationError, DigestMismatchError, K8scrError, SourceError
from ..files.file_access import closed_on_failure, write_errors
from ..files.locked_file import folder_lock
from ..files.tar_reader import TarFiles
from ..files.tar_writer import TarWriter
from ..oci.content import BlobContent, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import is_undamaged, verified
from ..oci.manifest import Manifest
from .layout_content import reachable
from .oci_index import blob_path, entry_names, layout_files, with_entry
from .oci_layout import LayoutDestination, OciLayoutSource


class OciArchiveDestination(LayoutDestination):
    """An OCI archive as a destination of images.

    A commit writes a new archive and renames it to the archive's path. All content of the existing archive that is
    reachable from ``index.json`` is verified and copied into the new one; missing content stays missing.

    Raises:
        DestinationError: Another kind of file exists at the path.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"the archive {path}")
        self.path = path
        self.store = self
        self._writer: TarWriter | None = None
        self._written: set[str] = set()
        self._addable = False
        self._manifests: dict[str, Manifest] = {}
        with write_errors(path):
            is_folder, exists, has_parent = path.is_dir(), path.exists(), path.parent.is_dir()
        if is_folder:
            raise DestinationError(f"{path} is a folder, not an archive", "For a folder, write oci: before its path")
        if not has_parent:
            raise DestinationError(f"the folder {path.parent} does not exist", "Create it first")
        self._state = self._read_state()
        if exists:
            try:
                self._files = files = TarFiles(path)
                with closed_on_failure(files):
                    if files.is_compressed:
                        raise SourceError("it is a compressed tar archive")
                    self._existing = OciLayoutSource(files)
            except SourceError as error:
                raise DestinationError(
                    f"{path} exists and is not an OCI archive: {error.message}", "Remove it or choose another file"
                ) from error
            self.entries = list(self._existing.entries)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        return self._manifests.get(descriptor.digest) or super().fetch_manifest(descriptor)

    def require_support(self, manifest: Manifest) -> None:
        # An image can be added unless the existing archive is damaged.
        if not self._addable:
            self._content()
            self._addable = True

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        writer = self._open_writer()
        name = blob_path(descriptor.digest)
        start, size = writer.left_over.pop(name, (0, 0))
        if size != descriptor.size:
            start = writer.reserved.pop(name, 0) or writer.reserve(name, descriptor.size)
        elif is_undamaged(writer.read(start, size), descriptor.digest, descriptor.size):
            self._written.add(descriptor.digest)
            return False
        with content() as blocks:
            self._write_blob(descriptor, verified(blocks, descriptor.digest, descriptor.size, content.what), start)
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        with self._lock:
            self._manifests[manifest.descriptor.digest] = manifest

    def publish(self, root: Manifest, tag: str | None) -> None:
        self.put_manifest(root)
        with self._lock:
            self.entries = with_entry(self.entries, root.descriptor, tag)

    def commit(self) -> None:
        if self._manifests:
            self._replace(self._content())

    def _replace(self, kept: Mapping[str, Descriptor]) -> None:
        """Write the archive with this content, and replace the existing one."""
        writer = self._open_writer()
        # A partial file can have blobs of other images, complete or not.
        writer.keep_only([blob_path(digest) for digest in self._written.intersection(kept)])
        for name, content in self.index_files().items():
            writer.add(name, content)
        for descriptor in kept.values():
            self._copy(writer, descriptor)
        self._write_more(writer, kept)
        with write_errors(self.path), folder_lock(self.path.parent):
            if self._read_state() != self._state:
                raise DestinationError(
                    f"another run changed {self.path} at the same time, and its images would be lost", "Run again"
                )
            writer.finish()
            self._state = self._read_state()
        self._writer = None

    def _write_more(self, writer: TarWriter, kept: Mapping[str, Descriptor]) -> None:
        """Write further entries at the end of the archive: none, unless it is a bundle."""

    def abandon(self, resumable: bool = False) -> bool:
        if self._writer:
            self._writer.abandon(keep=resumable)
            self._writer = None
        return True

    def close(self) -> None:
        self.abandon()
        if self._existing:
            self._existing.close()

    def will_have(self, blob: Descriptor) -> bool:
        """Whether the archive will have the blob after the commit, provided that one of its images needs it."""
        return blob.digest in self._written or (self._existing is not None and self._existing.has_blob(blob))

    def index_files(self) -> dict[str, bytes]:
        """Return the files that list the images of the archive, by name."""
        return layout_files(self.entries)

    def _read_state(self) -> tuple[int, ...] | None:
        """Return values that change if another run replaces the archive; ``None`` if it does not exist."""
        with write_errors(self.path):
            try:
                state = self.path.stat()
            except FileNotFoundError:
                return None
        return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns

    def _content(self) -> dict[str, Descriptor]:
        """Return the descriptors of all content of the new archive, by digest. Content can be missing."""
        try:
            return reachable(self._existing, self.entries, self._manifests)
        except (SourceError, DigestMismatchError) as error:
            raise DestinationError(
                f"no image can be added to {self.path}: {error.message}", "Remove it or choose another file"
            ) from error

    def _copy(self, writer: TarWriter, descriptor: Descriptor) -> None:
        """Write a manifest of this run, or a manifest or a blob of the existing archive."""
        digest, path = descriptor.digest, blob_path(descriptor.digest)
        if digest in self._manifests:
            writer.add(path, self._manifests[digest].content)
        elif digest not in self._written and self._existing and self._existing.files.size(path) is not None:
            try:
                with self._existing.open_blob(descriptor) as blocks:
                    content = verified(blocks, digest, descriptor.size, f"blob {digest}")
                    self._write_blob(descriptor, content, writer.reserve(path, descriptor.size))
            except (SourceError, DigestMismatchError) as error:
                raise self._damaged(digest, error) from error

    def _damaged(self, digest: str, error: K8scrError) -> DestinationError:
        """Return the error for a damaged blob of the existing archive, with the affected images."""
        entries = [entry for entry in self.entries if digest in reachable(self._existing, [entry], self._manifests)]
        names = ", ".join((*entry_names(entry), entry.digest)[0] for entry in entries)
        return DestinationError(
            f"no image can be added to {self.path} because its image {names:.500} is damaged: {error.message}",
            "Remove it and pull all its images again; the next run reuses the blobs that this run downloaded",
        )

    def _write_blob(self, descriptor: Descriptor, blocks: Blocks, position: int) -> None:
        writer = self._open_writer()
        for block in blocks:
            writer.write(position, block)
            position += len(block)
        self._written.add(descriptor.digest)

    def _open_writer(self) -> TarWriter:
        with self._lock:
            if self._writer is None:
                self._writer = TarWriter(self.path, "blobs/")
            return self._writer
