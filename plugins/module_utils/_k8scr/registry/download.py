# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob downloads that resume after an interruption (OCI distribution specification, "Pulling blobs")."""

from __future__ import annotations

from collections.abc import Generator
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any

from ..errors import DigestMismatchError, K8scrError, MissingBlobError, RegistryError
from ..http.network_errors import NETWORK_ERRORS
from ..http.retry import Attempts
from ..oci.content import BLOCK_SIZE, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .client import Registry
from .error_responses import error_of
from .response import interrupted, receive

if TYPE_CHECKING:
    import requests

_SMALLEST_BUFFER = 16 << 10
"""Bytes. A config needs no more, and an inventory reads thousands of them."""


def download_blob(
    registry: Registry, repository: str, descriptor: Descriptor, offset: int, attempts: Attempts
) -> Generator[memoryview, None, None]:
    """Yield a blob's content, from the byte at ``offset``, without verifying it. An interrupted download resumes.

    Raises:
        MissingBlobError: The registry does not have the blob.
        RegistryError: The registry returned an error response.
        ConnectionLostError: The connection was interrupted, and retries have failed for too long.
    """
    position = offset
    while position < descriptor.size:
        try:
            for block in _read(registry, repository, descriptor, position):
                position += len(block)
                attempts.note_progress()
                yield block
            # The response was complete, so the registry has no more bytes. The caller verifies the digest.
            return
        except K8scrError as error:
            attempts.wait_or_raise(error)


def _read(registry: Registry, repository: str, descriptor: Descriptor, position: int) -> Blocks:
    failure = f"blob {descriptor.digest} cannot be read"
    headers = {"Range": f"bytes={position}-{descriptor.size - 1}"} if position else {}
    response = registry.request("GET", f"/v2/{repository}/blobs/{descriptor.digest}", headers=headers)
    with response:
        if response.status_code == 404:
            raise MissingBlobError(
                f"repository {repository} in {registry.description} does not have the blob {descriptor.digest}",
                "Push the image again",
            )
        if response.status_code not in (200, 206):
            raise error_of(receive(response, registry.peers), failure, registry.description)
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 206 and not content_range.startswith(f"bytes {position}-"):
            raise RegistryError(f"{failure}: {registry.description} returned another range than requested")
        surplus = position if response.status_code == 200 else 0
        blocks = registry.limit(_body(response, descriptor.size))
        if response.headers.get("Content-Type", "").startswith("text/html") and not position:
            blocks = _verified_html(blocks, descriptor, failure)
        try:
            for block in blocks:
                skipped = min(surplus, len(block))
                surplus -= skipped
                if block[skipped:]:
                    yield block[skipped:]
        except NETWORK_ERRORS as error:
            raise interrupted(error, f"blob {descriptor.digest}", registry.peers) from error


def _body(response: requests.Response, size: int) -> Blocks:
    """Yield a response's body in one reused buffer; urllib3 would allocate each block."""
    body: Any = response.raw._original_response
    buffer = memoryview(bytearray(min(BLOCK_SIZE, max(size, _SMALLEST_BUFFER))))
    while count := body.readinto(buffer):
        yield buffer[:count]
    if body.length:
        raise IncompleteRead(b"", body.length)
    response.raw.release_conn()


def _verified_html(blocks: Blocks, descriptor: Descriptor, failure: str) -> Blocks:
    """Verify content with the media type of HTML, because the API server rewrites links in HTML."""
    try:
        yield from verified(blocks, descriptor.digest, descriptor.size, failure)
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{failure}: the registry returned it as text/html, and the API server rewrites links in HTML",
            "Configure the registry to return blobs as application/octet-stream, as registries do",
        ) from error
