# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify bundles: read all files, and compare them with their digests and with the description of the bundle."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from ..errors import DigestMismatchError, MissingManifestError, SourceError
from ..files.file_access import Files
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of_blocks, is_undamaged, split_digest
from ..oci.manifest import Manifest, is_nondistributable
from .bundle_format import LOCK_FILE, SUMS_FILE, VOLUME_FILE, BundleFault, read_sums
from .bundle_source import BundleSource, FoundVolume
from .layout_content import reachable
from .oci_index import BUNDLE_FILE, INDEX_FILE, LAYOUT_FILE, blob_path, entry_names
from .oci_layout import OciLayoutSource
from .volume_format import part_path


def check_bundle(source: BundleSource) -> Iterator[BundleFault]:
    """Read a whole bundle, and yield its faults: missing volumes first, then those of each volume.

    Raises:
        SourceError: The images cannot be listed at all.
    """
    return BundleChecker(source).faults()


class _DamagedLayout(OciLayoutSource):
    """A layout whose damaged manifests are treated as missing: what they refer to is unknown."""

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        try:
            return super().fetch_manifest(descriptor)
        except DigestMismatchError as error:
            raise MissingManifestError(error.message) from error


class BundleChecker:
    """The expected files of a bundle, each with the images that need it.

    Args:
        source: The bundle.
        on_read: Called with the number of bytes that were read.

    Raises:
        SourceError: The images cannot be listed at all.
    """

    def __init__(self, source: BundleSource, on_read: Callable[[int], None] = lambda count: None) -> None:
        self._source = source
        self._on_read = on_read
        self._volumes = source.bundle.volumes
        self._images: dict[str, set[str]] = {}
        self._everywhere: dict[str, tuple[str, int]] = {}
        self._blobs: dict[str, tuple[str, int]] = {}
        """The digest and the size of each blob by path: the manifests, then the other blobs."""
        layout = _DamagedLayout(source.files)
        for entry in source.entries:
            name = (*entry_names(entry), entry.digest)[0]
            for digest, each in reachable(layout, [entry], {}).items():
                if digest in source.bundle.omitted or is_nondistributable(each):
                    continue
                cut = self._volumes.cut.get(digest) if self._volumes else None
                paths = [part_path(digest, number) for number, _part in enumerate(cut, 1)] if cut else []
                for path in paths or [blob_path(digest)]:
                    self._images.setdefault(path, set()).add(name)
                if not cut:
                    on_volumes = self._volumes is not None and digest not in self._volumes.blobs
                    known = self._everywhere if on_volumes else self._blobs
                    known[blob_path(digest)] = digest, each.size

    @property
    def size(self) -> int:
        """The bytes of the files of the existing volumes that the description of the bundle requires."""
        return sum(size for volume in self._source.volumes for _digest, size in self._expected(volume).values())

    def faults(self) -> Iterator[BundleFault]:
        """Read the whole bundle and yield its faults; see :func:`check_bundle`."""
        for number in self._source.missing_volumes:
            paths = self._paths_on(number)
            images = sorted({image for path in paths for image in self._images.get(path, ())})
            yield BundleFault(number, "", tuple(images), "is missing")
        faults = [fault for volume in self._source.volumes for fault in self._check(volume)]
        yield from faults
        yield from self._check_cut_blobs({fault.path for fault in faults})

    def _paths_on(self, number: int) -> set[str]:
        """Return the paths of the blobs, the parts and the other files on a volume."""
        volumes = self._volumes
        if volumes is None:
            return {*self._blobs, *(extra.path for extra in self._source.bundle.extras)}
        found = {blob_path(digest) for digest, at in volumes.blobs.items() if at == number}
        found.update(path for path, at in volumes.files.items() if at == number)
        for digest, parts in volumes.cut.items():
            found.update(part_path(digest, n) for n, part in enumerate(parts, 1) if part.volume == number)
        return found

    def _check(self, volume: FoundVolume) -> Iterator[BundleFault]:
        """Yield the faults of one volume."""
        try:
            sums = read_sums(volume.files)
        except SourceError as error:
            yield BundleFault(volume.number, SUMS_FILE, (), error.message)
            sums = {}
        expected = self._expected(volume)
        own = {*((VOLUME_FILE,) if volume.number else ()), INDEX_FILE, LAYOUT_FILE, LOCK_FILE, BUNDLE_FILE}
        for path in sorted({*expected, *own, *sums}):
            problem = self._check_file(volume.files, path, expected.get(path), sums.get(path))
            if problem:
                yield BundleFault(volume.number, path, tuple(sorted(self._images.get(path, ()))), problem)

    def _check_cut_blobs(self, damaged: Container[str]) -> Iterator[BundleFault]:
        """Yield the faults of blobs that are cut, if all of their parts are undamaged."""
        for digest, parts in self._volumes.cut.items() if self._volumes else ():
            paths = [part_path(digest, number) for number, _part in enumerate(parts, 1)]
            size = self._source.files.size(blob_path(digest))
            if size is None or any(path in damaged for path in paths):
                continue
            with self._source.files.open(blob_path(digest)) as blocks:
                if not is_undamaged(blocks, digest, size):
                    images = tuple(sorted(self._images.get(paths[0], ())))
                    yield BundleFault(parts[0].volume, paths[0], images, "is not a part of its blob")

    def _expected(self, volume: FoundVolume) -> dict[str, tuple[str, int]]:
        """Return the digest and the size of each file that the description of the bundle requires, by path."""
        bundle, volumes = self._source.bundle, self._volumes
        on_volume = self._paths_on(volume.number or 0)
        expected = {path: each for path, each in self._blobs.items() if path in on_volume}
        expected.update(self._everywhere)
        for extra in bundle.extras:
            if extra.path in on_volume:
                expected[extra.path] = f"sha256:{extra.sha256}", extra.size
        for digest, parts in volumes.cut.items() if volumes else ():
            for number, part in enumerate(parts, 1):
                if part.volume == volume.number:
                    expected[part_path(digest, number)] = f"sha256:{part.sha256}", part.size
        return expected

    def _check_file(self, files: Files, path: str, expected: tuple[str, int] | None, stated: str | None) -> str | None:
        """Return the fault of a file, if any."""
        try:
            size = files.size(path)
            if size is None:
                return "is missing"
            if expected:
                digest, length = expected
                if size != length:
                    return f"has {size} bytes instead of {length}"
                if split_digest(digest)[0] == "sha256" and stated not in (None, split_digest(digest)[1]):
                    return f"has another sum in {SUMS_FILE} than in {BUNDLE_FILE}"
                with files.open(path) as blocks:
                    undamaged = is_undamaged(self._watch(blocks), digest, length)
                return None if undamaged else "is damaged: its content has another digest"
            if stated is None:
                return f"is not listed in {SUMS_FILE}"
            with files.open(path) as blocks:
                found = split_digest(digest_of_blocks(blocks))[1]
            return None if found == stated else f"is damaged: its content has another sum than in {SUMS_FILE}"
        except SourceError as error:
            return error.message

    def _watch(self, blocks: Blocks) -> Blocks:
        for block in blocks:
            self._on_read(len(block))
            yield block
