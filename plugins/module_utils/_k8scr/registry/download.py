# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Downloading a blob, going on where it was cut (OCI distribution specification, "Pulling blobs")."""

from __future__ import annotations

from collections.abc import Generator
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionLostError, DigestMismatchError, K8scrError, RegistryError, SourceError
from ..http.retry import Attempts
from ..oci.content import BLOCK_SIZE, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from .error_responses import refusal
from .road import RegistryRoad

if TYPE_CHECKING:
    import requests


def download_blob(
    road: RegistryRoad, repository: str, descriptor: Descriptor, offset: int, attempts: Attempts
) -> Generator[memoryview, None, None]:
    """Yield a blob's content from ``offset`` (bytes) on, as often cut and gone on with as need be; it is not verified.

    Args:
        road: The registry.
        repository: The repository.
        descriptor: The blob.
        offset: Bytes to leave out at the beginning.
        attempts: When to try again.

    Raises:
        SourceError: The registry does not have it.
        RegistryError: The registry refuses it.
        ConnectionLostError: The connection was lost, and has gone on being lost for too long.
    """
    position = offset
    while position < descriptor.size:
        try:
            for block in _read(road, repository, descriptor, position):
                position += len(block)
                attempts.worked()
                yield block
            # An answer that ended where it said is all that the registry has; the digest tells whether it is enough.
            return
        except K8scrError as error:
            attempts.failed(error)


def _read(road: RegistryRoad, repository: str, descriptor: Descriptor, position: int) -> Blocks:
    what = f"blob {descriptor.digest} cannot be read"
    headers = {"Range": f"bytes={position}-{descriptor.size - 1}"} if position else {}
    response = road.request("GET", f"/v2/{repository}/blobs/{descriptor.digest}", headers=headers)
    with response:
        if response.status_code == 404:
            raise SourceError(
                f"repository {repository} in {road.description} lacks the blob {descriptor.digest}",
                "Push the image again",
            )
        if response.status_code not in (200, 206):
            raise refusal(response, what, road.description)
        if response.status_code == 206 and not _begins_at(response, position):
            raise RegistryError(f"{what}: {road.description} answered with another part than was asked for")
        surplus = position if response.status_code == 200 else 0
        blocks = road.limit(_body(response))
        if response.headers.get("Content-Type", "").startswith("text/html") and not position:
            blocks = _unchanged(blocks, descriptor, what)
        try:
            for block in blocks:
                left_out = min(surplus, len(block))
                surplus -= left_out
                if block[left_out:]:
                    yield block[left_out:]
        except (HTTPException, OSError) as error:
            raise _lost(road, descriptor) from error


def _body(response: requests.Response) -> Blocks:
    """An answer's body as it came, always in the same buffer; urllib3 would make each block anew.

    Raises:
        HTTPException: It ended before its time.
        OSError: The connection was lost.
    """
    body: Any = response.raw._original_response
    buffer = memoryview(bytearray(BLOCK_SIZE))
    while count := body.readinto(buffer):
        yield buffer[:count]
    if body.length:
        raise IncompleteRead(b"", body.length)
    response.raw.release_conn()


def _unchanged(blocks: Blocks, descriptor: Descriptor, what: str) -> Blocks:
    """Say why content is another than was pushed: the API server rewrites the links in what is called HTML."""
    try:
        yield from verified(blocks, descriptor.digest, descriptor.size, what)
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{what}: the registry calls it text/html, and the API server rewrites the links in that",
            "Have the registry say application/octet-stream, as registries do",
        ) from error


def _begins_at(response: requests.Response, position: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {position}-")


def _lost(road: RegistryRoad, descriptor: Descriptor) -> ConnectionLostError:
    what = f"blob {descriptor.digest} from {road.description}"
    return ConnectionLostError(f"the connection was lost while reading {what}", "Run again")
