# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI image layouts (OCI image specification, "Image Layout"): reading any, writing folders (``oci:``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DestinationError, DigestMismatchError, InputError, MissingManifestError, SourceError
from ..files.file_access import Files, Folder, alone_in, read_file, replace_file, writing
from ..files.partial_file import forget_expired, write_blob
from ..oci.content import BlobContent, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest, verified, verify_content
from ..oci.graph import walk_manifests
from ..oci.interfaces import Capabilities, ImageSource, SourceImage
from ..oci.manifest import MAXIMUM_SIZE, Manifest, is_foreign, load_json_object, parse_manifest
from ..oci.reference import Reference, parse_reference
from .oci_index import (
    INDEX_FILE,
    LAYOUT_CONTENT,
    LAYOUT_FILE,
    entry_names,
    find_entry,
    read_index,
    with_entry,
    write_index,
)

if TYPE_CHECKING:
    from .layout_referrers import LayoutReferrers


class OciLayoutSource:
    """An OCI layout that images are read from.

    Args:
        files: The layout's files.

    Raises:
        SourceError: It is no OCI layout.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.description = files.description
        if files.size(INDEX_FILE) is None:
            raise SourceError(f"{files.description} is not an OCI layout: it has no {INDEX_FILE}")
        self.entries = read_index(files)

    def images(self, name: str | None = None) -> list[SourceImage]:
        """Return the image that has ``name``, or all.

        Args:
            name: The name or the digest of an entry of ``index.json``, or ``@`` and its place there, counted from 0.

        Raises:
            SourceError: There is none.
        """
        if name and name.startswith("@"):
            entries = [entry for place, entry in enumerate(self.entries) if name == f"@{place}"]
        else:
            entry = find_entry(self.entries, name) if name else None
            entries = [entry] if entry else [] if name else self.entries
        if not entries:
            known = ", ".join(found for each in self.entries for found in entry_names(each)[:1]) or "none has a name"
            wanted = f"image {name!r}" if name else "image"
            raise SourceError(f"{self.description} has no {wanted}", f"It has {len(self.entries)} images: {known:.500}")
        return [SourceImage(each, full_name(each)) for each in entries]

    @cached_property
    def referrers(self) -> LayoutReferrers:
        """See :class:`ImageSource`."""
        from .layout_referrers import LayoutReferrers

        return LayoutReferrers(self)

    @cached_property
    def with_subject(self) -> dict[str, list[Manifest]]:
        """The manifests with a name or none that refer to another, by the digest of that.

        Raises:
            DigestMismatchError: One is not what its digest names.
        """
        found: dict[str, list[Manifest]] = {}
        for entry in dict.fromkeys(self.entries):
            try:
                manifest = self.fetch_manifest(entry)
            except SourceError:
                # It is not there, for a layout may be sparse, or no manifest: such a thing refers to nothing.
                continue
            subject = load_json_object(manifest.content, "the manifest").get("subject")
            digest = subject.get("digest") if isinstance(subject, dict) else None
            if isinstance(digest, str):
                found.setdefault(digest, []).append(manifest)
        return found

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        path = blob_path(descriptor.digest)
        if self.files.size(path) is None:
            raise MissingManifestError(*self._missing("manifest", descriptor))
        content = read_file(self.files, path, MAXIMUM_SIZE)
        what = f"manifest {descriptor.digest} in {self.description}"
        verify_content(content, descriptor.digest, what, descriptor.size)
        try:
            return parse_manifest(content, descriptor.media_type, descriptor.digest)
        except InputError as error:
            raise SourceError(f"{what} cannot be used: {error.message}", error.advice) from error

    def is_whole(self, root: Descriptor, has_blob: Callable[[Descriptor], bool] | None = None) -> bool:
        """Whether the layout has all manifests and all blobs of an image, except layers that are not distributed.

        Args:
            root: The image's manifest or index.
            has_blob: Whether a blob exists; by default, whether one of the right size does.
        """
        exists = has_blob or self.has_blob
        try:
            return all(
                exists(blob) or is_foreign(blob) for manifest in walk_manifests(self, root) for blob in manifest.blobs
            )
        except (SourceError, DigestMismatchError):
            return False

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageSource.has_blob`."""
        return self.files.size(blob_path(descriptor.digest)) == descriptor.size

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        """See :meth:`ImageSource.open_blob`."""
        path = blob_path(descriptor.digest)
        size = self.files.size(path)
        if size is None:
            raise SourceError(*self._missing("blob", descriptor))
        if size != descriptor.size:
            raise SourceError(
                f"blob {descriptor.digest} in {self.description} has {size} bytes, but should have {descriptor.size}",
                "It is damaged or was not copied whole; make or copy it again",
            )
        with self.files.open(path, offset) as blocks:
            yield blocks

    def close(self) -> None:
        """See :meth:`ImageSource.close`."""
        self.files.close()

    def _missing(self, kind: str, descriptor: Descriptor) -> tuple[str, str]:
        platform = f" (for {descriptor.platform})" if descriptor.platform else ""
        return (
            f"{self.description} lacks the {kind} {descriptor.digest}{platform}",
            "It was not saved whole; save it again with all its platforms",
        )


class VerifiedBlobs:
    """The undamaged blobs of a layout; each is read once, when it is first asked for.

    Args:
        files: The layout's files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._reading: dict[str, threading.Lock] = {}
        self._undamaged: set[str] = set()

    def has(self, blob: Descriptor) -> bool:
        """Whether the layout has the blob, with the size and the content that its descriptor names."""
        if self._files.size(blob_path(blob.digest)) != blob.size:
            return False
        with self._lock:
            reading = self._reading.setdefault(blob.digest, threading.Lock())
        with reading:
            if blob.digest not in self._undamaged and self._is_undamaged(blob):
                self._undamaged.add(blob.digest)
        return blob.digest in self._undamaged

    def _is_undamaged(self, blob: Descriptor) -> bool:
        try:
            with self._files.open(blob_path(blob.digest)) as blocks:
                for _block in verified(blocks, blob.digest, blob.size, "the blob"):
                    pass
        except (SourceError, DigestMismatchError):
            return False
        return True


class OciLayoutDestination:
    """An OCI layout folder that images are written to; it is made when the first one is written."""

    repository = ""
    capabilities = Capabilities(commits=True, referrers=True)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = self
        self.description = f"the folder {folder}"
        self._lock = threading.Lock()
        self._entries: list[Descriptor] = []
        self._blobs = VerifiedBlobs(Folder(folder))
        self._begun = False
        self._published: list[tuple[Descriptor, str | None]] = []
        files = Folder(folder)
        with writing(folder):
            if files.size(INDEX_FILE) is not None:
                self._source = OciLayoutSource(files)
                self._entries = self._source.entries
            elif folder.is_dir() and files.size(LAYOUT_FILE) is None and any(folder.iterdir()):
                raise DestinationError(f"{folder} has files and is no OCI layout", "Name an empty or a new folder")
            elif folder.exists() and not folder.is_dir():
                raise DestinationError(f"{folder} is not a folder", "For an archive write oci-archive: before its path")
            for place in (folder / "blobs", *folder.glob("blobs/*")):
                if place.is_symlink():
                    raise DestinationError(f"{place} is a link, which may lead out of the folder", "Remove it first")

    def resolve(self, tag: str) -> Descriptor | None:
        """See :meth:`ImageDestination.resolve`."""
        return find_entry(self._entries, tag)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageDestination.fetch_manifest`."""
        return self._source.fetch_manifest(descriptor)

    def require_support(self, manifest: Manifest) -> None:
        """A layout keeps every kind."""

    def fallback_referrers(self, subject: str) -> None:
        """An OCI layout lists referrers in its ``index.json``."""

    def takes(self, blob: Descriptor, source: ImageSource) -> bool:
        """See :meth:`ImageDestination.takes`; whoever has it may hand it on to himself."""
        return not is_foreign(blob) or source.has_blob(blob)

    def is_whole(self, root: Descriptor) -> bool:
        """See :meth:`ImageDestination.is_whole`; a layout may be sparse."""
        return self._source.is_whole(root)

    def has_manifest(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_manifest`."""
        is_entry = find_entry(self._entries, descriptor.digest) is not None
        return is_entry and self._source.is_whole(descriptor, self.has_blob)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_blob`."""
        return self._blobs.has(descriptor)

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """See :meth:`ImageDestination.put_blob`."""
        self._begin()
        path = self.folder / blob_path(descriptor.digest)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_blob(path, descriptor, content)
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        """See :meth:`ImageDestination.put_manifest`."""
        self._begin()
        self._write(blob_path(manifest.descriptor.digest), manifest.content)

    def publish(self, root: Manifest, tag: str | None) -> None:
        """See :meth:`ImageDestination.publish`."""
        self.put_manifest(root)
        with self._lock:
            self._entries = with_entry(self._entries, root.descriptor, tag)
            self._published.append((root.descriptor, tag))

    def commit(self) -> None:
        """See :meth:`DestinationStore.commit`; what is whole is named all at once."""
        if self._published:
            with writing(self.folder), alone_in(self.folder):
                files = Folder(self.folder)
                # Not what it was at the beginning: another run may have named images there since.
                entries = read_index(files) if files.size(INDEX_FILE) is not None else []
                for root, tag in self._published:
                    entries = with_entry(entries, root, tag)
                self._write(INDEX_FILE, write_index(entries))
            self._published.clear()

    def abandon(self, resumable: bool = False) -> bool:
        """Whole blobs stay: no image names them, and the next run need not fetch them again."""
        return False

    def close(self) -> None:
        """Nothing stays open."""

    def _begin(self) -> None:
        # Before anything else: it tells the next run that a folder which has no image yet is ours to go on with.
        with self._lock:
            if Folder(self.folder).size(LAYOUT_FILE) is None:
                self._write(LAYOUT_FILE, LAYOUT_CONTENT)
            if not self._begun:
                for folder in self.folder.glob("blobs/*"):
                    forget_expired(folder)
                self._begun = True

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)


def blob_path(digest: str) -> str:
    """Return where a layout has the content with this digest."""
    return "blobs/" + "/".join(split_digest(digest))


def full_name(entry: Descriptor) -> Reference | None:
    """Return the reference that an entry of ``index.json`` has as its name, if it has one."""
    for name in entry_names(entry):
        # A word alone may be a tag as well as a name: only what has a path or a tag is surely a name.
        if "/" in name or ":" in name:
            try:
                return parse_reference(name)
            except InputError:
                continue
    return None
