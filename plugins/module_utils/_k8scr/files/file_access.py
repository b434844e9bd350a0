# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and write files. Errors of the operating system become errors with the file's path."""

from __future__ import annotations

import errno
import os
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import DestinationError, SourceError
from ..oci.content import BLOCK_SIZE, Blocks

_UMASK = os.umask(0o077)
os.umask(_UMASK)
# Reading the umask requires setting it, for all threads. Do so once, on import, before threads start.

UNSUPPORTED = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))
"""Errors of system calls that a file system does not support."""
SMALL = 16 << 20
"""Bytes of a file that is read into memory at once, unless its reader has another limit."""
_PIPE_SECONDS = 10.0
"""Seconds for the content of a pipe. Without a limit, a pipe without a writer would block a task forever."""
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


@contextmanager
def read_errors(what: object) -> Iterator[None]:
    """Convert OSError to SourceError. ``what`` is the name or the path of the file, for messages."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{what} cannot be read: {error.strerror}") from error


@contextmanager
def write_errors(what: object) -> Iterator[None]:
    """Convert OSError to DestinationError. ``what`` is the name or the path of the file, for messages."""
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{what} cannot be written: {error.strerror}",
            "The previous content is unchanged; fix the cause and run again",
        ) from error


def open_regular(path: Path | str, folder: int | None = None, what: object = None) -> int:
    """Open a regular file for reading. Reads from a pipe or a device could block forever.

    Args:
        folder: The open folder that contains the file. With it, a symbolic link is not followed.
        what: The file's full path, for messages.

    Raises:
        OSError: The file cannot be opened.
        SourceError: The file is not a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if folder is None else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceError(f"{what or path} is not a regular file")
    return descriptor


def read_small(path: Path | str, limit: int = SMALL) -> bytes:
    """Return the content of a file that the user names, at most ``limit + 1`` bytes.

    A pipe, such as a process substitution, is read until its writer closes it.

    Raises:
        OSError: The file cannot be read, or is a pipe whose writer takes too long.
    """
    content = bytearray()
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        deadline = time.monotonic() + _PIPE_SECONDS
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            # Before a writer opens a pipe, its reader is at its end.
            _wait_for(file, deadline)
        while len(content) <= limit:
            block = file.read(min(BLOCK_SIZE, limit + 1 - len(content)))
            if block is None:
                _wait_for(file, deadline)
            elif block:
                content += block
            else:
                break
    return bytes(content)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _wait_for(file: FileIO, deadline: float) -> None:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        reason = f"not a regular file, and not complete within {_PIPE_SECONDS:g} s"
        raise TimeoutError(errno.ETIMEDOUT, reason, file.name)


def exists(path: Path | str) -> bool:
    """Return whether a path can be looked up; unlike Path.exists(), false for a long name or a forbidden folder."""
    return os.path.exists(path)


def is_file(path: Path | str) -> bool:
    """Return whether a path is a regular file; see :func:`exists`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path | str) -> bool:
    """Return whether a path is a folder; see :func:`exists`."""
    return os.path.isdir(path)  # noqa: PTH112


class Files(Protocol):
    """Files by name. Names are relative paths with ``/``. In messages, the description names the folder or archive."""

    description: str

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or ``None`` if the file does not exist."""

    def open(self, name: str, offset: int = 0) -> AbstractContextManager[Blocks]:
        """Open a file's content at ``offset`` (bytes).

        Raises:
            SourceError: The file does not exist, cannot be read or is truncated.
        """

    def close(self) -> None:
        """Close all open files."""


class FolderFiles:
    """The files below a folder. Symbolic links are rejected because they may point outside the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"the folder {path}"

    def size(self, name: str) -> int | None:
        descriptor = self._open(name)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb"):
            return os.fstat(descriptor).st_size

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Blocks]:
        descriptor = self._open(name)
        if descriptor is None:
            raise SourceError(f"{self.description} has no {name}")
        with os.fdopen(descriptor, "rb"):
            yield file_blocks(descriptor, offset, os.fstat(descriptor).st_size - offset, str(self.path / name))

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _open(self, name: str) -> int | None:
        *folders, file = PurePosixPath(name).parts
        with read_errors(self.path / name):
            try:
                folder = os.open(self.path, _FOLDER)
                for part in folders:
                    folder = _open_subfolder(folder, part)
                try:
                    return open_regular(file, folder, self.path / name)
                finally:
                    os.close(folder)
            except OSError as error:
                self._reject_links(name)
                if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    return None
                raise

    def _reject_links(self, name: str) -> None:
        path = self.path
        for part in PurePosixPath(name).parts:
            path /= part
            if path.is_symlink():
                raise SourceError(f"{path} is a link that may point outside the folder", "Copy the folder with cp -rL")


def _open_subfolder(folder: int, name: str) -> int:
    """Open a subfolder, unless it is a link, and close its parent."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


@contextmanager
def closed_on_failure(files: Files) -> Iterator[None]:
    """Close the files if the block raises an exception."""
    try:
        yield
    except BaseException:
        files.close()
        raise


def read_file(files: Files, name: str, limit: int) -> bytes:
    """Return the content of a file of at most ``limit`` bytes.

    Raises:
        SourceError: The file does not exist, cannot be read or exceeds the limit.
    """
    size = files.size(name)
    if size is None:
        raise SourceError(f"{files.description} has no {name}")
    if size > limit:
        raise SourceError(f"{name} in {files.description} has {size} bytes; the limit is {limit}")
    with files.open(name) as blocks:
        return b"".join(bytes(block) for block in blocks)


def file_blocks(descriptor: int, start: int, length: int, what: str) -> Blocks:
    """Read ``length`` bytes of the open file ``what`` from ``start``. All blocks share one buffer.

    Raises:
        SourceError: The file is truncated or cannot be read.
    """
    buffer = memoryview(bytearray(min(BLOCK_SIZE, max(length, 0))))
    position, end = start, start + length
    while position < end:
        with read_errors(what):
            count = _read_into(descriptor, buffer[: end - position], position)
        if not count:
            raise SourceError(
                f"{what} is truncated: {end - position} bytes are missing at its end",
                "The file was changed or the copy is incomplete; copy it again",
            )
        position += count
        yield buffer[:count]


def _read_into(descriptor: int, buffer: memoryview, position: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], position)
    # Python on older macOS has no preadv.
    content = os.pread(descriptor, len(buffer), position)
    buffer[: len(content)] = content
    return len(content)


def write_all(descriptor: int, block: memoryview) -> None:
    """Write a whole block to an open file: os.write may write only a part of it.

    Raises:
        OSError: The block cannot be written.
    """
    while block:
        block = block[os.write(descriptor, block) :]


def replace_file(path: Path, content: bytes, private: bool = False) -> None:
    """Write a small file atomically: write and sync a temporary file in the same folder, then rename it.

    Only this user can read a private file. The folder must exist.

    Raises:
        DestinationError: The file cannot be written. An existing file is unchanged.
    """
    with write_errors(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with write_errors(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if not private:
                set_default_mode(descriptor)
            sync(descriptor)
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def set_default_mode(descriptor: int) -> None:
    """Set the mode of a new file by the umask. Temporary files are created for their owner only.

    Some file systems, such as CIFS and FAT, set the modes themselves and reject changes.
    """
    with suppress(OSError):
        os.fchmod(descriptor, 0o666 & ~_UMASK)


def sync(descriptor: int) -> None:
    """Write a file to disk, if its file system supports that.

    Raises:
        OSError: The disk is broken or full.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def sync_folder(folder: Path) -> None:
    """Write the names of a folder's files to disk, if its file system supports that.

    Raises:
        OSError: The disk is broken.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
