# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks on files and folders. The process with the lock may delete or rename the file while others wait."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_locked(path: Path, *, wait: bool = False, create: bool = True) -> int | None:
    """Open and lock a file for reading and writing.

    The lock belongs to the file that is at the path once the lock is granted: a file that another process deleted or
    renamed meanwhile is not used. Closing the file releases the lock.

    Args:
        path: The file. A symbolic link is not followed.
        wait: Whether to wait for another process that has the lock. If so, a file system without locks is accepted.
        create: Whether to create a missing file, for this user only.

    Returns:
        The open file, or None if it cannot be locked, or if it is not a file of this user: a planted file would stay
        writable for the user who planted it, or be a hard link to another file.

    Raises:
        OSError: The file cannot be opened.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            usable = _is_own(descriptor) and (lock(descriptor, wait) or wait)
            current = _is_at(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if usable and current:
            return descriptor
        os.close(descriptor)
        if current:
            return None


def lock(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed, and return whether it is locked. Optionally wait for the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder for changes. A file system without locks is accepted."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def delete_expired(paths: Iterable[Path], lifetime: float) -> None:
    """Delete files that were not written for ``lifetime`` seconds, unless a process has locked them."""
    latest = time.time() - lifetime
    for path in paths:
        with suppress(OSError):
            if path.stat().st_mtime < latest:
                _delete_unlocked(path, latest)


def _delete_unlocked(path: Path, latest: float) -> None:
    descriptor = open_locked(path, create=False)
    if descriptor is not None:
        with os.fdopen(descriptor, "rb"):
            # Another process may have written to the file before this lock.
            if os.fstat(descriptor).st_mtime < latest:
                path.unlink()


def _is_own(descriptor: int) -> bool:
    state = os.fstat(descriptor)
    return state.st_uid == os.geteuid() and state.st_nlink <= 1 and stat.S_ISREG(state.st_mode)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
