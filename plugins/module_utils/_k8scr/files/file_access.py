# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named files that a store reads: those of a folder here, those of a tar archive in ``tar_reader``."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import DestinationError, SourceError
from ..oci.content import BLOCK_SIZE, Blocks

_UMASK = os.umask(0o077)
os.umask(_UMASK)
# It can only be read by setting it, for all threads alike: so once, and while there are no others.

_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


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


def open_regular(path: Path | str, folder: int | None = None, what: object = None) -> int:
    """Open a file for reading; a pipe or a device, which could be waited for for ever, is none.

    Args:
        path: The file.
        folder: The open folder that it is in, where a link in its place is not to be followed.
        what: Its full path, for people.

    Raises:
        OSError: It cannot be opened.
        SourceError: It is not a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if folder is None else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceError(f"{what or path} is not a regular file")
    return descriptor


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
    """The files below a folder; links in it are not followed, since they may lead out of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"the folder {path}"

    def size(self, name: str) -> int | None:
        """See :meth:`Files.size`."""
        descriptor = self._open(name)
        if descriptor is None:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Blocks]:
        """See :meth:`Files.open`."""
        descriptor = self._open(name)
        if descriptor is None:
            raise SourceError(f"{self.description} has no {name}")
        try:
            yield file_blocks(descriptor, offset, os.fstat(descriptor).st_size - offset, str(self.path / name))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing stays open."""

    def _open(self, name: str) -> int | None:
        *folders, file = PurePosixPath(name).parts
        with reading(self.path / name):
            try:
                folder = os.open(self.path, _FOLDER)
                for part in folders:
                    folder = _step_into(folder, part)
                try:
                    return open_regular(file, folder, self.path / name)
                finally:
                    os.close(folder)
            except OSError as error:
                self._refuse_links(name)
                if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    return None
                raise

    def _refuse_links(self, name: str) -> None:
        path = self.path
        for part in PurePosixPath(name).parts:
            path /= part
            if path.is_symlink():
                raise SourceError(f"{path} is a link, which may lead out of the folder", "Copy the folder with cp -rL")


def _step_into(folder: int, name: str) -> int:
    """Open a folder in an open one, which is closed; a link is not followed."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


@contextmanager
def closed_on_failure(files: Files) -> Iterator[None]:
    """Let go of files that turn out to be of no use."""
    try:
        yield
    except BaseException:
        files.close()
        raise


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
            count = _read_into(descriptor, buffer[: end - position], position)
        if not count:
            raise SourceError(
                f"{what} is truncated: {end - position} bytes are missing at its end",
                "It was changed or not copied whole; copy it again",
            )
        position += count
        yield buffer[:count]


def _read_into(descriptor: int, buffer: memoryview, position: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], position)
    # Python for older macOS.
    content = os.pread(descriptor, len(buffer), position)
    buffer[: len(content)] = content
    return len(content)


def write_all(descriptor: int, block: memoryview) -> None:
    """Write a block to an open file, also where the operating system takes it piece by piece.

    Raises:
        OSError: It cannot be written.
    """
    while block:
        block = block[os.write(descriptor, block) :]


def replace_file(path: Path, content: bytes, private: bool = False) -> None:
    """Write a small file beside its place, in a folder that exists, and put it there when it is whole and on disk.

    Args:
        path: The file.
        content: The content.
        private: Whether only this user can read the file.

    Raises:
        DestinationError: It cannot be written; what was there before stays.
    """
    with writing(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with writing(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if not private:
                allow_others(descriptor)
            os.fsync(descriptor)
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def allow_others(descriptor: int) -> None:
    """Give a temporary file, which is made for its owner alone, the mode of a file that is made openly."""
    os.fchmod(descriptor, 0o666 & ~_UMASK)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for who else changes what is in a folder, where its file system can tell."""
    descriptor = os.open(folder, _FOLDER)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
