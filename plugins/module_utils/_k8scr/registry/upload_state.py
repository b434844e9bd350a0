# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saved states of uploads, so that the next run resumes an upload after the task was killed.

Each upload has a file in the user's cache folder, which only the user can read. It contains the location of the upload
session and no credentials. A resumed upload first requests the offset from the registry.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files.locked_file import delete_expired, open_locked

_EXPIRES = 7 * 24 * 60 * 60.0
"""Seconds after which distribution deletes an unfinished upload by default."""
_LONGEST_LOCATION = 8 << 10


class UploadRecords:
    """The saved states of uploads to one registry.

    Args:
        folder: The folder of the files, created on first use; None to save nothing.
        registry: Distinguishes this registry from others.
    """

    def __init__(self, folder: Path | None, registry: str) -> None:
        self._folder = folder
        self._registry = registry

    @contextmanager
    def open(self, repository: str, digest: str) -> Iterator[UploadFile]:
        """Open the saved state of one upload. It is empty if another run holds it or the cache is not writable."""
        key = f"{self._registry}\0{repository}\0{digest}"
        path = self._folder / hashlib.sha256(key.encode()).hexdigest() if self._folder else None
        descriptor = _open(path) if path else None
        if path is None or descriptor is None:
            yield UploadFile()
            return
        try:
            yield UploadFile(descriptor)
        finally:
            # Only at the end, because the upload may save another session in the file.
            if not os.fstat(descriptor).st_size:
                with suppress(OSError):
                    path.unlink()
            os.close(descriptor)

    def forget_expired(self) -> None:
        """Delete the files of uploads that have expired in the registry."""
        if self._folder is not None:
            with suppress(OSError):
                delete_expired(self._folder.iterdir(), _EXPIRES)


class UploadFile:
    """The saved state of one upload, in an open and locked file; without a file, nothing is saved.

    Attributes:
        location: Path and query of the session of an earlier run, or None.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self.location = self._read()

    def remember(self, location: str) -> None:
        """Save the location of the upload's session."""
        try:
            self._write(location.encode())
        except OSError:
            self.forget()

    def forget(self) -> None:
        """Delete the saved session."""
        with suppress(OSError):
            self._write(b"")

    def _write(self, content: bytes) -> None:
        if self._descriptor is not None:
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))

    def _read(self) -> str | None:
        if self._descriptor is None:
            return None
        return os.pread(self._descriptor, _LONGEST_LOCATION, 0).decode("ascii", "replace") or None


NO_RECORDS = UploadRecords(None, "")


def _open(path: Path) -> int | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_locked(path)
    except OSError:
        return None
