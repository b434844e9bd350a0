# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that is written beside its place and takes it when it is whole; one that was cut is gone on with."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from glob import escape
from itertools import chain
from pathlib import Path

from ..errors import DestinationError, DigestMismatchError
from ..oci.content import BlobContent
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .file_access import allow_others, file_blocks, write_all, writing
from .locked_file import delete_expired, open_locked

_ENDING = ".partial"
_WORTH_KEEPING = 1 << 20
"""Bytes below which a part is sooner fetched again than gone on with."""
_EXPIRES = 7 * 24 * 60 * 60.0
"""Seconds after which nobody is expected to go on with a part."""


def place_of_part(path: Path) -> Path:
    """Return where the beginning of a file is until all of it is there."""
    return path.with_name(f".{path.name}{_ENDING}")


class Part:
    """The beginning of a file, locked; where another run is at the same one, one of our own.

    Args:
        path: The file's place, in a folder that exists.

    Attributes:
        place: Where the part is.
        descriptor: The part, open for reading and writing.

    Raises:
        DestinationError: Nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = place_of_part(path)
        with writing(path):
            descriptor = open_locked(self.place)
            if descriptor is None:
                descriptor, place = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_ENDING, dir=path.parent)
                self.place = Path(place)
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.descriptor = descriptor

    def size(self) -> int:
        """Its bytes so far."""
        return os.fstat(self.descriptor).st_size

    def finish(self) -> None:
        """Put it in its place, whole and on disk.

        Raises:
            DestinationError: It cannot be; what was there before stays.
        """
        with writing(self._path):
            allow_others(self.descriptor)
            os.fsync(self.descriptor)
            self.place.replace(self._path)
        os.close(self.descriptor)

    def abandon(self, keep: bool) -> None:
        """Let go of it, and leave nothing unless it is to be kept and worth it."""
        if not keep or self.size() < _WORTH_KEEPING:
            self.place.unlink(missing_ok=True)
        os.close(self.descriptor)


def write_blob(path: Path, descriptor: Descriptor, content: BlobContent) -> None:
    """Write a blob to its place, going on with what an earlier run left of it.

    Args:
        path: Its place, in a folder that exists.
        descriptor: The blob.
        content: Opens its content.

    Raises:
        DestinationError: The disk is full or broken; no part is left.
        DigestMismatchError: The content is not what the digest names; no part is left.
        K8scrError: The content could not be read to its end; what has come is left for the next run.
    """
    part = Part(path)
    try:
        start = part.size()
        try:
            _fill(part, path, descriptor, content, start)
        except DigestMismatchError:
            # What an earlier run left may have been torn by a power cut: then all of it is fetched again.
            if not start:
                raise
            _fill(part, path, descriptor, content, 0)
        part.finish()
    except BaseException as error:
        part.abandon(keep=not isinstance(error, (DestinationError, DigestMismatchError)))
        raise


def forget_expired(folder: Path, name: str | None = None) -> None:
    """Delete partial files that have expired.

    Args:
        folder: Where they are.
        name: The file that they belong to; without it, all partial files in the folder, which must be ours alone.
    """
    pattern = f".{escape(name)}.*{_ENDING[1:]}" if name else f".*{_ENDING}"
    delete_expired(folder.glob(pattern), _EXPIRES)


def _fill(part: Part, path: Path, descriptor: Descriptor, content: BlobContent, start: int) -> None:
    """Write the content from ``start`` (bytes) on, and verify the whole."""
    start = start if start < descriptor.size else 0
    with writing(path):
        os.ftruncate(part.descriptor, start)
        os.lseek(part.descriptor, start, os.SEEK_SET)
    before = file_blocks(part.descriptor, 0, start, str(path))
    with content(start) as rest:
        position = 0
        for block in verified(chain(before, rest), descriptor.digest, descriptor.size, content.what):
            unwritten = block if position >= start else block[:0]
            position += len(block)
            with writing(path):
                write_all(part.descriptor, unwritten)
