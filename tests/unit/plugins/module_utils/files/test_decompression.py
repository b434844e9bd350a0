# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of many parts: members of gzip, frames of zstd, and streams of bzip2 and xz."""

from __future__ import annotations

import bz2
import gzip
import lzma
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import decompression
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.decompression import (
    BZIP2,
    GZIP,
    XZ,
    ZSTD,
    Decompressor,
    Format,
    decompressed,
)

SIZE = 256 << 10
CREATE = zstandard.ZstdDecompressor


class Counted:
    """A decompressor that counts its input."""

    def __init__(self, part: Any, inputs: list[int]) -> None:
        self._part = part
        self._inputs = inputs

    def decompress(self, content: bytes, limit: int) -> Any:
        self._inputs.append(len(content))
        return self._part.decompress(content, limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


@pytest.mark.parametrize(
    ("compression", "compress"), [(GZIP, gzip.compress), (BZIP2, bz2.compress), (XZ, lzma.compress)]
)
def test_decompression_of_many_parts_copies_a_small_rest_after_each(
    compression: Format, compress: Callable[[bytes], bytes]
) -> None:
    library = compression.find_library()
    assert library
    create, inputs = library.create, list[int]()
    counting = replace(library, create=lambda: Counted(create(), inputs))
    part = compress(b"")
    content = part * (SIZE // len(part))

    outputs = [bytes(block) for block in decompressed(iter([memoryview(content)]), compression, counting)]

    assert b"".join(outputs) == b""
    assert sum(inputs) < 1000 * SIZE


class Context:
    """A context of the library zstandard, which has the memory for a stream."""

    created: ClassVar[list[weakref.ref[Context]]] = []

    def __init__(self, **options: Any) -> None:
        self.decompressobj = CREATE(**options).decompressobj
        self.created.append(weakref.ref(self))


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Context]]:
    """The contexts of the library zstandard, in place of the module of later versions of Python."""
    monkeypatch.setattr(decompression, "_import", {"zstandard": zstandard}.get)
    monkeypatch.setattr(zstandard, "ZstdDecompressor", Context)
    monkeypatch.setattr(Context, "created", [])
    return Context.created


def test_decompression_of_many_zstd_frames_uses_one_context(contexts: list[weakref.ref[Context]]) -> None:
    content = b"".join(zstandard.compress(b"%d " % number) for number in range(1000))
    library = ZSTD.find_library()
    assert library

    outputs = [bytes(block) for block in decompressed(iter([memoryview(content)]), ZSTD, library)]

    assert b"".join(outputs) == b"".join(b"%d " % number for number in range(1000))
    assert len(contexts) == 1


def test_closed_decompressor_frees_its_context(contexts: list[weakref.ref[Context]]) -> None:
    library = ZSTD.find_library()
    assert library
    decompressor = Decompressor(ZSTD, library)
    del library
    list(decompressor.feed(zstandard.compress(b"content")))

    decompressor.close()

    assert [context() for context in contexts] == [None]
