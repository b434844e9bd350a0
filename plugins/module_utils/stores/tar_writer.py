# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing tar archives whose entries' lengths are known before: several can be written at once.

The archive grows in a file beside its place and takes that place when it is whole.
"""

from __future__ import annotations

import os
import tarfile
import threading
from pathlib import Path

from .files import writing
from .partial_file import Part

_BLOCK = 512


class TarWriter:
    """A tar archive in the making.

    Args:
        path: Where it shall be.

    Raises:
        DestinationError: Nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._end = 0
        self._part = Part(path)
        self._descriptor = self._part.descriptor
        with writing(path):
            # What a run that was killed left: its entries are those of another copy.
            os.ftruncate(self._descriptor, 0)

    def reserve(self, name: str, size: int) -> int:
        """Make room for an entry and return where its content begins, in bytes.

        Raises:
            DestinationError: The disk is full.
        """
        header = tarfile.TarInfo(name)
        header.size = size
        header.mode = 0o644
        content = header.tobuf(tarfile.PAX_FORMAT)
        with self._lock:
            position = self._end
            start = position + len(content)
            self._end = start + -(-size // _BLOCK) * _BLOCK
            with writing(self.path):
                os.posix_fallocate(self._descriptor, position, self._end - position)
        self.write(position, memoryview(content))
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

    def add(self, name: str, content: bytes) -> None:
        """Write a small entry."""
        self.write(self.reserve(name, len(content)), memoryview(content))

    def finish(self) -> None:
        """End the archive and put it in its place, whole and on disk.

        Raises:
            DestinationError: It cannot be; what was there before stays.
        """
        self.write(self._end, memoryview(bytes(2 * _BLOCK)))
        self._part.finish()

    def abandon(self) -> None:
        """Leave nothing of it."""
        self._part.abandon(keep=False)
