# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write tar archives. Entry sizes are known in advance, so several entries can be written in parallel.

The archive is written to a partial file and renamed when complete. The next run resumes the entries that an
interrupted run reserved, complete or not. Unneeded entries are removed before the archive is finished.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import SourceError
from ..oci.content import Blocks
from .file_access import UNSUPPORTED, file_blocks, write_errors
from .partial_file import PartialFile, delete_expired_partials
from .tar_reader import TarFiles

_BLOCK = 512


class TarWriter:
    """An unfinished tar archive. Entries can be resumed if their names start with ``prefix``.

    Attributes:
        left_over: The offset and the size in bytes of resumable entries' content, by name.
        reserved: The offset of the content of new entries that were reserved before they are written, by name.

    Raises:
        DestinationError: The partial file cannot be created.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        delete_expired_partials(path.parent, path.name)
        self._partial = PartialFile(path)
        self.left_over = _left_over(self._partial, prefix)
        self.reserved: dict[str, int] = {}
        self._entries = dict(self.left_over)
        self._end = max((start + _padded(size) for start, size in self.left_over.values()), default=0)
        with write_errors(path):
            os.ftruncate(self._partial.descriptor, self._end)

    def reserve(self, name: str, size: int) -> int:
        """Allocate an entry and return the offset of its content in bytes.

        Raises:
            DestinationError: The disk is full.
        """
        header = tar_header(name, size)
        with self._lock:
            position = self._end
            start = position + len(header)
            end = start + _padded(size)
            with write_errors(self.path):
                _allocate(self._partial.descriptor, position, end - position)
            self._entries[name], self._end = (start, size), end
        self.write(position, memoryview(header))
        return start

    def reserve_all(self, sizes: Mapping[str, int]) -> None:
        """Reserve entries in this order, to be written later; they are in ``reserved`` or in ``left_over``.

        Entries of an interrupted run are kept if they are the first ones of this order.

        Raises:
            DestinationError: The disk is full.
        """
        resumed = sorted(self.left_over.items(), key=lambda entry: entry[1])
        wanted = list(sizes.items())
        same = 0
        while same < min(len(resumed), len(wanted)) and (resumed[same][0], resumed[same][1][1]) == wanted[same]:
            same += 1
        for name, _place in resumed[same:]:
            del self._entries[name]
        self.left_over = dict(resumed[:same])
        self._end = max((start + _padded(size) for start, size in self.left_over.values()), default=0)
        with write_errors(self.path):
            os.ftruncate(self._partial.descriptor, self._end)
        for name, size in wanted[same:]:
            self.reserved[name] = self.reserve(name, size)

    def read_entry(self, name: str) -> Blocks:
        """Read the content of an entry."""
        return self.read(*self._entries[name])

    def write(self, position: int, block: memoryview) -> None:
        """Write ``block`` at ``position`` (bytes).

        Raises:
            DestinationError: The disk is full or broken.
        """
        with write_errors(self.path):
            while block:
                count = os.pwrite(self._partial.descriptor, block, position)
                block, position = block[count:], position + count

    def read(self, position: int, size: int) -> Blocks:
        """Read ``size`` bytes of the archive at ``position`` (bytes)."""
        return file_blocks(self._partial.descriptor, position, size, str(self._partial.path))

    def add(self, name: str, content: bytes) -> None:
        """Write a small entry."""
        self.write(self.reserve(name, len(content)), memoryview(content))

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all other entries and close the gaps. No entry may be written at the same time.

        Raises:
            DestinationError: The disk is broken.
            SourceError: The partial file cannot be read.
        """
        position = 0
        for name, (start, size) in sorted(self._entries.items(), key=lambda entry: entry[1]):
            if name not in names:
                del self._entries[name]
                continue
            header = tar_header(name, size)
            moved = position + len(header)
            if moved != start:
                self.write(position, memoryview(header))
                for block in self.read(start, size):
                    self.write(moved, block)
                    moved += len(block)
                self.write(moved, memoryview(bytes(_padded(size) - size)))
            self._entries[name] = (position + len(header), size)
            position += len(header) + _padded(size)
        self.left_over.clear()
        self._end = position
        with write_errors(self.path):
            os.ftruncate(self._partial.descriptor, position)

    def finish(self) -> None:
        """Write the end of the archive, sync it to disk, and rename it to its final path.

        Raises:
            DestinationError: The archive cannot be written. An existing archive is unchanged.
        """
        self.write(self._end, memoryview(bytes(2 * _BLOCK)))
        self._partial.finish()

    def abandon(self, keep: bool) -> None:
        """Close the partial file, and delete it unless the next run should resume it."""
        self._partial.abandon(keep)


def _allocate(descriptor: int, position: int, length: int) -> None:
    """Reserve disk space, so that a full disk fails early. macOS and some file systems do not support this."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, position, length)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise


def tar_header(name: str, size: int) -> bytes:
    """Return the header of a regular file."""
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o644
    return header.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _left_over(partial: PartialFile, prefix: str) -> dict[str, tuple[int, int]]:
    if not partial.size():
        return {}
    try:
        files = TarFiles(partial.path)
    except SourceError:
        return {}
    files.close()
    found: dict[str, tuple[int, int]] = {}
    end = 0
    for name, (start, size) in sorted(files.entries.items(), key=lambda entry: entry[1]):
        # The first entry with another name starts the final part of the archive, which every run writes again.
        if not name.startswith(prefix) or start != end + len(tar_header(name, size)):
            break
        found[name] = (start, size)
        end = start + _padded(size)
    return found
