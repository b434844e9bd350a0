# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls that are interrupted: by a lost connection, a full disk or the end of the process."""

from __future__ import annotations

import errno
import os
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import Manifest, parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import Location, open_destination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import report

from .images import Image

_BLOCK = 512 << 10
_WRITES = ("write", "pwrite", "posix_fallocate", "fsync")
_STEPS = (*_WRITES, "ftruncate", "truncate", "replace", "unlink")
_FAILED = 1


@dataclass
class MemorySource:
    """One image in memory as a source.

    Attributes:
        image: The image.
        cut_after: Bytes of blobs after which the connection is lost, once; ``None`` for never.
        fetched: The digests of the blobs that were opened, in order.
    """

    referrers = None

    image: Image
    cut_after: int | None = None
    description: str = "the source"

    def __post_init__(self) -> None:
        self.fetched: list[str] = []

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ImageSource.fetch_manifest`."""
        return parse_manifest(self.image.contents[descriptor.digest])

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageSource.has_blob`."""
        return descriptor.digest in self.image.contents

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        """See :meth:`ImageSource.open_blob`."""
        self.fetched.append(descriptor.digest)
        return nullcontext(self._blocks(memoryview(self.image.contents[descriptor.digest])[offset:]))

    def close(self) -> None:
        """See :meth:`ImageSource.close`."""

    def _blocks(self, content: memoryview) -> Blocks:
        for start in range(0, len(content), _BLOCK):
            block = content[start : start + _BLOCK]
            if self.cut_after is not None and len(block) > self.cut_after:
                yield block[: self.cut_after]
                raise ConnectionLostError("the connection was lost")
            if self.cut_after is not None:
                self.cut_after -= len(block)
            yield block


def pull_image(source: MemorySource, location: Location, tag: str) -> dict[str, Any]:
    """Pull an image to a destination as the module does, and return the result."""
    with closing(open_destination(location)) as destination:
        copy = ImageCopy(source, SourceImage(source.image.root), destination, tag)
        return report(Transfer(1).run([ImageJob(tag, copy, tag)]))


@contextmanager
def full_disk_after(steps: int) -> Iterator[None]:
    """Fail every write after so many calls that change files."""

    def fail(function: str) -> None:
        if function in _WRITES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with _after(steps, fail):
        yield


def run_killed_after(steps: int, run: Callable[[], Any]) -> None:
    """Run a function in a separate process that ends without cleanup after so many calls that change files."""
    with warnings.catch_warnings():
        # Server threads of earlier tests may still be running; the child needs none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = _FAILED
        try:
            with _after(steps, lambda _function: os._exit(0)):
                run()
            status = 0
        finally:
            os._exit(status)
    _child, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) != _FAILED, "the function raised an exception"


@contextmanager
def _after(steps: int, interrupt: Callable[[str], None]) -> Iterator[None]:
    """Call ``interrupt`` with the name of each later call, before it is made; half of a write is made before."""
    lock = threading.Lock()
    left = steps

    def counted(function: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            with lock:
                left -= 1
            if left < 0:
                if function in ("write", "pwrite"):
                    descriptor, block, *position = arguments
                    original(descriptor, block[: len(block) // 2], *position)
                interrupt(function)
            return original(*arguments, **options)

        return call

    patches = [patch.object(os, name, counted(name, getattr(os, name))) for name in _STEPS if hasattr(os, name)]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def files_of(location: Location) -> dict[str, bytes]:
    """Return the files of a layout, or of an archive without repeated entries. Read without the collection."""
    if location.path.is_dir():
        paths = [path for path in location.path.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {str(path.relative_to(location.path)): path.read_bytes() for path in paths}
    files: dict[str, bytes] = {}
    with tarfile.open(location.path) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content
            assert entry.name not in files
            files[entry.name] = content.read()
    return files


def partial_files(folder: Path) -> list[Path]:
    """Return the partial files below a folder."""
    return list(folder.rglob(".*.partial"))
