# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write bundles to folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import DestinationError, SourceError
from ..files.file_access import replace_file, sync_folder, write_all, write_errors
from ..files.locked_file import folder_lock
from ..files.partial_file import PartialFile
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of_blocks, split_digest
from .bundle_format import (
    LOCK_FILE,
    SUMS_FILE,
    BundleFault,
    BundleFile,
    BundleManifest,
    bundle_content,
    extra_path,
    lock_content,
    read_bundle,
    sha256_of,
    sums_content,
)
from .bundle_store import (
    ExtraContent,
    VolumeFolder,
    delete_in_folder,
    delete_leftovers,
    delete_temporary,
    reject_links,
    require_blobs,
    sorted_entries,
    verify_bundle,
    without_entries,
)
from .layout_content import reachable
from .oci_index import BUNDLE_FILE, INDEX_FILE, blob_path, layout_files, write_index
from .oci_layout import OciLayoutDestination, OciLayoutSource


class BundleFolder(OciLayoutDestination):
    """A bundle in a folder as a destination; see :class:`BundleStore`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with write_errors(folder):
            reject_links(folder)
        self._sums: dict[str, str] = {}
        """The sums of the files beside the images that this run wrote, by path."""
        self.previous, complete = self._read_description()
        self.bundle = self.previous if complete else None

    def begin(self) -> None:
        self._start()
        self._write(BUNDLE_FILE, bundle_content(self.previous or BundleManifest(), complete=False))
        with write_errors(self.folder):
            sync_folder(self.folder)
        self.bundle = None

    def reserve(self, blobs: Iterable[Descriptor]) -> None:
        """Do nothing: each blob is a file of its own."""

    def extras(self) -> list[BundleFile]:
        if self.bundle:
            return list(self.bundle.extras)
        found = []
        for each in self.previous.extras if self.previous else ():
            # An interrupted run may have replaced or deleted the file.
            if self._files.size(each.path) is not None:
                with self._files.open(each.path) as blocks:
                    sha256 = split_digest(digest_of_blocks(blocks))[1]
                if sha256 == each.sha256:
                    found.append(each)
                else:
                    found.append(BundleFile(each.path, self._files.size(each.path) or 0, sha256))
        return found

    def add_file(self, path: str, content: ExtraContent, size: int) -> None:
        self._sums[path] = self._write_extra(extra_path(path), content, size)

    def remove(self, names: Sequence[str], paths: Sequence[str]) -> None:
        if names:
            with write_errors(self.folder), folder_lock(self.folder):
                self.entries = without_entries(self.entries, names)
                self._write(INDEX_FILE, write_index(self.entries))
        for path in paths:
            self._delete(extra_path(path))
            self._sums.pop(path, None)

    def finish(self, bundle: BundleManifest) -> None:
        self._start()
        with write_errors(self.folder), folder_lock(self.folder):
            self.entries = sorted_entries(self.entries)
            self._write(INDEX_FILE, write_index(self.entries))
            self.bundle = self.previous = self._complete(bundle)

    def _complete(self, bundle: BundleManifest) -> BundleManifest:
        """Write the describing files, the one that marks the bundle as complete last."""
        kept = self._kept()
        self._delete_unneeded(kept)
        sums = {**self._blob_sums(kept), **self._extra_sums(bundle)}
        files = {LOCK_FILE: lock_content(bundle), BUNDLE_FILE: bundle_content(bundle)}
        listed = {**layout_files(self.entries), **files}
        sums.update({name: sha256_of(content) for name, content in listed.items()})
        delete_leftovers(self.folder, sums)
        self._write(LOCK_FILE, files[LOCK_FILE])
        self._write(SUMS_FILE, sums_content(sums))
        delete_temporary(self.folder, [*listed, SUMS_FILE, *(each.path for each in bundle.extras)])
        for folder in sorted({(self.folder / path).parent for path in sums}):
            sync_folder(folder)
        self._write(BUNDLE_FILE, files[BUNDLE_FILE])
        sync_folder(self.folder)
        return bundle

    def volumes(self) -> list[VolumeFolder]:
        return []

    def verify(self) -> Iterator[BundleFault]:
        return verify_bundle(self.folder)

    def _read_description(self) -> tuple[BundleManifest | None, bool]:
        """Return the existing description of the bundle, and whether it is complete."""
        # A damaged description is written again.
        with suppress(SourceError):
            return read_bundle(self._files) or (None, False)
        return None, False

    def _kept(self) -> dict[str, Descriptor]:
        """Return the content that the images need, by digest.

        Raises:
            DestinationError: Content is missing.
        """
        found = {digest: each for image in self._images() for digest, each in image.items()}
        kept = {digest: each for digest, each in found.items() if digest not in self.omitted}
        has = {digest for digest, each in kept.items() if self._files.size(blob_path(digest)) == each.size}
        require_blobs(self.description, kept, has, self.omitted)
        return {digest: each for digest, each in kept.items() if digest in has}

    def _images(self) -> Iterator[dict[str, Descriptor]]:
        """Yield the content of each image, by digest."""
        layout = OciLayoutSource(self._files)
        for entry in self.entries:
            yield reachable(layout, [entry], {})

    def _delete_unneeded(self, kept: Mapping[str, Descriptor]) -> None:
        """Delete the blobs that no image needs, and partial files."""
        needed = {self.folder / blob_path(digest) for digest in kept}
        for path in self.folder.glob("blobs/*/*"):
            if path not in needed:
                path.unlink()

    def _blob_sums(self, kept: Iterable[str]) -> dict[str, str]:
        """Return the sums of blobs by path. Only blobs with other digests than SHA-256 are read for that."""
        sums = {}
        for digest in kept:
            algorithm, encoded = split_digest(digest)
            path = blob_path(digest)
            if algorithm != "sha256":
                with self._files.open(path) as blocks:
                    encoded = split_digest(digest_of_blocks(blocks))[1]
            sums[path] = encoded
        return sums

    def _extra_sums(self, bundle: BundleManifest) -> dict[str, str]:
        """Return the sums of the files beside the images by path.

        Raises:
            DestinationError: A file is missing, or has another size or, if this run wrote it, another sum.
        """
        for each in bundle.extras:
            size = self._files.size(each.path)
            if size != each.size or self._sums.get(each.path, each.sha256) != each.sha256:
                found = "is missing" if size is None else "has other content"
                raise DestinationError(f"{each.path} in {self.description} {found}", "Run again")
        return {each.path: each.sha256 for each in bundle.extras}

    def _write_extra(self, path: str, content: ExtraContent, size: int) -> str:
        """Write a file and return its sum."""
        # This rejects symbolic links in its path.
        self._files.size(path)
        target = self._create_parent(path)
        if isinstance(content, bytes):
            replace_file(target, content)
            return sha256_of(content)
        partial, hasher, length = PartialFile(target), hashlib.sha256(), 0
        try:
            with write_errors(target):
                os.ftruncate(partial.descriptor, 0)
            with content() as blocks:
                for block in blocks:
                    hasher.update(block)
                    length += len(block)
                    with write_errors(target):
                        write_all(partial.descriptor, block)
            if length != size:
                raise SourceError(f"{content.what} has {length} bytes instead of {size}", "Run again")
            partial.finish()
        except BaseException:
            partial.abandon(keep=False)
            raise
        return hasher.hexdigest()

    def _delete(self, path: str) -> None:
        """Delete a file beside the images, and its folder if that is empty."""
        self._files.size(path)
        with write_errors(self.folder / path):
            delete_in_folder(self.folder / path, self.folder)
