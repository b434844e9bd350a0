# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decompress streams with bounded memory: gzip (RFC 1952), zstd (RFC 8878), xz and bzip2."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ..oci.content import BLOCK_SIZE, Blocks

GZIP_FORMAT = 31
"""zlib's window size for gzip streams with the largest window. A header that zlib writes has no name and no time."""
GZIP_MAGIC = b"\x1f\x8b"
MAGIC_SIZE = 10
"""Bytes at the beginning of a file that identify its compression."""
_MAXIMUM_MEMORY = 128 << 20
"""Bytes for one stream: the limit of the program ``zstd``, and twice the memory for ``xz -9``."""


@dataclass(frozen=True)
class Library:
    """A library for one stream.

    Attributes:
        create: Creates a decompressor with the interface of ``bz2.BZ2Decompressor`` for the next part of the stream.
        error: The exception for damaged content.
        input_size: The maximum bytes of one input. At the end of each part, the library copies the rest of the input.
    """

    create: Callable[[], Any]
    error: type[Exception]
    input_size: int = 16 << 10


@dataclass(frozen=True)
class Format:
    """A compression format.

    Attributes:
        name: Its name, which is also the suffix of media types (OCI image specification, "Layer Media Types").
        command: The command that decompresses a file.
        magic: Matches the beginning of a file.
        needs: What can decompress it, for messages.
        find_library: Returns the library for a stream of the format; ``None`` if this Python has none.
    """

    name: str
    command: str
    magic: re.Pattern[bytes]
    needs: str
    find_library: Callable[[], Library | None]


class DecompressionError(Exception):
    """A stream is damaged, truncated or needs too much memory; the text is the reason."""


class Decompressor:
    """Decompresses one stream: gzip members, zstd frames or xz streams, one after the other."""

    def __init__(self, compression: Format, library: Library) -> None:
        self._format = compression
        self._library = library
        self._part = library.create()

    def feed(self, block: bytes | memoryview) -> Blocks:
        """Decompress the next bytes of the stream. Each output has at most ``BLOCK_SIZE`` bytes, except of zstandard.

        Raises:
            DecompressionError: The stream is damaged.
        """
        size = self._library.input_size
        for start in range(0, len(block), size):
            rest: bytes | memoryview = block[start : start + size]
            output = b""
            while rest or (len(output) == BLOCK_SIZE and not self._part.eof):
                if self._part.eof:
                    self._part = self._library.create()
                try:
                    output = self._part.decompress(rest, BLOCK_SIZE)
                except self._library.error as error:
                    raise DecompressionError(str(error)) from error
                # Of these libraries, only zlib returns the input that is left because of the limit.
                rest = self._part.unused_data if self._part.eof else getattr(self._part, "unconsumed_tail", b"")
                yield memoryview(output)

    def finish(self) -> None:
        """Check that the stream is complete.

        Raises:
            DecompressionError: The stream is truncated.
        """
        if not self._part.eof:
            raise DecompressionError(f"the {self._format.name} stream is truncated")

    def close(self) -> None:
        """Free the memory, which is up to 128 MiB. The decompressor cannot be used any more."""
        del self._part, self._library


def decompressed(blocks: Blocks, compression: Format, library: Library) -> Blocks:
    """Yield the decompressed content of a whole stream.

    Raises:
        DecompressionError: The stream is damaged or truncated.
    """
    decompressor = Decompressor(compression, library)
    for block in blocks:
        yield from decompressor.feed(block)
    decompressor.finish()


def find_format(beginning: bytes) -> Format | None:
    """Return the compression of content that starts with these bytes; ``None`` if it is not compressed."""
    return next((each for each in _FORMATS if each.magic.match(beginning)), None)


def _gzip() -> Library:
    return Library(lambda: zlib.decompressobj(GZIP_FORMAT), zlib.error)


def _bzip2() -> Library | None:
    bz2 = _import("bz2")
    return Library(bz2.BZ2Decompressor, OSError) if bz2 else None


def _xz() -> Library | None:
    lzma = _import("lzma")
    return Library(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAXIMUM_MEMORY), lzma.LZMAError) if lzma else None


def _zstd() -> Library | None:
    zstd = _import("compression.zstd") or _import("backports.zstd")
    if zstd:
        options = {zstd.DecompressionParameter.window_log_max: _MAXIMUM_MEMORY.bit_length() - 1}
        return Library(lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)
    zstandard = _import("zstandard")
    if zstandard is None:
        return None
    # Its creation takes much longer than a small frame.
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAXIMUM_MEMORY)
    # Versions before 0.19 do not report where a frame ends.
    if not hasattr(decompressor.decompressobj(), "unused_data"):
        return None
    return Library(lambda: _ZstandardPart(decompressor.decompressobj()), zstandard.ZstdError, _ZstandardPart.INPUT_SIZE)


class _ZstandardPart:
    """A decompressor of the library zstandard with the interface of ``bz2.BZ2Decompressor``."""

    INPUT_SIZE = 1 << 10
    """Bytes of one input. The library has no limit for the output, which is at most 32 MiB for this input."""

    def __init__(self, part: Any) -> None:
        self._part = part

    @property
    def eof(self) -> bool:
        return bool(self._part.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._part.unused_data)

    def decompress(self, content: bytes, _limit: int) -> bytes:
        return bytes(self._part.decompress(content))


def _import(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


GZIP = Format("gzip", "gunzip", re.compile(re.escape(GZIP_MAGIC)), "Python's module zlib", _gzip)
ZSTD = Format(
    "zstd",
    "zstd -d",
    # A file can start with a skippable frame (RFC 8878, section 3.1.2), as those of pzstd do.
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "Python 3.14, the Python library zstandard or the program zstd",
    _zstd,
)
XZ = Format("xz", "unxz", re.compile(rb"\xfd7zXZ\0"), "a Python with the module lzma", _xz)
# The names of files in uncompressed archives can start with BZh.
_BZIP2_MAGIC = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
BZIP2 = Format("bzip2", "bunzip2", _BZIP2_MAGIC, "a Python with the module bz2", _bzip2)
_FORMATS = (GZIP, ZSTD, XZ, BZIP2)
