# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing OCI layouts as tar archives (``oci-archive:``); an archive that is there keeps its other images."""

from __future__ import annotations

import threading
from pathlib import Path

from ..disk.files import alone_in, closed_on_failure, writing
from ..disk.tar_reader import TarFiles
from ..disk.tar_writer import TarWriter
from ..errors import DestinationError, DigestMismatchError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from ..oci.manifest import Manifest, is_foreign
from .graph import walk_manifests
from .oci_index import INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, find_entry, with_entry, write_index
from .oci_layout import OciLayoutSource, blob_path
from .store import BlobContent, Blocks, ImageSource


class OciArchiveDestination:
    """An OCI archive that images are written to.

    It is written anew beside its place, with what is kept of the old one, and takes that place on commit.

    Raises:
        DestinationError: Another kind of file is there.
    """

    repository = ""
    checks_digests = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = self
        self.description = f"the archive {path}"
        self._lock = threading.Lock()
        self._writer: TarWriter | None = None
        self._written: set[str] = set()
        self._manifests: dict[str, Manifest] = {}
        self._old: OciLayoutSource | None = None
        with writing(path):
            is_folder, exists, has_place = path.is_dir(), path.exists(), path.parent.is_dir()
        if is_folder:
            raise DestinationError(f"{path} is a folder, not an archive", "For a folder write oci: before its path")
        if not has_place:
            raise DestinationError(f"the folder {path.parent} does not exist", "Make it first")
        self._before = self._state()
        if exists:
            try:
                files = TarFiles(path)
                with closed_on_failure(files):
                    if files.is_compressed:
                        raise SourceError("it is compressed as a whole")
                    self._old = OciLayoutSource(files)
            except SourceError as error:
                raise DestinationError(
                    f"{path} is there and is not an OCI archive: {error.message}", "Remove it or name another file"
                ) from error
        self.entries = list(self._old.entries) if self._old else []

    def resolve(self, tag: str) -> Descriptor | None:
        """See :meth:`ImageDestination.resolve`."""
        return find_entry(self.entries, tag)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageDestination.fetch_manifest`."""
        if descriptor.digest in self._manifests:
            return self._manifests[descriptor.digest]
        if self._old is None:
            raise SourceError(f"{self.description} has no manifest {descriptor.digest}")
        return self._old.fetch_manifest(descriptor)

    def require_support(self, manifest: Manifest) -> None:
        """An OCI archive keeps every kind."""

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        """See :meth:`ImageDestination.takes`; whoever has it may hand it on to himself."""
        return not is_foreign(blob) or source.has_blob(blob)

    def has_manifest(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_manifest`."""
        return find_entry(self.entries, descriptor.digest) is not None and self.has_blob(descriptor)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_blob`."""
        return self._old is not None and self._old.files.size(blob_path(descriptor.digest)) == descriptor.size

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """See :meth:`ImageDestination.put_blob`."""
        writer = self._open_writer()
        name = blob_path(descriptor.digest)
        start, size = writer.left_over.pop(name, (0, 0))
        if size != descriptor.size:
            start = writer.reserve(name, descriptor.size)
        elif _is_whole(writer.read(start, size), descriptor):
            self._written.add(descriptor.digest)
            return False
        with content() as blocks:
            self._write_blob(descriptor, verified(blocks, descriptor.digest, descriptor.size, content.what), start)
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        """See :meth:`ImageDestination.put_manifest`."""
        with self._lock:
            self._manifests[manifest.descriptor.digest] = manifest

    def publish(self, root: Manifest, tag: str | None) -> None:
        """See :meth:`ImageDestination.publish`."""
        self.put_manifest(root)
        with self._lock:
            self.entries = with_entry(self.entries, root.descriptor, tag)

    def commit(self) -> None:
        """See :meth:`DestinationStore.commit`."""
        if self._manifests:
            writer = self._open_writer()
            for name, content in self.index_files().items():
                writer.add(name, content)
            for entry in self.entries:
                for manifest in walk_manifests(self, entry):
                    self._keep(writer, manifest)
            with writing(self.path), alone_in(self.path.parent):
                if self._state() != self._before:
                    raise DestinationError(
                        f"{self.path} was written by another run meanwhile, whose images would be lost", "Run again"
                    )
                writer.finish()
                self._before = self._state()
            self._writer = None

    def abandon(self, resumable: bool = False) -> bool:
        """See :meth:`DestinationStore.abandon`."""
        if self._writer:
            self._writer.abandon(keep=resumable)
            self._writer = None
        return True

    def close(self) -> None:
        """See :meth:`DestinationStore.close`."""
        self.abandon()
        if self._old:
            self._old.close()

    def index_files(self) -> dict[str, bytes]:
        """Return the small files that say what is in the archive."""
        return {LAYOUT_FILE: LAYOUT_CONTENT, INDEX_FILE: write_index(self.entries)}

    def _state(self) -> tuple[int, ...] | None:
        """What tells the file that is there from any that takes its place."""
        with writing(self.path):
            try:
                state = self.path.stat()
            except FileNotFoundError:
                return None
        return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns

    def _keep(self, writer: TarWriter, manifest: Manifest) -> None:
        if manifest.descriptor.digest not in self._written:
            writer.add(blob_path(manifest.descriptor.digest), manifest.content)
            self._written.add(manifest.descriptor.digest)
        for blob in manifest.blobs:
            if blob.digest not in self._written and self._old is not None and self.has_blob(blob):
                with self._old.open_blob(blob) as blocks:
                    self._write_blob(blob, blocks, writer.reserve(blob_path(blob.digest), blob.size))

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


def _is_whole(blocks: Blocks, descriptor: Descriptor) -> bool:
    try:
        for _block in verified(blocks, descriptor.digest, descriptor.size, "what an earlier run left"):
            pass
    except DigestMismatchError:
        return False
    return True
