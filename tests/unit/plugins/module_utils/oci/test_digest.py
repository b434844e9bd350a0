# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse digests and verify content."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DigestMismatchError, InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import (
    digest_of,
    parse_digest,
    split_digest,
    verified,
    verify_content,
)

HELLO = digest_of(b"hello")


def read(*blocks: bytes, digest: str = HELLO, size: int = 5) -> bytes:
    return b"".join(bytes(block) for block in verified(map(memoryview, blocks), digest, size, "the blob"))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_with_registered_algorithm_is_accepted(algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, b'hello').hexdigest()}"

    assert parse_digest(digest) == digest_of(b"hello", algorithm) == digest


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "a" * 64,
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 128,
        "sha512:" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 64 + "\n",
        "md5:" + "a" * 32,
        "sha256:../../../../etc/passwd",
    ],
)
def test_invalid_digest_is_rejected(text: object) -> None:
    with pytest.raises(InputError, match="is not a digest"):
        parse_digest(text)


def test_digest_is_split_into_algorithm_and_hexadecimal_part() -> None:
    assert split_digest("sha256:" + "a" * 64) == ("sha256", "a" * 64)


def test_verified_yields_matching_content() -> None:
    assert read(b"hel", b"lo") == b"hello"


def test_verified_rejects_content_of_same_size_with_other_digest() -> None:
    with pytest.raises(DigestMismatchError, match=f"the blob is damaged: .* {digest_of(b'hallo')}"):
        read(b"hallo")


def test_verified_reports_size_of_truncated_content() -> None:
    with pytest.raises(DigestMismatchError, match="the blob ended after 3 of 5 bytes"):
        read(b"hel")


def test_verified_never_yields_more_than_the_size() -> None:
    blocks = verified(map(memoryview, (b"hello", b", world")), HELLO, 5, "the blob")

    assert bytes(next(blocks)) == b"hello"
    with pytest.raises(DigestMismatchError, match="longer than the 5 bytes"):
        next(blocks)


def test_verified_accepts_empty_content() -> None:
    with pytest.raises(DigestMismatchError, match="is damaged"):
        read(digest=HELLO, size=0)


def test_verify_content_uses_algorithm_of_the_digest() -> None:
    assert verify_content(b"hello", digest_of(b"hello", "sha512"), "the manifest") == b"hello"


def test_verify_content_rejects_other_digest() -> None:
    with pytest.raises(DigestMismatchError, match="the manifest is damaged"):
        verify_content(b"hallo", HELLO, "the manifest")
