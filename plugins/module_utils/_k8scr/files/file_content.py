# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random access to the content of a file, plain or compressed with gzip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from ..errors import SourceError
from ..oci.content import Blocks
from .file_access import file_blocks, open_regular, read_errors
from .gzip_content import GZIP_MAGIC, GzipContent

_UNSUPPORTED = {b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ": ("xz", "unxz")}


class Content(Protocol):
    """The decompressed content of a file.

    Attributes:
        compressed: Whether the file is compressed.
        length: The size of the content in bytes; ``None`` while it is unknown: gzip files must be read to the end.
    """

    compressed: bool
    length: int | None

    def read(self, position: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``position``. One reader calls it, with ascending positions.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        """Read ``length`` bytes at ``position``. Several readers can use it in parallel, at any position.

        Args:
            position: The first byte.
            length: The number of bytes.
            what: The name of the content, for messages.

        Raises:
            SourceError: The file is truncated, damaged, or cannot be read.
        """

    def check_end(self) -> None:
        """Read to the end of the file, where gzip has the checksum and the length of the content.

        Raises:
            SourceError: The file is damaged or truncated.
        """

    def close(self) -> None:
        """Close the file."""


def open_content(path: Path, description: str) -> Content:
    """Open the content of a file. Only the first bytes are read.

    Raises:
        SourceError: The file cannot be read, or its compression is not supported.
    """
    with read_errors(path):
        descriptor = open_regular(path)
        try:
            beginning = os.pread(descriptor, 8, 0)
            for magic, (compression, command) in _UNSUPPORTED.items():
                if beginning.startswith(magic):
                    raise SourceError(
                        f"{description} is compressed with {compression}",
                        f"Decompress it first with {command}: its layers stay compressed",
                    )
            gzip = beginning.startswith(GZIP_MAGIC)
            return GzipContent(descriptor, description) if gzip else PlainContent(descriptor, description)
        except BaseException:
            os.close(descriptor)
            raise


class PlainContent:
    """The content of an uncompressed file; see :class:`Content`."""

    compressed = False

    def __init__(self, descriptor: int, description: str) -> None:
        self.length: int | None = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._description = description

    def read(self, position: int, size: int) -> bytes:
        with read_errors(self._description):
            return os.pread(self._descriptor, size, position)

    def blocks(self, position: int, length: int, what: str) -> Blocks:
        return file_blocks(self._descriptor, position, length, what)

    def check_end(self) -> None:
        """See :meth:`Content.check_end`. An uncompressed file has no checksum."""

    def close(self) -> None:
        os.close(self._descriptor)
