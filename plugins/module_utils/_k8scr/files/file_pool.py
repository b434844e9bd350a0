# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are opened when they are read, so that a task can read more files than a process may have open."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import SourceError
from .file_access import open_regular, read_errors


class FilePool:
    """Keeps the most recently used files open: the files in use, and idle ones up to a limit of all files.

    Args:
        limit: The maximum number of open files, unless more are in use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        # The number of users of each file, in the order of their last use.
        self._users: dict[PooledFile, int] = {}

    def add_user(self, file: PooledFile) -> None:
        """Keep a file open until :meth:`remove_user`."""
        with self._lock:
            self._users[file] = self._users.pop(file, 0) + 1

    def remove_user(self, file: PooledFile) -> None:
        """Allow the file to be closed, and close the files that were idle for the longest time above the limit."""
        with self._lock:
            self._users[file] = self._users.pop(file) - 1
            idle = [each for each, users in self._users.items() if not users]
            for each in idle[: max(len(self._users) - self._limit, 0)]:
                self._close(each)

    def forget(self, file: PooledFile) -> None:
        """Close a file unless it is in use."""
        with self._lock:
            if self._users.get(file) == 0:
                self._close(file)

    def _close(self, file: PooledFile) -> None:
        del self._users[file]
        file.close_descriptor()


class PooledFile:
    """A file for reading. Several threads can use it.

    Args:
        pool: Closes the file when it is idle.
        open_file: Opens the file, and returns its descriptor; called again after the pool closed the file.
        keep: Whether the file stays open until :meth:`close`, because it cannot be opened again.
        on_close: Called when the pool closes the file.
    """

    def __init__(
        self,
        pool: FilePool,
        open_file: Callable[[], int],
        keep: bool = False,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._open_file = open_file
        self._on_close = on_close
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._kept = ExitStack()
        if keep:
            self._kept.enter_context(self.use())

    @contextmanager
    def use(self) -> Iterator[int]:
        """Open the file if it is closed, and keep it open. Its descriptor is valid in the block.

        Raises:
            SourceError: The file cannot be opened.
        """
        self._pool.add_user(self)
        try:
            with self._lock:
                if self._descriptor is None:
                    self._descriptor = self._open_file()
                descriptor = self._descriptor
            yield descriptor
        finally:
            self._pool.remove_user(self)

    def close(self) -> None:
        """Close the file, which no thread uses any more."""
        self._kept.close()
        self._pool.forget(self)

    def close_descriptor(self) -> None:
        """Close the descriptor; only the pool calls this."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._on_close()


class UnchangedFile:
    """Opens a file any number of times, as long as it is the same file with the same content.

    Raises:
        SourceError: The file cannot be read, or is not a regular file.
    """

    def __init__(self, path: Path, description: str) -> None:
        self._path = path
        self._description = description
        descriptor = self._open()
        self._state = _state_of(descriptor)
        os.close(descriptor)

    def __call__(self) -> int:
        """Open the file and return its descriptor.

        Raises:
            SourceError: The file cannot be read, or was changed or replaced.
        """
        descriptor = self._open()
        if _state_of(descriptor) != self._state:
            os.close(descriptor)
            raise SourceError(
                f"{self._description} was changed or replaced while the task used it",
                "Run again when no other program writes it",
            )
        return descriptor

    def _open(self) -> int:
        with read_errors(self._path):
            return open_regular(self._path)


def _state_of(descriptor: int) -> tuple[int, int]:
    state = os.fstat(descriptor)
    # FUSE and CIFS may give an unchanged file another inode number when it is opened again.
    return state.st_size, state.st_mtime_ns
