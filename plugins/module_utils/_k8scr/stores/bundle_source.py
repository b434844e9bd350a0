# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read bundles in place: folders, archives and volumes. Nothing is joined on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DigestMismatchError, InputError, K8scrError, MissingVolumeError, SourceError
from ..files.file_access import Files, FolderFiles, closed_on_failure, read_errors
from ..files.joined_files import JoinedFiles, Segment
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_manifests
from ..oci.interfaces import SourceImage
from ..oci.reference import Reference, parse_reference
from .bundle_format import STAGING_FOLDER, VOLUME_FILE, BundleManifest, Part, Volumes, complete_bundle, with_identity
from .oci_index import BUNDLE_FILE, INDEX_FILE, blob_path, entry_names, full_name
from .oci_layout import OciLayoutSource
from .part_check import PartCheck
from .volume_format import part_path, read_volume

_MOST_NAMES = 10
"""Names in one message."""


@dataclass(frozen=True)
class FoundVolume:
    """A volume at hand.

    Attributes:
        number: Its number; ``None`` for a bundle without volumes.
    """

    number: int | None
    files: Files


class BundleSource(OciLayoutSource):
    """A bundle as a source of images.

    Attributes:
        bundle: Its description.
        volumes: The volumes at hand, or the only folder or archive.
        missing_volumes: The numbers of the volumes that are not at hand.

    Raises:
        SourceError: The bundle is incomplete or damaged.
    """

    def __init__(self, files: Files, bundle: BundleManifest, volumes: Sequence[FoundVolume]) -> None:
        self.bundle = bundle
        self.volumes = tuple(volumes)
        at_hand = {volume.number for volume in volumes}
        count = bundle.volumes.count if bundle.volumes else 0
        self.missing_volumes = tuple(number for number in range(1, count + 1) if number not in at_hand)
        self._cut = bundle.volumes.cut if bundle.volumes else {}
        self._part_check = PartCheck(files, self._cut)
        super().__init__(files)
        self._check_names()

    def images(self, name: str | None = None) -> list[SourceImage]:
        if name is None and not self.entries:
            # The other side has all images of the task that made the bundle.
            return []
        return [replace(image, name=image.name or self._name(image), sparse=self) for image in super().images(name)]

    def _name(self, image: SourceImage) -> Reference | None:
        """Return the name of an image without a tag, which has no name in ``index.json``."""
        names = [each.name for each in self.bundle.images if each.digest == image.root.digest]
        for name in names if image.name_error is None else ():
            with suppress(InputError):
                return parse_reference(name)
        return None

    def omission(self, blob: Descriptor) -> K8scrError | None:
        """See :class:`SparseContent`."""
        if blob.digest not in self.bundle.omitted:
            return None
        names = [f"{image.name} ({image.digest})" for image in self.bundle.base]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return SourceError(
            f"{self.description} leaves out the blob {blob.digest}, and the destination does not have it",
            f"Deliver the base of this bundle first: {', '.join(names[:_MOST_NAMES]) or 'an earlier bundle'}{more}",
        )

    def absence(self, blob: Descriptor, offset: int = 0) -> K8scrError | None:
        """See :class:`SparseContent`."""
        volumes, end = self.bundle.volumes, 0
        for part in self._parts(blob):
            end += part.size
            if volumes and end > offset and part.volume in self.missing_volumes:
                # Without the digest, images that need the same volume share a line of the message.
                what = "a part of a blob" if blob.digest in volumes.cut else "a blob"
                return MissingVolumeError(
                    f"{what} is on volume {part.volume}, which {self.description} does not have",
                    f"Insert volume {part.volume} of {volumes.count} (bundle {short_id(volumes)}) and run again",
                )
        return None

    def location(self, blob: Descriptor) -> str:
        """See :class:`SparseContent`."""
        numbers = {part.volume for part in self._parts(blob)}
        return f"on volume {numbers.pop()} of {self.description}" if len(numbers) == 1 else f"in {self.description}"

    def has_part(self, blob: Descriptor) -> bool:
        """See :class:`SparseContent`."""
        parts = self._parts(blob)
        return not parts or any(part.volume not in self.missing_volumes for part in parts)

    def end(self, blob: Descriptor, offset: int) -> int:
        """See :class:`SparseContent`."""
        start = 0
        for part in self._parts(blob):
            if start + part.size > offset and part.volume in self.missing_volumes:
                return max(start, offset)
            start += part.size
        return blob.size

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        if self.absence(descriptor) is None:
            with super().open_blob(descriptor, offset) as blocks:
                is_cut = descriptor.digest in self._cut
                yield self._part_check.watch(descriptor.digest, blocks, offset) if is_cut else blocks
            return
        absence, end = self.absence(descriptor, offset), self.end(descriptor, offset)
        if absence and end == offset:
            self._part_check.check_parts_before(descriptor.digest, offset, self.missing_volumes)
            raise absence
        with self.files.open(blob_path(descriptor.digest), offset) as blocks:
            watched = self._part_check.watch(descriptor.digest, blocks, offset)
            yield _until(watched, end - offset, absence) if absence else watched

    def _parts(self, blob: Descriptor) -> tuple[Part, ...]:
        """Return the parts of a blob; a blob that is not cut has one part."""
        volumes = self.bundle.volumes
        if volumes is None or blob.digest not in volumes.blobs.keys() | volumes.cut.keys():
            return ()
        return volumes.cut.get(blob.digest) or (Part(volumes.blobs[blob.digest], blob.size, ""),)

    def repositories(self, root: Descriptor) -> list[str]:
        """See :class:`SparseContent`."""
        if not self.bundle.omitted:
            return []
        try:
            blobs = [blob.digest for each in walk_manifests(self, root, partial=True) for blob in each.blobs]
        except (SourceError, DigestMismatchError):
            # The copy of the image reports it.
            return []
        omitted = [self.bundle.omitted[digest] for digest in blobs if digest in self.bundle.omitted]
        return list(dict.fromkeys(repository for each in omitted for repository in each.repositories))

    def is_whole(self, root: Descriptor, has_blob: Callable[[Descriptor], bool] | None = None) -> bool:
        exists = has_blob or self.has_blob
        return super().is_whole(root, lambda blob: blob.digest in self.bundle.omitted or exists(blob))

    def _missing(self, kind: str, descriptor: Descriptor) -> tuple[str, str]:
        error = self.absence(descriptor) or self.omission(descriptor)
        if error is None:
            return super()._missing(kind, descriptor)
        return error.message, error.advice or ""

    def _check_names(self) -> None:
        """Check that ``index.json`` has the images of the bundle, and no other images with full names."""
        stated = {image.name: image.digest for image in self.bundle.images}
        found = {name: entry.digest for entry in self.entries for name in entry_names(entry)}
        unnamed = {entry.digest for entry in self.entries if not entry_names(entry)}
        for name, digest in stated.items():
            # An image without a tag has no name in index.json.
            if found.get(name, digest if digest in unnamed else None) != digest:
                raise self._changed(name, found.get(name, "no image"), digest)
        for entry in self.entries:
            if full_name(entry) and stated.keys().isdisjoint(entry_names(entry)):
                raise self._changed(entry_names(entry)[0], entry.digest, "no image")

    def _changed(self, name: str, found: str, stated: str) -> SourceError:
        return SourceError(
            f"{INDEX_FILE} in {self.description} has {found} for {name}, and {BUNDLE_FILE} has {stated}",
            "The bundle was changed after k8scr_bundle finished it; copy or create it again",
        )


def _until(blocks: Blocks, length: int, error: K8scrError) -> Blocks:
    """Yield the first bytes of a blob, and then raise the error for the missing ones."""
    for block in blocks:
        yield block[:length]
        length -= len(block)
        if length <= 0:
            break
    raise error


def open_bundle(path: Path, tmp_dest: str | None = None) -> BundleSource:
    """Open a bundle: a folder, an archive, a volume, or a folder whose subfolders are volumes.

    Args:
        path: The folder or the archive.
        tmp_dest: The folder for an archive that has to be unpacked; by default TMPDIR or ``/var/tmp``.

    Raises:
        SourceError: There is no complete bundle at the path.
    """
    if path.is_dir():
        folders = _volume_folders(path)
        if folders:
            return _open_volumes(path, folders)
        files: Files = FolderFiles(path)
    else:
        from ..files.tar_reader import TarFiles

        files = TarFiles(path, tmp_dest=tmp_dest)
    with closed_on_failure(files):
        return open_bundle_files(files)


def open_bundle_files(files: Files) -> BundleSource:
    """Open a bundle in one folder or archive; see :func:`open_bundle`."""
    bundle = complete_bundle(files)
    if bundle.volumes:
        raise SourceError(f"{files.description} is a volume without its file {VOLUME_FILE}", "Copy the volume again")
    return BundleSource(files, bundle, [FoundVolume(None, files)])


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle, a volume of one, or has subfolders that are volumes."""
    return FolderFiles(path).size(BUNDLE_FILE) is not None or bool(_volume_folders(path))


def short_id(volumes: Volumes) -> str:
    """Return the ID of a bundle on volumes for messages."""
    return volumes.id[:12]


def _volume_folders(path: Path) -> list[Path]:
    """Return the folders that are volumes: the folder itself, or its subfolders."""
    with read_errors(path):
        if (path / VOLUME_FILE).exists():
            return [path]
        if (path / INDEX_FILE).exists() or (path / BUNDLE_FILE).exists():
            return []
        return [each for each in sorted(path.iterdir()) if each.name != STAGING_FOLDER and _has_volume_file(each)]


def _has_volume_file(folder: Path) -> bool:
    # The folders beside the volumes may be of other users.
    try:
        return (folder / VOLUME_FILE).is_file()
    except OSError:
        return False


def _open_volumes(path: Path, folders: Sequence[Path]) -> BundleSource:
    """Open the volumes of one bundle.

    Raises:
        SourceError: The volumes are of different bundles, or one is incomplete or damaged.
    """
    found: list[FoundVolume] = []
    first: tuple[Path, BundleManifest, Volumes] | None = None
    for folder in folders:
        files = FolderFiles(folder)
        bundle = complete_bundle(files)
        identity, number = read_volume(files)
        volumes = bundle.volumes
        expected = with_identity(bundle).volumes
        if volumes is None or expected is None or not identity == volumes.id == expected.id or number > volumes.count:
            raise SourceError(
                f"{VOLUME_FILE} and {BUNDLE_FILE} in {files.description} do not belong together",
                "The volume was copied incompletely or over another one; copy it again",
            )
        if first is None:
            first = folder, bundle, volumes
        elif volumes.id != first[2].id:
            raise SourceError(
                f"{folder} has volume {number} of the bundle {short_id(volumes)}, and {first[0]} has a volume of"
                f" {short_id(first[2])}",
                "Insert volumes of one bundle. Each change of a bundle changes its ID: copy all of its volumes again",
            )
        found.append(FoundVolume(number, files))
    if first is None:
        raise SourceError(f"{path} has no volumes", "Check the path, and that the medium is mounted")
    cut = {
        blob_path(digest): [Segment(part_path(digest, number), part.size) for number, part in enumerate(parts, 1)]
        for digest, parts in first[2].cut.items()
    }
    joined = JoinedFiles([volume.files for volume in found], f"the bundle in {path}", cut)
    return BundleSource(joined, first[1], found)
