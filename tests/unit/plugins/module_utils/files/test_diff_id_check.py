# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compressed layers are verified during reading, also after interruptions."""

from __future__ import annotations

import gzip
import weakref
from itertools import islice

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.decompression import GZIP, Decompressor, Library
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.diff_id_check import DiffIdCheck
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.stores import Content

CONTENT = b"what a layer unpacks to"
PACKED = gzip.compress(CONTENT)
BLOCK = 10


class Part:
    """A decompressor that changes nothing."""

    created: list[Part] = []  # noqa: RUF012 - the decompressors of a test

    def __init__(self) -> None:
        self.eof = False
        self.unused_data = b""
        self.created.append(self)

    def decompress(self, content: bytes, _limit: int) -> bytes:
        self.eof = bytes(content) == CONTENT[-3:]
        return bytes(content)


def read_in_blocks(content: bytes) -> Content:
    return Content(content, BLOCK)


def check(reader: Content) -> DiffIdCheck:
    library = GZIP.find_library()
    assert library
    return DiffIdCheck(reader, len(reader.content), digest_of(CONTENT), "the layer", Decompressor(GZIP, library))


def test_check_continues_after_interrupted_read() -> None:
    reader = read_in_blocks(PACKED)
    checked = check(reader)

    with checked.open() as blocks:
        begun = b"".join(islice(blocks, 2))
    with checked.open(BLOCK) as blocks:
        rest = b"".join(blocks)

    assert (begun, rest) == (PACKED[: 2 * BLOCK], PACKED[BLOCK:])
    assert reader.offsets == [0, BLOCK]


def test_check_reads_earlier_bytes_only_once() -> None:
    reader = read_in_blocks(PACKED)
    checked = check(reader)

    for _time in range(2):
        with checked.open(3 * BLOCK) as blocks:
            assert b"".join(blocks) == PACKED[3 * BLOCK :]

    assert reader.offsets == [0, 3 * BLOCK]


def test_finished_check_frees_the_decompressor() -> None:
    decompressor = Decompressor(GZIP, Library(Part, OSError))
    checked = DiffIdCheck(read_in_blocks(CONTENT), len(CONTENT), digest_of(CONTENT), "the layer", decompressor)
    parts = weakref.WeakSet(Part.created)
    Part.created.clear()

    with checked.open() as blocks:
        assert len(parts) == 1
        assert b"".join(blocks) == CONTENT

    assert len(parts) == 0


def test_check_withholds_last_block_of_content_with_wrong_diff_id() -> None:
    packed = gzip.compress(CONTENT + b"!")

    with check(read_in_blocks(packed)).open() as blocks:
        given = b"".join(islice(blocks, (len(packed) - 1) // BLOCK))
        with pytest.raises(SourceError, match=r"^the layer does not match its diff ID in the image's config"):
            next(blocks)

    assert packed.startswith(given)
