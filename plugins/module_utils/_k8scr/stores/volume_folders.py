# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Move the files of a bundle to the folders of its volumes, without a second copy of all data.

A file is moved by a rename. A large blob is cut from its end: a part is copied and synced to disk, then the blob is
truncated. At any time, the data that is already written can be read, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DestinationError
from ..files.file_access import FolderFiles, file_blocks, open_regular, sync, write_all
from ..files.joined_files import JoinedFiles, Segment
from ..files.partial_file import PartialFile
from ..oci.content import Blocks
from ..oci.decimal import parse_decimal
from ..oci.digest import digest_of_blocks, split_digest
from .bundle_format import PARTS_FOLDER, STAGING_FOLDER, Part, Volumes
from .bundle_store import delete_in_folder, delete_leftovers
from .oci_index import blob_path
from .volume_format import part_path
from .volume_plan import UNKNOWN_SUM

_VOLUME = re.compile("volume-([1-9][0-9]{0,3})")


class VolumeFolders:
    """The folders of volumes in one folder, and the folder for new files.

    Raises:
        DestinationError: The folder has other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / STAGING_FOLDER
        if folder.exists() and not folder.is_dir():
            raise DestinationError(f"{folder} is not a folder", "Choose another path for the volumes")
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != STAGING_FOLDER and not _VOLUME.fullmatch(path.name):
                raise DestinationError(
                    f"{folder} has other files than volumes, such as {path.name}", "Choose an empty or a new folder"
                )
            if path.is_symlink() or not path.is_dir():
                raise DestinationError(f"{path} is not a folder", "Remove it first")

    def numbers(self) -> list[int]:
        """Return the numbers of the existing volumes."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        numbers = (parse_decimal(match[1]) for match in map(_VOLUME.fullmatch, names) if match)
        return sorted(number for number in numbers if number)

    def path(self, number: int) -> Path:
        """Return the folder of a volume."""
        return self.folder / f"volume-{number}"

    def joined(self, description: str, volumes: Volumes | None) -> JoinedFiles:
        """Return the files of all volumes as those of one folder; new files replace those on the volumes."""
        folders = [FolderFiles(self.staging), *(FolderFiles(self.path(number)) for number in self.numbers())]
        cut = {}
        for digest, parts in volumes.cut.items() if volumes else ():
            head, size = self._head(digest, parts)
            total = sum(part.size for part in parts)
            # Until it is cut, the whole blob is in one folder.
            if all(files.size(blob_path(digest)) != total for files in folders):
                rest = [Segment(part_path(digest, number), part.size) for number, part in enumerate(parts, 1)][head:]
                cut[blob_path(digest)] = [*([Segment(blob_path(digest), size)] if head else []), *rest]
        return JoinedFiles(folders, description, cut)

    def move(self, path: str, number: int) -> None:
        """Move a file to a volume, and delete its other copies. A new file replaces the one on the volume."""
        target = self._create_parent(number, path)
        places = [folder / path for folder in self._folders() if (folder / path).is_file()]
        if places and (target not in places or places[0] == self.staging / path):
            places.pop(0).replace(target)
        for place in places:
            if place != target:
                place.unlink()

    def join(self, digest: str, parts: Sequence[Part]) -> None:
        """Join the parts of a blob in the folder for new files, one after the other, and delete them."""
        blob = self.staging / blob_path(digest)
        head, size = self._head(digest, parts)
        if size == sum(part.size for part in parts):
            return
        if not head:
            blob.parent.mkdir(parents=True, exist_ok=True)
            self._find_part(digest, 1).replace(blob)
            head, size = 1, parts[0].size
        with blob.open("r+b", buffering=0) as file:
            file.truncate(size)
            file.seek(size)
            for number in range(head + 1, len(parts) + 1):
                part = self._find_part(digest, number)
                for block in _read(part, 0, parts[number - 1].size):
                    write_all(file.fileno(), block)
                sync(file.fileno())
                part.unlink()

    def cut(self, digest: str, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Cut a blob into parts on their volumes, as far as that is not done yet, and return these with their sums."""
        blob, path = self.staging / blob_path(digest), blob_path(digest)
        if not blob.exists():
            whole = [each for each in (self.path(number) / path for number in self.numbers()) if each.is_file()]
            if whole:
                blob.parent.mkdir(parents=True, exist_ok=True)
                whole[0].replace(blob)
        done = []
        offset = sum(part.size for part in parts)
        for number, part in reversed(list(enumerate(parts, 1))):
            offset -= part.size
            done.append(self._cut_part(blob, digest, number, part, offset))
        return tuple(reversed(done))

    def clean(self, number: int, needed: Collection[str], files: Collection[str]) -> None:
        """Delete the blobs and parts of a volume, and the other ``files``, that are not needed."""
        folder = self.path(number)
        found = [*folder.glob("blobs/*/*"), *folder.glob(f"{PARTS_FOLDER}/*"), *(folder / path for path in files)]
        for path in found:
            name = path.relative_to(folder).as_posix()
            if name not in needed:
                delete_in_folder(path, folder)
        delete_leftovers(folder, needed)

    def delete_from(self, number: int) -> None:
        """Delete the volumes from this number on."""
        for each in self.numbers():
            if each >= number:
                shutil.rmtree(self.path(each))

    def _cut_part(self, blob: Path, digest: str, number: int, part: Part, offset: int) -> Part:
        name = part_path(digest, number)
        target = self._create_parent(part.volume, name)
        if blob.exists() and blob.stat().st_size > offset:
            if offset:
                _copy(blob, offset, part.size, target)
                os.truncate(blob, offset)
            else:
                blob.replace(target)
            return replace(part, sha256=_sum(target, part.size))
        self.move(name, part.volume)
        return replace(part, sha256=_sum(target, part.size)) if part.sha256 == UNKNOWN_SUM else part

    def _head(self, digest: str, parts: Sequence[Part]) -> tuple[int, int]:
        """Return how many parts are at the beginning of the blob in the folder for new files, and their bytes."""
        existing = FolderFiles(self.staging).size(blob_path(digest)) or 0
        size = count = 0
        for part in parts:
            if size + part.size > existing:
                break
            size, count = size + part.size, count + 1
        return count, size

    def _find_part(self, digest: str, number: int) -> Path:
        name = part_path(digest, number)
        return next(each for each in (folder / name for folder in self._folders()) if each.is_file())

    def _folders(self) -> Iterator[Path]:
        yield self.staging
        for number in self.numbers():
            yield self.path(number)

    def _create_parent(self, number: int, path: str) -> Path:
        target = self.path(number) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _copy(blob: Path, offset: int, size: int, target: Path) -> None:
    partial = PartialFile(target)
    try:
        os.ftruncate(partial.descriptor, 0)
        for block in _read(blob, offset, size):
            write_all(partial.descriptor, block)
        partial.finish()
    except BaseException:
        partial.abandon(keep=False)
        raise


def _read(path: Path, offset: int, size: int) -> Blocks:
    descriptor = open_regular(path)
    try:
        yield from file_blocks(descriptor, offset, size, str(path))
    finally:
        os.close(descriptor)


def _sum(path: Path, size: int) -> str:
    return split_digest(digest_of_blocks(_read(path, 0, size)))[1]
