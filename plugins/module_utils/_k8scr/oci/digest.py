# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Digests of content (OCI image specification, "Descriptor: Digests")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from ..errors import DigestMismatchError, InputError

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]+)")


def parse_digest(text: object) -> str:
    """Return ``text`` if it is a digest with a registered algorithm.

    Raises:
        InputError: The text is not a digest.
    """
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    if match is None or len(match[2]) != _HEX_LENGTH[match[1]]:
        what = repr(text) if isinstance(text, str) else f"a {type(text).__name__}"
        raise InputError(f"{what:.200} is not a digest", "A digest is sha256: or sha512: and hexadecimal digits")
    return match[0]


def split_digest(digest: str) -> tuple[str, str]:
    """Return the algorithm and the hexadecimal part of a valid digest."""
    algorithm, _colon, encoded = digest.partition(":")
    return algorithm, encoded


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of ``content``."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def digest_of_blocks(blocks: Iterable[memoryview]) -> str:
    """Return the sha256 digest of the content of all blocks."""
    hasher = hashlib.sha256()
    for block in blocks:
        hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def verified(blocks: Iterable[memoryview], digest: str, size: int, what: str) -> Iterator[memoryview]:
    """Yield ``blocks`` unchanged, and verify the size and the digest of all content at the end.

    Args:
        size: The expected size in bytes. More bytes are never yielded.
        what: The name and source of the content, for messages.

    Raises:
        DigestMismatchError: The size or the digest differs.
    """
    algorithm, encoded = split_digest(digest)
    hasher = hashlib.new(algorithm)
    length = 0
    for block in blocks:
        length += len(block)
        if length > size:
            raise DigestMismatchError(f"{what} is longer than the {size} bytes in its descriptor")
        hasher.update(block)
        yield block
    if length < size:
        raise DigestMismatchError(f"{what} ended after {length} of {size} bytes")
    if hasher.hexdigest() != encoded:
        raise DigestMismatchError(f"{what} is damaged: its content has the digest {algorithm}:{hasher.hexdigest()}")


def read_verified(blocks: Iterable[memoryview], digest: str, size: int, what: str) -> bytes:
    """Return the content of all blocks; see :func:`verified`."""
    return b"".join(bytes(block) for block in verified(blocks, digest, size, what))


def is_undamaged(blocks: Iterable[memoryview], digest: str, size: int) -> bool:
    """Read all blocks, and return whether they have this digest and size."""
    try:
        for _block in verified(blocks, digest, size, "the blob"):
            pass
    except DigestMismatchError:
        return False
    return True


def verify_content(content: bytes, digest: str, what: str, size: int | None = None) -> bytes:
    """Return ``content`` if its digest and, if given, its size match.

    Raises:
        DigestMismatchError: The digest or the size differs.
    """
    actual = digest_of(content, split_digest(digest)[0])
    if actual != digest:
        raise DigestMismatchError(f"{what} is damaged: its content has the digest {actual}")
    if size is not None and len(content) != size:
        raise DigestMismatchError(f"{what} has {len(content)} bytes instead of {size} as in its descriptor")
    return content
