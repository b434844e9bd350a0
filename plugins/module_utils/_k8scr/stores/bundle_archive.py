# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write bundles as tar archives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DestinationError, SourceError
from ..files.tar_writer import TarWriter
from ..oci.content import Blocks
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
from .bundle_store import ExtraContent, VolumeFolder, require_blobs, sorted_entries, verify_bundle, without_entries
from .oci_archive import OciArchiveDestination
from .oci_index import BUNDLE_FILE, blob_path


class BundleArchive(OciArchiveDestination):
    """A bundle in a tar archive as a destination; see :class:`BundleStore`.

    The archive is replaced when the bundle is finished, so it is complete at any time.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._added: dict[str, tuple[ExtraContent, int]] = {}
        self._finished: BundleManifest | None = None
        self.bundle: BundleManifest | None = None
        if self._files:
            # A damaged description is written again.
            with suppress(SourceError):
                found, complete = read_bundle(self._files) or (None, False)
                self.bundle = found if complete else None
        self.previous = self.bundle

    def begin(self) -> None:
        """Do nothing: the existing archive stays complete until it is replaced."""

    def reserve(self, blobs: Iterable[Descriptor]) -> None:
        self._open_writer().reserve_all({blob_path(blob.digest): blob.size for blob in blobs})

    def extras(self) -> list[BundleFile]:
        return list(self.bundle.extras) if self.bundle else []

    def add_file(self, path: str, content: ExtraContent, size: int) -> None:
        self._added[extra_path(path)] = content, size

    def remove(self, names: Sequence[str], paths: Sequence[str]) -> None:
        self.entries = without_entries(self.entries, names)
        for path in paths:
            self._added.pop(path, None)

    def commit(self) -> None:
        """Do nothing: the images are written to the archive when the bundle is finished."""

    def finish(self, bundle: BundleManifest) -> None:
        self.entries = sorted_entries(self.entries)
        self._finished = bundle
        kept = {digest: each for digest, each in self._content().items() if digest not in self.omitted}
        has = {digest for digest, each in kept.items() if digest in self._manifests or self.will_have(each)}
        require_blobs(self.description, kept, has, self.omitted)
        self._replace({digest: each for digest, each in kept.items() if digest in has})
        self.bundle = self.previous = bundle

    def volumes(self) -> list[VolumeFolder]:
        return []

    def verify(self) -> Iterator[BundleFault]:
        return verify_bundle(self.path)

    def _write_more(self, writer: TarWriter, kept: Mapping[str, Descriptor]) -> None:
        bundle = self._finished or BundleManifest()
        sums = {blob_path(digest): self._blob_sum(writer, digest) for digest in kept}
        sums.update({name: sha256_of(content) for name, content in self.index_files().items()})
        for extra in sorted(bundle.extras, key=lambda each: each.path):
            self._write_extra(writer, extra)
            sums[extra.path] = extra.sha256
        # A truncated archive is incomplete: it does not have the last file.
        files = {LOCK_FILE: lock_content(bundle), BUNDLE_FILE: bundle_content(bundle)}
        sums.update({name: sha256_of(content) for name, content in files.items()})
        writer.add(LOCK_FILE, files[LOCK_FILE])
        writer.add(SUMS_FILE, sums_content(sums))
        writer.add(BUNDLE_FILE, files[BUNDLE_FILE])

    def _blob_sum(self, writer: TarWriter, digest: str) -> str:
        """Return the sum of a blob. Only blobs with other digests than SHA-256 are read for that."""
        algorithm, encoded = split_digest(digest)
        if algorithm == "sha256":
            return encoded
        return split_digest(digest_of_blocks(writer.read_entry(blob_path(digest))))[1]

    def _write_extra(self, writer: TarWriter, extra: BundleFile) -> None:
        """Write a file of this run or of the existing archive, and verify it."""
        position, hasher = writer.reserve(extra.path, extra.size), hashlib.sha256()
        length = 0
        with self._open_extra(extra) as blocks:
            for block in blocks:
                hasher.update(block)
                length += len(block)
                if length > extra.size:
                    break
                writer.write(position, block)
                position += len(block)
        if length != extra.size or hasher.hexdigest() != extra.sha256:
            raise DestinationError(f"{extra.path} for {self.description} has other content than expected", "Run again")

    @contextmanager
    def _open_extra(self, extra: BundleFile) -> Iterator[Blocks]:
        content, _size = self._added.get(extra.path, (None, 0))
        if isinstance(content, bytes):
            yield iter([memoryview(content)])
        elif content is not None:
            with content() as blocks:
                yield blocks
        elif self._files is not None and self._files.size(extra.path) is not None:
            with self._files.open(extra.path) as blocks:
                yield blocks
        else:
            raise DestinationError(f"{extra.path} in {self.description} is missing", "Run again")
