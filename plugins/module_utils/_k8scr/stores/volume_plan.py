# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Assign the content of a bundle to volumes, no I/O. The same content always gives the same volumes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import DestinationError
from .bundle_format import MAXIMUM_VOLUMES, Part, Volumes
from .oci_index import blob_path
from .volume_format import part_path

_LARGEST_FILE = (4 << 30) - (32 << 10)
"""Bytes of the largest file. FAT32 has a limit of 4 GiB - 1."""
_FILE_OVERHEAD = 64 + 3 + 256
"""Bytes for each file beside its content: its line in SHA256SUMS, without its path, and its entry in a folder."""
_LARGEST_CLUSTER = 32 << 10
_SMALLEST_CLUSTER = 512
_CLUSTERS = 1 << 20
_LIST_ENTRY = 32
"""Bytes for the volume of each blob and file in bundle.json beside its name."""
_PART_ENTRY = 192
"""Bytes for each part of a blob in bundle.json."""
_SLACK = 64
"""A part of a cut blob leaves this fraction of a volume free, so that it stays if the bundle gets more manifests."""
UNKNOWN_SUM = "0" * 64
"""The sum of a part that is not written yet."""


@dataclass(frozen=True)
class VolumeContent:
    """The content to assign.

    Attributes:
        every: The sizes in bytes of the files that are on every volume, by path.
        blobs: The sizes of the blobs, by digest, for each image: blobs of one image stay together where possible.
        files: The sizes of the files beside the images, by path; they go to the first volumes.
    """

    every: Mapping[str, int]
    blobs: Sequence[Mapping[str, int]]
    files: Mapping[str, int] = field(default_factory=dict)


def plan_volumes(content: VolumeContent, size: int, previous: Volumes | None = None) -> Volumes:
    """Assign content to volumes. What an existing bundle has stays on its volume where possible.

    Args:
        size: The bytes that the files of a volume can have.
        previous: The volumes of the existing bundle.

    Returns:
        The volumes, without their ID. The sums of new parts are ``UNKNOWN_SUM``.

    Raises:
        DestinationError: The content does not fit in volumes of this size.
    """
    plan = _Plan(content, size)
    if previous:
        plan.keep(previous)
    for path in sorted(content.files):
        plan.place_file(path)
    for blobs in content.blobs:
        plan.place_blobs(blobs)
    return plan.result()


class _Plan:
    def __init__(self, content: VolumeContent, size: int) -> None:
        self._content = content
        self._size = size
        self._cluster = max(min(_largest_power(size // _CLUSTERS), _LARGEST_CLUSTER), _SMALLEST_CLUSTER)
        self._sizes = {digest: blob for blobs in content.blobs for digest, blob in blobs.items()}
        listed = sum(len(json.dumps(name)) + _LIST_ENTRY for name in (*self._sizes, *content.files))
        listed += sum(_PART_ENTRY * self._most_parts(blob) for blob in self._sizes.values())
        fixed = sum(self._cost(path, each) for path, each in content.every.items()) + self._cost("", listed)
        self._room = size - fixed
        room = self._room - self._cost(part_path("sha256:" + UNKNOWN_SUM, MAXIMUM_VOLUMES), 0) - size // _SLACK
        self._largest = min(room // self._cluster * self._cluster, _LARGEST_FILE)
        if self._largest < size // 2 and self._largest < _LARGEST_FILE:
            raise DestinationError(
                f"volumes of {size} bytes are too small: the manifests and the lists of the bundle take {fixed} bytes"
                " on each",
                f"Set a size of at least {fixed * 3} bytes",
            )
        self._used: list[int] = []
        self._blobs: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._cut: dict[str, tuple[Part, ...]] = {}

    def keep(self, previous: Volumes) -> None:
        """Place what the existing bundle has on the volumes where it is, as far as these have room."""
        numbers = self._renumbered(previous)
        self._used = [0] * len(numbers)
        for path in sorted(self._content.files):
            if path in previous.files and self._take(numbers[previous.files[path]], path, self._content.files[path]):
                self._files[path] = numbers[previous.files[path]]
        for digest, size in self._sizes.items():
            if digest in previous.blobs and size <= self._largest:
                number = numbers[previous.blobs[digest]]
                if self._take(number, blob_path(digest), size):
                    self._blobs[digest] = number
            elif digest in previous.cut and size > self._largest:
                self._keep_parts(digest, previous.cut[digest], numbers)

    def place_file(self, path: str) -> None:
        size = self._content.files[path]
        if path in self._files:
            return
        if size > self._largest:
            raise DestinationError(
                f"the file {path} has {size} bytes; a file on a volume can have {self._largest}",
                "Set a larger size for the volumes, or leave the file out",
            )
        self._files[path] = self._first_with_room(path, size, self._numbers())

    def place_blobs(self, blobs: Mapping[str, int]) -> None:
        """Place the blobs of an image: on one volume if there is room, otherwise each on the first volume with room.

        The volumes that have a part of the image come first. Large blobs are placed before small ones, so that a config
        is on a volume with layers.
        """
        new = {digest: size for digest, size in blobs.items() if digest not in self._blobs and digest not in self._cut}
        for digest, size in new.items():
            if size > self._largest:
                self._place_parts(digest)
        whole = {digest: size for digest, size in new.items() if size <= self._largest}
        costs = [(blob_path(digest), size) for digest, size in whole.items()]
        first = {part.volume for digest in blobs for part in self._cut.get(digest, ())}
        first.update(self._blobs[digest] for digest in blobs if digest in self._blobs)
        together = next((number for number in self._numbers(first) if self._fits(number, costs)), None)
        for digest in sorted(whole, key=lambda digest: -whole[digest]):
            numbers = [together] if together else self._numbers(first)
            self._blobs[digest] = self._first_with_room(blob_path(digest), whole[digest], numbers)
            first.add(self._blobs[digest])

    def result(self) -> Volumes:
        """Return the volumes, counted without those that have nothing."""
        used = {
            *self._blobs.values(),
            *self._files.values(),
            *(p.volume for parts in self._cut.values() for p in parts),
        }
        numbers = {number: position for position, number in enumerate(sorted(used), 1)}
        return Volumes(
            max(len(used), 1),
            self._size,
            {digest: numbers[number] for digest, number in self._blobs.items()},
            {digest: _renumber(parts, numbers) for digest, parts in self._cut.items()},
            {path: numbers[number] for path, number in self._files.items()},
        )

    def _place_parts(self, digest: str) -> None:
        parts: list[Part] = []
        left = self._sizes[digest]
        while left:
            size = min(left, self._largest)
            number = self._first_with_room(part_path(digest, len(parts) + 1), size, self._numbers())
            parts.append(Part(number, size, UNKNOWN_SUM))
            left -= size
        self._cut[digest] = tuple(parts)

    def _keep_parts(self, digest: str, parts: Sequence[Part], numbers: Mapping[int, int]) -> None:
        if sum(part.size for part in parts) != self._sizes[digest] or any(p.size > _LARGEST_FILE for p in parts):
            return
        used = list(self._used)
        for count, part in enumerate(parts, 1):
            if not self._take(numbers[part.volume], part_path(digest, count), part.size):
                self._used = used
                return
        self._cut[digest] = _renumber(parts, numbers)

    def _renumbered(self, previous: Volumes) -> dict[int, int]:
        """Return the new numbers of the existing volumes: without those that have nothing that is needed."""
        needed = {previous.files[path] for path in self._content.files if path in previous.files}
        needed.update(number for digest in self._sizes for number in previous.of(digest))
        return {number: position for position, number in enumerate(sorted(needed), 1)}

    def _numbers(self, first: Iterable[int] = ()) -> Iterator[int]:
        """Yield the numbers of all volumes, the given ones first."""
        preferred = set(first)
        yield from sorted(preferred)
        yield from (number for number in range(1, len(self._used) + 1) if number not in preferred)

    def _first_with_room(self, path: str, size: int, numbers: Iterable[int]) -> int:
        """Use the room for a file on the first of these volumes that has room, or on a new one."""
        for number in numbers:
            if self._take(number, path, size):
                return number
        self._used.append(0)
        number = len(self._used)
        if number > MAXIMUM_VOLUMES:
            raise DestinationError(
                f"the bundle needs more than {MAXIMUM_VOLUMES} volumes of {self._size} bytes", "Set a larger size"
            )
        self._take(number, path, size)
        return number

    def _fits(self, number: int, files: Iterable[tuple[str, int]]) -> bool:
        return self._used[number - 1] + sum(self._cost(path, size) for path, size in files) <= self._room

    def _take(self, number: int, path: str, size: int) -> bool:
        """Use the room for a file on a volume, and return whether it has room for it."""
        fits = self._fits(number, [(path, size)])
        if fits:
            self._used[number - 1] += self._cost(path, size)
        return fits

    def _cost(self, path: str, size: int) -> int:
        """Return the bytes that a file takes: its content in whole clusters, and its entries in the lists of files."""
        return -(-size // self._cluster) * self._cluster + _FILE_OVERHEAD + len(path.encode())

    def _most_parts(self, size: int) -> int:
        # The largest part has at least half of a volume.
        smallest = max(min(self._size // 2, _LARGEST_FILE), 1)
        return -(-size // smallest) + 1 if size > smallest else 0


def _renumber(parts: Iterable[Part], numbers: Mapping[int, int]) -> tuple[Part, ...]:
    return tuple(replace(part, volume=numbers[part.volume]) for part in parts)


def _largest_power(number: int) -> int:
    """Return the largest power of two that is at most ``number``; 0 for less than 1."""
    return 1 << (number.bit_length() - 1) if number > 0 else 0
