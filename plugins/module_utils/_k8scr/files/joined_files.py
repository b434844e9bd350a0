# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the files of several folders as those of one folder. Files that are cut into parts are read as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import SourceError
from ..oci.content import Blocks
from .file_access import Files


@dataclass(frozen=True)
class Segment:
    """The first ``size`` bytes of a file, as a part of a larger file."""

    name: str
    size: int


class JoinedFiles:
    """The files of several folders; see :class:`Files`. The first folder that has a file is used.

    Args:
        folders: The folders in the order of the look-ups.
        cut: The segments of each file that is cut, by its name. It does not exist unless all segments do.
    """

    def __init__(
        self, folders: Sequence[Files], description: str, cut: Mapping[str, Sequence[Segment]] | None = None
    ) -> None:
        self.description = description
        self._folders = tuple(folders)
        self._cut = cut or {}

    def size(self, name: str) -> int | None:
        if name not in self._cut:
            return self._size(name)
        total = 0
        for segment in self._cut[name]:
            size = self._size(segment.name)
            if size is None:
                return None
            total += min(size, segment.size)
        return total

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Blocks]:
        if name in self._cut:
            yield self._read(self._cut[name], offset)
            return
        with self._find(name).open(name, offset) as blocks:
            yield blocks

    def close(self) -> None:
        for folder in self._folders:
            folder.close()

    def _size(self, name: str) -> int | None:
        return next((size for size in (folder.size(name) for folder in self._folders) if size is not None), None)

    def _find(self, name: str) -> Files:
        for folder in self._folders:
            if folder.size(name) is not None:
                return folder
        raise SourceError(f"{self.description} has no {name}")

    def _read(self, segments: Sequence[Segment], offset: int) -> Blocks:
        for segment in segments:
            left = segment.size - offset
            if left > 0:
                with self._find(segment.name).open(segment.name, offset) as blocks:
                    yield from _first(blocks, left)
            offset = max(offset - segment.size, 0)


def _first(blocks: Blocks, size: int) -> Blocks:
    """Yield the first ``size`` bytes of the content."""
    for block in blocks:
        yield block[:size]
        size -= len(block)
        if size <= 0:
            break
