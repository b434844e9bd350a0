# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing tar archives whose entries' lengths are known before: several can be written at once.

The archive grows in a file beside its place and takes that place when it is whole. The next run
resumes the entries that an interrupted run reserved there; their content may be whole or not. Entries that are not
wanted in the end are removed before the archive is finished.
"""

from __future__ import annotations

import errno
import os
import tarfile
import threading
from collections.abc import Collection
from pathlib import Path

from ..errors import SourceError
from ..oci.content import Blocks
from .file_access import file_blocks, writing
from .partial_file import Part, forget_expired
from .tar_reader import TarFiles

_BLOCK = 512


class TarWriter:
    """A tar archive in the making.

    Args:
        path: Where it shall be.
        prefix: What the names of entries begin with that are worth going on with.

    Attributes:
        left_over: Where the content of such entries begins and how long it is, in bytes, by their names.

    Raises:
        DestinationError: Nothing can be written there.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        forget_expired(path.parent, path.name)
        self._part = Part(path)
        self._descriptor = self._part.descriptor
        self.left_over = _left_over(self._part, prefix)
        self._entries = dict(self.left_over)
        self._end = max((start + _padded(size) for start, size in self.left_over.values()), default=0)
        with writing(path):
            os.ftruncate(self._descriptor, self._end)

    def reserve(self, name: str, size: int) -> int:
        """Make room for an entry and return where its content begins, in bytes.

        Raises:
            DestinationError: The disk is full.
        """
        header = _header(name, size)
        with self._lock:
            position = self._end
            start = position + len(header)
            end = start + _padded(size)
            with writing(self.path):
                _make_room(self._descriptor, position, end - position)
            self._entries[name], self._end = (start, size), end
        self.write(position, memoryview(header))
        return start

    def write(self, position: int, block: memoryview) -> None:
        """Write ``block`` at ``position`` (bytes).

        Raises:
            DestinationError: The disk is full or broken.
        """
        with writing(self.path):
            while block:
                count = os.pwrite(self._descriptor, block, position)
                block, position = block[count:], position + count

    def read(self, position: int, size: int) -> Blocks:
        """Read ``size`` bytes of the archive from ``position`` (bytes) on."""
        return file_blocks(self._descriptor, position, size, str(self._part.place))

    def add(self, name: str, content: bytes) -> None:
        """Write a small entry."""
        self.write(self.reserve(name, len(content)), memoryview(content))

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all entries but these, and close the gaps; nothing may be written to an entry meanwhile.

        Raises:
            DestinationError: The disk is broken.
            SourceError: What was written cannot be read.
        """
        position = 0
        for name, (start, size) in sorted(self._entries.items(), key=lambda entry: entry[1]):
            if name not in names:
                del self._entries[name]
                continue
            header = _header(name, size)
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
        with writing(self.path):
            os.ftruncate(self._descriptor, position)

    def finish(self) -> None:
        """End the archive and put it in its place, whole and on disk.

        Raises:
            DestinationError: It cannot be; what was there before stays.
        """
        self.write(self._end, memoryview(bytes(2 * _BLOCK)))
        self._part.finish()

    def abandon(self, keep: bool) -> None:
        """Let go of it, and leave nothing unless the next run shall go on with it."""
        self._part.abandon(keep)


def _make_room(descriptor: int, position: int, length: int) -> None:
    """Have a full disk say so now; macOS and some file systems say it only when they are written to."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, position, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o644
    return header.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _left_over(part: Part, prefix: str) -> dict[str, tuple[int, int]]:
    if not part.size():
        return {}
    try:
        files = TarFiles(part.place)
    except SourceError:
        return {}
    files.close()
    found: dict[str, tuple[int, int]] = {}
    end = 0
    for name, (start, size) in sorted(files.entries.items(), key=lambda entry: entry[1]):
        # What comes after the first of another kind was written when the archive was about to be whole.
        if not name.startswith(prefix) or start != end + len(_header(name, size)):
            break
        found[name] = (start, size)
        end = start + _padded(size)
    return found
