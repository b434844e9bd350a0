# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compress layers."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DigestMismatchError, InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.compression import (
    CompressedContent,
    Compression,
    find_compression,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_LAYER
from unit.plugins.module_utils.support.stores import content_of

LAYER = b"".join(b"line %d of a layer\n" % number for number in range(200_000))


def unzstd(content: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(content)


@pytest.fixture
def no_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without isal."""
    monkeypatch.setitem(sys.modules, "isal", None)


@pytest.fixture
def no_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without zstd."""
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)


def compression(choice: str = "gzip") -> Compression:
    """Return the compression for a value of the option."""
    found = find_compression(choice)
    assert found is not None
    return found


def compressed(choice: str = "gzip", layer: bytes = LAYER, stated: bytes = LAYER) -> CompressedContent:
    """Return the compressed content of a layer."""
    descriptor = Descriptor(OCI_LAYER, digest_of(stated), len(stated))
    return CompressedContent(content_of(layer), descriptor, compression(choice))


def read(content: CompressedContent, offset: int = 0) -> bytes:
    with content(offset) as blocks:
        return b"".join(bytes(block) for block in blocks)


@pytest.mark.parametrize(
    ("choice", "suffix", "decompress"),
    [("auto", "+gzip", gzip.decompress), ("gzip", "+gzip", gzip.decompress), ("zstd", "+zstd", unzstd)],
)
def test_compressed_layer_is_another_blob_with_the_same_content(
    choice: str, suffix: str, decompress: Callable[[bytes], bytes]
) -> None:
    content = compressed(choice)

    became = read(content)

    assert decompress(became) == LAYER
    assert len(became) < len(LAYER) // 2
    assert content.descriptor == Descriptor(f"{OCI_LAYER}{suffix}", digest_of(became), len(became))


def test_gzip_is_compressed_by_zlib_without_isal(no_isal: None) -> None:
    assert "zlib" in compression("auto").program
    assert gzip.decompress(read(compressed("auto"))) == LAYER


@pytest.mark.parametrize("choice", ["gzip", "zstd"])
def test_compressed_content_is_identical_from_any_offset(choice: str) -> None:
    whole = read(compressed(choice))

    for offset in (0, 1, len(whole) // 2, len(whole) - 1, len(whole), len(whole) + 1):
        assert read(compressed(choice), offset) == whole[offset:]


def test_compressed_descriptor_is_unknown_before_the_end_of_the_content() -> None:
    content = compressed()

    with content() as blocks:
        next(blocks)

    assert content.descriptor is None


@pytest.mark.parametrize("damaged", [LAYER[:-1], LAYER + b"x", LAYER[:-1] + b"x"], ids=["short", "long", "other"])
def test_compression_rejects_layer_with_wrong_digest(damaged: bytes) -> None:
    content = compressed(layer=damaged)

    with pytest.raises(DigestMismatchError):
        read(content)

    assert content.descriptor is None


def test_compression_none_returns_no_compression() -> None:
    assert find_compression("none") is None


def test_zstd_without_library_fails_with_advice(no_zstd: None) -> None:
    with pytest.raises(InputError, match=r"zstandard.*or use gzip"):
        find_compression("zstd")
