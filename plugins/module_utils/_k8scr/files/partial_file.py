# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Partial files: a file is written under a temporary name and renamed when complete. The next run resumes it."""

from __future__ import annotations

import os
import tempfile
from glob import escape
from itertools import chain
from pathlib import Path

from ..errors import DestinationError, DigestMismatchError
from ..oci.content import BlobContent
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .file_access import file_blocks, set_default_mode, sync, write_all, write_errors
from .locked_file import delete_expired, lock, open_locked

_SUFFIX = ".partial"
_MINIMUM_KEPT = 1 << 20
"""Bytes; a smaller partial file is deleted, because reading it again costs less than resuming it."""
_EXPIRES = 7 * 24 * 60 * 60.0
"""Seconds after which a partial file is deleted."""


def partial_path(path: Path) -> Path:
    """Return the path of a file's partial file."""
    return path.with_name(f".{path.name}{_SUFFIX}")


class PartialFile:
    """A locked partial file. If the usual one cannot be used, it is a new one with a random name.

    Another run may have locked the usual one, or the file system has no locks. Each run then has a file of its own.

    Args:
        path: The path of the complete file, in an existing folder.

    Attributes:
        path: The path of the partial file.
        descriptor: The partial file, open for reading and writing.

    Raises:
        DestinationError: The partial file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._target = path
        self.path = partial_path(path)
        with write_errors(path):
            descriptor = open_locked(self.path)
            if descriptor is None:
                descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.parent)
                self.path = Path(name)
                lock(descriptor)
            self.descriptor = descriptor

    def size(self) -> int:
        """Return the current size in bytes."""
        return os.fstat(self.descriptor).st_size

    def finish(self) -> None:
        """Sync the file to disk and rename it to the path of the complete file.

        Raises:
            DestinationError: The file cannot be renamed. An existing file is unchanged.
        """
        with write_errors(self._target):
            set_default_mode(self.descriptor)
            sync(self.descriptor)
            self.path.replace(self._target)
        os.close(self.descriptor)

    def abandon(self, keep: bool) -> None:
        """Close the file. It is deleted unless ``keep`` is set, and the next run can find and resume it."""
        if not keep or self.size() < _MINIMUM_KEPT or self.path != partial_path(self._target):
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def write_blob(path: Path, descriptor: Descriptor, content: BlobContent) -> None:
    """Write a blob to a file in an existing folder. Resume the partial file of an earlier run.

    Raises:
        DestinationError: The disk is full or broken. The partial file is deleted.
        DigestMismatchError: The content does not match the digest. The partial file is deleted.
        K8scrError: The content cannot be read to its end. The partial file is kept for the next run.
    """
    partial = PartialFile(path)
    try:
        start = partial.size()
        try:
            _fill(partial, path, descriptor, content, start)
        except DigestMismatchError:
            # A power failure can damage a partial file: then read the whole blob again.
            if not start:
                raise
            _fill(partial, path, descriptor, content, 0)
        partial.finish()
    except BaseException as error:
        partial.abandon(keep=not isinstance(error, (DestinationError, DigestMismatchError)))
        raise


def delete_expired_partials(folder: Path, name: str | None = None) -> None:
    """Delete expired partial files of ``name``; by default, all in ``folder``, which only the collection may use."""
    pattern = f".{escape(name)}.*{_SUFFIX[1:]}" if name else f".*{_SUFFIX}"
    delete_expired(folder.glob(pattern), _EXPIRES)


def _fill(partial: PartialFile, path: Path, descriptor: Descriptor, content: BlobContent, start: int) -> None:
    """Write the content from ``start`` (bytes), and verify all of it."""
    start = start if start < descriptor.size else 0
    with write_errors(path):
        os.ftruncate(partial.descriptor, start)
        os.lseek(partial.descriptor, start, os.SEEK_SET)
    existing = file_blocks(partial.descriptor, 0, start, str(path))
    with content(start) as rest:
        position = 0
        for block in verified(chain(existing, rest), descriptor.digest, descriptor.size, content.what):
            unwritten = block if position >= start else block[:0]
            position += len(block)
            with write_errors(path):
                write_all(partial.descriptor, unwritten)
