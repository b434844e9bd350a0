# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses of a registry whose body is small: all except blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ConnectionLostError
from ..http.body import read_body, read_text
from ..http.network_errors import NETWORK_ERRORS, NetworkError
from ..oci.manifest import MAXIMUM_SIZE

if TYPE_CHECKING:
    import requests


@dataclass(frozen=True)
class RegistryResponse:
    """A complete response.

    Attributes:
        content: The body. A success response's has at most one byte more than ``MAXIMUM_SIZE``; the beginning of
            another's.
        next_page: The address of the next page of a list (RFC 8288, "Web Linking"); empty on the last page.
    """

    status_code: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    next_page: str = ""


def receive(response: requests.Response, peer: str) -> RegistryResponse:
    """Read the body of a response, within limits for its size and its time, and close the response.

    Args:
        response: The response, with its body unread.
        peer: The peer's name in messages.

    Raises:
        ConnectionLostError: The body of a success response is incomplete or too slow.
        UnreadableResponseError: It is compressed.
    """
    with response:
        try:
            is_success = response.status_code < 300
            content = read_body(response.raw, MAXIMUM_SIZE, peer) if is_success else read_text(response.raw)
        except NETWORK_ERRORS as error:
            raise interrupted(error, "a response", peer) from error
    next_page = response.links.get("next", {}).get("url", "")
    return RegistryResponse(response.status_code, response.reason or "", response.headers, content, next_page)


def interrupted(error: BaseException, content: str, peer: str) -> ConnectionLostError:
    """Return the error for an exception while reading ``content`` from ``peer``."""
    return NetworkError(error).slow_peer(peer) or ConnectionLostError(
        f"the connection was interrupted while reading {content} from {peer}", "Run again"
    )
