# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI image layouts (OCI image specification, "Image Layout"): read folders and archives, write folders (``oci:``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from ..errors import DestinationError, DigestMismatchError, InputError, K8scrError, MissingManifestError, SourceError
from ..files.file_access import Files, FolderFiles, read_file, replace_file, write_errors
from ..files.locked_file import folder_lock
from ..files.partial_file import delete_expired_partials, write_blob
from ..oci.content import BLOCK_SIZE, BlobContent, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import is_undamaged, verify_content
from ..oci.graph import walk_manifests
from ..oci.interfaces import Capabilities, ImageSource, SourceImage
from ..oci.manifest import MAXIMUM_SIZE, Manifest, is_nondistributable, parse_manifest
from .layout_referrers import LayoutReferrers
from .oci_index import (
    INDEX_FILE,
    LAYOUT_CONTENT,
    LAYOUT_FILE,
    blob_path,
    entry_names,
    find_entry,
    full_name,
    invalid_name,
    read_index,
    unusable_name,
    with_entry,
    write_index,
)


class OciLayoutSource:
    """An OCI layout as a source of images.

    Raises:
        SourceError: The files are not an OCI layout.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.description = files.description
        if files.size(INDEX_FILE) is None:
            raise SourceError(f"{files.description} is not an OCI layout: it has no {INDEX_FILE}")
        self.entries = read_index(files)

    def images(self, name: str | None = None) -> list[SourceImage]:
        """Return the image with a name, or all images. Without a name, artifacts that belong to images are left out.

        Args:
            name: The name or the digest of an entry of ``index.json``, or ``@`` and its position, counted from 0.

        Raises:
            SourceError: The layout has no such image, or no image at all.
        """
        entries = list(enumerate(self.entries))
        if name is None:
            entries = [(position, entry) for position, entry in entries if not self.referrers.belongs(entry)]
        else:
            at = [(position, entry) for position, entry in entries if name == f"@{position}"]
            named = find_entry(self.entries, name)
            entries = at or ([(self.entries.index(named), named)] if named else [])
        found = [self._image(position, entry) for position, entry in entries]
        if not found:
            known = ", ".join(found for each in self.entries for found in entry_names(each)[:1]) or "all without names"
            wanted = f"image {name!r}" if name else "image"
            raise SourceError(f"{self.description} has no {wanted}", f"It has {len(self.entries)} images: {known:.500}")
        return found

    def _image(self, position: int, entry: Descriptor) -> SourceImage:
        name = full_name(entry)
        return SourceImage(entry, name, name_error=None if name else self._name_error(position, entry))

    def _name_error(self, position: int, entry: Descriptor) -> K8scrError | None:
        """Return the reason why an entry has no name, other than that none is stated."""
        subject = self.referrers.subject(entry)
        if subject is None:
            return unusable_name(invalid_name(entry), position)
        if self.referrers.belongs(entry):
            return None
        image = f"{subject}, which {self.description} does not have" if subject else "an image that it does not state"
        return SourceError(
            f"{entry.digest} in {self.description} is a referrer, such as a signature, of {image}",
            f"Save it together with its image, or select it with @{position} in place of a name, and set its name with"
            " the option name",
        )

    @cached_property
    def referrers(self) -> LayoutReferrers:
        return LayoutReferrers(self.entries, self.files, self)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        path = blob_path(descriptor.digest)
        exists = self.files.size(path) is not None
        content = read_file(self.files, path, MAXIMUM_SIZE) if exists else descriptor.embedded
        if content is None:
            raise MissingManifestError(*self._missing("manifest", descriptor))
        what = f"manifest {descriptor.digest} in {self.description}"
        verify_content(content, descriptor.digest, what, descriptor.size)
        try:
            return parse_manifest(content, descriptor.media_type, descriptor.digest)
        except InputError as error:
            raise SourceError(f"{what} cannot be used: {error.message}", error.advice) from error

    def is_whole(self, root: Descriptor, has_blob: Callable[[Descriptor], bool] | None = None) -> bool:
        """Whether the layout has all manifests and all blobs of an image, except nondistributable layers.

        ``has_blob`` returns whether a blob exists; by default, a file of its size is sufficient.
        """
        exists = has_blob or self.has_blob
        try:
            return all(
                exists(blob) or is_nondistributable(blob)
                for manifest in walk_manifests(self, root)
                for blob in manifest.blobs
            )
        except (SourceError, DigestMismatchError):
            return False

    def has_blob(self, descriptor: Descriptor) -> bool:
        size = self.files.size(blob_path(descriptor.digest))
        return size == descriptor.size if size is not None else descriptor.embedded is not None

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        path = blob_path(descriptor.digest)
        size = self.files.size(path)
        if size is None:
            content = descriptor.embedded
            if content is None:
                raise SourceError(*self._missing("blob", descriptor))
            yield (memoryview(content)[start : start + BLOCK_SIZE] for start in range(offset, len(content), BLOCK_SIZE))
            return
        if size != descriptor.size:
            raise SourceError(
                f"blob {descriptor.digest} in {self.description} has {size} bytes, but should have {descriptor.size}",
                "It is damaged or the copy is incomplete; create or copy it again",
            )
        with self.files.open(path, offset) as blocks:
            yield blocks

    def close(self) -> None:
        self.files.close()

    def _missing(self, kind: str, descriptor: Descriptor) -> tuple[str, str]:
        platform = f" (for {descriptor.platform})" if descriptor.platform else ""
        return (
            f"{self.description} does not have the {kind} {descriptor.digest}{platform}",
            "The image was saved incompletely; save it again with all its platforms",
        )


class LayoutDestination:
    """The common methods of layouts as destinations: folders and archives.

    Attributes:
        omitted: The digests of blobs that the layout may leave out on purpose; its images are whole without them.
    """

    repository = ""
    capabilities = Capabilities(commits=True, referrers=True)

    def __init__(self, description: str) -> None:
        self.description = description
        # The entries of index.json, with the published images.
        self.entries: list[Descriptor] = []
        self._lock = threading.Lock()
        self._files: Files | None = None
        self._existing: OciLayoutSource | None = None
        self._blob_locks: dict[str, threading.Lock] = {}
        self._undamaged: set[str] = set()
        self.omitted: Container[str] = frozenset()

    def resolve(self, tag: str) -> Descriptor | None:
        return find_entry(self.entries, tag)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        if self._existing is None:
            raise SourceError(f"{self.description} has no manifest {descriptor.digest}")
        return self._existing.fetch_manifest(descriptor)

    def is_whole(self, root: Descriptor, tagged: bool) -> bool:
        # Layouts can be sparse.
        return self._existing is not None and self._is_whole(self._existing, root, self._existing.has_blob)

    def has_manifest(self, descriptor: Descriptor) -> bool:
        is_entry = find_entry(self.entries, descriptor.digest) is not None
        return is_entry and self._existing is not None and self._is_whole(self._existing, descriptor, self.has_blob)

    def _is_whole(self, layout: OciLayoutSource, root: Descriptor, has_blob: Callable[[Descriptor], bool]) -> bool:
        return layout.is_whole(root, lambda blob: has_blob(blob) or blob.digest in self.omitted)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the layout has a blob with this size and digest. Each blob is read once."""
        path, digest = blob_path(descriptor.digest), descriptor.digest
        if self._files is None or self._files.size(path) != descriptor.size:
            return False
        with self._lock:
            blob_lock = self._blob_locks.setdefault(digest, threading.Lock())
        with blob_lock:
            if digest not in self._undamaged:
                with suppress(SourceError), self._files.open(path) as blocks:
                    if is_undamaged(blocks, digest, descriptor.size):
                        self._undamaged.add(digest)
        return digest in self._undamaged

    def will_have(self, blob: Descriptor) -> bool:
        """Whether the layout has a file of the size of a blob, which is not read."""
        return self._files is not None and self._files.size(blob_path(blob.digest)) == blob.size

    def require_support(self, manifest: Manifest) -> None:
        """Do nothing: a layout can store all media types."""

    def fallback_referrers(self, subject: str) -> None:
        """Return None: an OCI layout lists referrers in its ``index.json``."""

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        # A layout accepts nondistributable layers that the source has.
        return not is_nondistributable(blob) or source.has_blob(blob)


class OciLayoutDestination(LayoutDestination):
    """An OCI layout folder as a destination of images. The first image creates the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the folder {folder}")
        self.folder = folder
        self.store = self
        self._started = False
        self._published: list[tuple[Descriptor, str | None]] = []
        self._files: Files = self._open_files()
        with write_errors(folder):
            if self._files.size(INDEX_FILE) is not None:
                self._existing = OciLayoutSource(self._files)
                self.entries = self._existing.entries
            elif folder.is_dir() and self._files.size(LAYOUT_FILE) is None and _has_other_files(folder):
                raise DestinationError(f"{folder} has files but no OCI layout", "Choose an empty or a new folder")
            elif folder.exists() and not folder.is_dir():
                raise DestinationError(
                    f"{folder} is not a folder", "For an archive, write oci-archive: before its path"
                )
            for path in (folder / "blobs", *folder.glob("blobs/*")):
                if path.is_symlink():
                    raise DestinationError(f"{path} is a link that may point outside the folder", "Remove it first")

    def _open_files(self) -> Files:
        return FolderFiles(self.folder)

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        self._start()
        write_blob(self._create_parent(blob_path(descriptor.digest)), descriptor, content)
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        self._start()
        self._write(blob_path(manifest.descriptor.digest), manifest.content)

    def publish(self, root: Manifest, tag: str | None) -> None:
        self.put_manifest(root)
        with self._lock:
            self.entries = with_entry(self.entries, root.descriptor, tag)
            self._published.append((root.descriptor, tag))

    def commit(self) -> None:
        """Add all complete images to ``index.json`` at once."""
        if self._published:
            with write_errors(self.folder), folder_lock(self.folder):
                # Read index.json again: another run may have added images.
                entries = read_index(self._files) if self._files.size(INDEX_FILE) is not None else []
                for root, tag in self._published:
                    entries = with_entry(entries, root, tag)
                self._write(INDEX_FILE, write_index(entries))
            self._published.clear()

    def abandon(self, resumable: bool = False) -> bool:
        # Complete blobs stay for the next run; no image refers to them.
        return False

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _start(self) -> None:
        # The file oci-layout comes first: with it, the next run accepts a folder that has blobs but no image yet.
        with self._lock:
            if self._files.size(LAYOUT_FILE) is None:
                self._write(LAYOUT_FILE, LAYOUT_CONTENT)
            if not self._started:
                for folder in self.folder.glob("blobs/*"):
                    delete_expired_partials(folder)
                self._started = True

    def _write(self, name: str, content: bytes) -> None:
        replace_file(self._create_parent(name), content)

    def _create_parent(self, name: str) -> Path:
        """Create the folder of a file in the layout, and return the file's path."""
        path = self.folder / name
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _has_other_files(folder: Path) -> bool:
    # A pull that was killed during its first write leaves a temporary file.
    return any(not path.name.startswith(f".{LAYOUT_FILE}.") for path in folder.iterdir())
