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
        writable for the user who planted it, or be a hard link to another file. Some shares give all files to one
        user. A new file that cannot be used is deleted.

    Raises:
        OSError: The file cannot be opened.
    """
    while True:
        descriptor, is_new = _open(path, create)
        try:
            locked = lock(descriptor, wait) if (is_own := _is_own(descriptor)) else None
            usable = is_own and (locked or wait)
            current = _is_at(path, descriptor)
            # If another process has the lock, the file is in use.
            if is_new and current and not usable and locked is None:
                path.unlink(missing_ok=True)
        except BaseException:
            os.close(descriptor)
            raise
        if usable and current:
            return descriptor
        os.close(descriptor)
        if current:
            return None


def lock(descriptor: int, wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed. Optionally wait for the lock.

    Returns:
        Whether it is locked; None if the file system has no locks, as NFS without its lock service.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
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


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of a file, which exists only as long as it is locked. Without it, nothing is locked.

    Args:
        path: The file. It is created with its folder, if this user may do that.
    """
    descriptor: int | None = None
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_locked(path, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            os.close(descriptor)


def delete_expired(paths: Iterable[Path], lifetime: float) -> None:
    """Delete files that were not written for ``lifetime`` seconds, unless a process has locked them."""
    latest = time.time() - lifetime
    for path in paths:
        with suppress(OSError):
            if path.stat().st_mtime < latest:
                _delete_unlocked(path, latest)


def _delete_unlocked(path: Path, latest: float) -> None:
    descriptor, _is_new = _open(path, create=False)
    with os.fdopen(descriptor, "rb"):
        # Another process may have written to the file before this lock. Without locks, its age is sufficient.
        unused = lock(descriptor) is not False and os.fstat(descriptor).st_mtime < latest
        if unused and stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_at(path, descriptor):
            path.unlink()


def _open(path: Path, create: bool) -> tuple[int, bool]:
    """Open a file for reading and writing, and return whether it is new."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            return os.open(path, flags), False
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True


def _is_own(descriptor: int) -> bool:
    state = os.fstat(descriptor)
    return state.st_uid == os.geteuid() and state.st_nlink <= 1 and stat.S_ISREG(state.st_mode)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
