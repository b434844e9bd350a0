# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named files that a store reads: those of a folder here, those of a tar archive in ``tar_reader``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import DestinationError, SourceError
from .store import BLOCK_SIZE, Blocks


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Say what could not be read when the operating system refuses.

    Raises:
        SourceError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(f"{what} cannot be read: {error.strerror}") from error


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Say what could not be written when the operating system refuses.

    Raises:
        DestinationError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{what} cannot be written: {error.strerror}", "What was there before is unchanged; mend that and run again"
        ) from error


class Files(Protocol):
    """Files by their names, which are relative paths with ``/``."""

    description: str

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes, or ``None`` if there is no such file."""

    def open(self, name: str, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open a file's content from ``offset`` (bytes) on.

        Raises:
            SourceError: It is not there, cannot be read or ends too early.
        """

    def close(self) -> None:
        """Let go of what is open; nothing can be read afterwards."""


class Folder:
    """The files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"the folder {path}"

    def size(self, name: str) -> int | None:
        """See :meth:`Files.size`."""
        path = self.path / name
        with reading(path):
            return path.stat().st_size if path.is_file() else None

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Blocks]:
        """See :meth:`Files.open`."""
        path = self.path / name
        with reading(path):
            file = path.open("rb", buffering=0)
        with file:
            yield file_blocks(file.fileno(), offset, os.fstat(file.fileno()).st_size - offset, str(path))

    def close(self) -> None:
        """Nothing stays open."""


def read_file(files: Files, name: str, limit: int) -> bytes:
    """Return a small file's whole content.

    Args:
        files: Where it is.
        name: Its name.
        limit: The most bytes it may have.

    Raises:
        SourceError: It is not there, cannot be read or is larger.
    """
    size = files.size(name)
    if size is None:
        raise SourceError(f"{files.description} has no {name}")
    if size > limit:
        raise SourceError(f"{name} in {files.description} has {size} bytes; at most {limit} are expected")
    with files.open(name) as blocks:
        return b"".join(bytes(block) for block in blocks)


def file_blocks(descriptor: int, start: int, length: int, what: str) -> Blocks:
    """Read ``length`` bytes of an open file from ``start`` on, always into the same buffer.

    Raises:
        SourceError: The file ends before, or cannot be read.
    """
    buffer = memoryview(bytearray(min(BLOCK_SIZE, max(length, 0))))
    position, end = start, start + length
    while position < end:
        with reading(what):
            count = os.preadv(descriptor, [buffer[: end - position]], position)
        if not count:
            raise SourceError(
                f"{what} is truncated: {end - position} bytes are missing at its end",
                "It was changed or not copied whole; copy it again",
            )
        position += count
        yield buffer[:count]


def allow_others(descriptor: int) -> None:
    """Give a temporary file, which is made for its owner alone, the mode of a file that is made openly."""
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)
