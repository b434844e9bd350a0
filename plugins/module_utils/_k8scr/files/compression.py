# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers compressed on the way: a place without manifests of its own has them as they are unpacked.

What a layer becomes is known when all of it was compressed, so it is sent before it has a name. The same compressor
makes the same bytes of it every time: a transfer that was cut begins there anew, and passes over what has arrived.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from ..errors import InputError
from ..oci.content import BlobContent, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from ..oci.manifest import OCI_LAYER

_FASTEST = 1
"""The level, for zlib and zstd: 3 times as fast as zlib's default, and what comes out is 8 % larger."""
_PIECE = 128 << 10
"""Bytes that are compressed at a time: memory for what comes out of more is kept, for each thread, by the C library."""
_GZIP_FORMAT = 31
"""zlib's window size for the largest window and gzip's header, which then holds neither name nor time."""


class Compressor(Protocol):
    """Compresses one content, block by block."""

    def compress(self, block: Any, /) -> bytes:
        """Take a block in; what is ready comes out, which may be nothing."""

    def flush(self) -> bytes:
        """End the content; the rest comes out."""


@dataclass(frozen=True)
class Compression:
    """A way to compress layers.

    Attributes:
        suffix: What it adds to a layer's media type (OCI image specification, "Layer Media Types").
        program: What does it; another one makes other bytes of the same content.
        begin: Begins a content.
    """

    suffix: str
    program: str
    begin: Callable[[], Compressor]


def find_compression(choice: str) -> Compression | None:
    """Return the compression that the option of that name means; ``None`` for none.

    Raises:
        InputError: Nothing on this host can do it.
    """
    if choice == "none":
        return None
    return _zstd() if choice == "zstd" else _gzip()


def _gzip() -> Compression:
    try:
        isal = import_module("isal")
        igzip = import_module("isal.isal_zlib")
    except ImportError:
        program = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
        return Compression("+gzip", program, lambda: zlib.compressobj(_FASTEST, wbits=_GZIP_FORMAT))
    return Compression("+gzip", f"isal {isal.__version__}", lambda: igzip.compressobj(wbits=_GZIP_FORMAT))


def _zstd() -> Compression:
    try:
        zstd = import_module("compression.zstd")
        program = f"zstd {zstd.zstd_version}, level {_FASTEST}"
        return Compression("+zstd", program, lambda: zstd.ZstdCompressor(level=_FASTEST))
    except ImportError:
        pass
    try:
        zstandard = import_module("zstandard")
    except ImportError:
        raise InputError(
            "compression: zstd needs Python 3.14 or the Python library zstandard on the host that runs the module",
            "Install zstandard there, or use gzip",
        ) from None
    program = f"zstandard {zstandard.__version__}, level {_FASTEST}"
    return Compression("+zstd", program, lambda: zstandard.ZstdCompressor(level=_FASTEST).compressobj())


class CompressedContent:
    """Opens what a layer is when it is compressed.

    Args:
        content: Opens the layer as it is.
        layer: The layer as it is; its content is verified, for nobody else can.
        compression: How to compress it.
        became: Is told what the layer has become, as soon as that is known.

    Attributes:
        what: What is read from where, for people.
        key: Tells these bytes from all others.
        descriptor: What the layer has become; ``None`` until it was read to its end.
    """

    def __init__(
        self,
        content: BlobContent,
        layer: Descriptor,
        compression: Compression,
        became: Callable[[Descriptor], None] = lambda _compressed: None,
    ) -> None:
        self.what = content.what
        self.key = f"{layer.digest} {compression.program}"
        self.descriptor: Descriptor | None = None
        self._content = content
        self._layer = layer
        self._compression = compression
        self._became = became

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        """Open it from ``offset`` (bytes) on; what is before is compressed anew and passed over."""
        with self._content() as blocks:
            yield self._compressed(verified(blocks, self._layer.digest, self._layer.size, self.what), offset)

    def _compressed(self, blocks: Blocks, offset: int) -> Blocks:
        hasher, size = hashlib.sha256(), 0
        for piece in self._pieces(blocks):
            hasher.update(piece)
            before, size = size, size + len(piece)
            if size > offset:
                yield memoryview(piece)[max(offset - before, 0) :]
        media_type = f"{OCI_LAYER}{self._compression.suffix}"
        self.descriptor = Descriptor(media_type, f"sha256:{hasher.hexdigest()}", size)
        self._became(self.descriptor)

    def _pieces(self, blocks: Blocks) -> Iterator[bytes]:
        compressor = self._compression.begin()
        for block in blocks:
            for start in range(0, len(block), _PIECE):
                yield compressor.compress(block[start : start + _PIECE])
        yield compressor.flush()
