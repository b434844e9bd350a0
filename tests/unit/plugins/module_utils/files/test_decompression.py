# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of many parts: members of gzip, frames of zstd, and streams of bzip2 and xz."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.decompression import (
    BZIP2,
    GZIP,
    XZ,
    ZSTD,
    Format,
    decompressed,
)

SIZE = 256 << 10


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


def test_decompression_of_many_zstd_frames_uses_one_context(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[zstandard.ZstdDecompressor] = []
    create = zstandard.ZstdDecompressor

    def noted(**options: Any) -> zstandard.ZstdDecompressor:
        created.append(create(**options))
        return created[-1]

    monkeypatch.setattr(zstandard, "ZstdDecompressor", noted)
    content = b"".join(zstandard.compress(b"%d " % number) for number in range(1000))
    library = ZSTD.find_library()
    assert library

    outputs = [bytes(block) for block in decompressed(iter([memoryview(content)]), ZSTD, library)]

    assert b"".join(outputs) == b"".join(b"%d " % number for number in range(1000))
    assert len(created) <= 1
