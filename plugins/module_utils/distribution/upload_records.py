# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of uploads from run to run, so that a push which was killed goes on where it was.

A file for each upload, in the user's cache folder and for the user alone. It holds where the upload's session is and
no credential; the registry is asked what it has of it before anything is sent.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EXPIRES = 24 * 60 * 60.0
"""Seconds after which a registry may have cleared an upload away (distribution's own limit is a week)."""
_LONGEST_LOCATION = 8 << 10


class UploadRecords:
    """The uploads to one registry.

    Args:
        folder: Where the files are; it is made when there is something to remember. None to remember nothing.
        registry: Tells this registry from all others.
    """

    def __init__(self, folder: Path | None, registry: str) -> None:
        self._folder = folder
        self._registry = registry

    @contextmanager
    def open(self, repository: str, digest: str) -> Iterator[UploadFile]:
        """What is remembered of one upload; nothing, where another run is at it or nothing can be kept.

        Args:
            repository: Where the blob goes to.
            digest: The blob.
        """
        if self._folder is None:
            yield UploadFile()
            return
        key = f"{self._registry}\0{repository}\0{digest}"
        path = self._folder / hashlib.sha256(key.encode()).hexdigest()
        descriptor = _open(path)
        try:
            yield UploadFile(descriptor, path)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def forget_expired(self) -> None:
        """Delete what is too old to be of use."""
        if self._folder is None:
            return
        try:
            old = [path for path in self._folder.iterdir() if time.time() - path.stat().st_mtime > _EXPIRES]
            for path in old:
                path.unlink()
        except OSError:
            pass


class UploadFile:
    """What is remembered of one upload.

    Args:
        descriptor: The open and locked file; None where nothing is kept.
        path: Its path.

    Attributes:
        location: Path and query of its session, if there is one from an earlier run.
    """

    def __init__(self, descriptor: int | None = None, path: Path = Path()) -> None:
        self._descriptor = descriptor
        self._path = path
        self.location = self._read()

    def remember(self, location: str) -> None:
        """Keep where the upload goes on."""
        if self._descriptor is not None:
            try:
                content = location.encode()
                os.pwrite(self._descriptor, content, 0)
                os.ftruncate(self._descriptor, len(content))
            except OSError:
                self.forget()

    def forget(self) -> None:
        """Keep nothing of it."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> str | None:
        if self._descriptor is None or time.time() - os.fstat(self._descriptor).st_mtime > _EXPIRES:
            return None
        return os.pread(self._descriptor, _LONGEST_LOCATION, 0).decode("ascii", "replace") or None


NO_RECORDS = UploadRecords(None, "")


def _open(path: Path) -> int | None:
    """Open and lock a file for this user alone; None where that cannot be, or where another run has it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
