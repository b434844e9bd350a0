# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read small bodies into memory, within limits for their size and their time.

A body is read as it was sent: all requests of the collection accept the encoding ``identity`` only, and expanding
another encoding could fill the memory.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import UnreadableResponseError
from .network_errors import NETWORK_ERRORS
from .response import CompleteResponse

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

SECONDS = 300.0
"""Seconds to read a small body: 4 MiB at 14 KB/s."""
MAXIMUM_ERROR_BODY = 64 << 10
"""Bytes of an error response's body that are read; valid ones are shorter."""
_ERROR_SECONDS = 30.0
_BODY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
_BLOCK = 64 << 10


def read_body(raw: Any, limit: int, peer: str, seconds: float = SECONDS) -> bytes:
    """Return a body, or its first ``limit + 1`` bytes if it is longer; its connection is then closed.

    Args:
        raw: The response of urllib3, whose body is unread.
        limit: The maximum size in bytes.
        peer: The name of the peer in messages.
        seconds: The maximum time for the body.

    Raises:
        UnreadableResponseError: The body is compressed.
        HTTPException, OSError: The connection was interrupted, or the body is incomplete or too slow.
    """
    encoding = raw.headers.get("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        raw.close()
        raise UnreadableResponseError(
            f"{peer} returned a compressed response ({encoding:.50}), which the request does not accept",
            "Disable the compression in the server, or in the proxies and load balancers on the path",
        )
    body = bytearray()
    _read(raw, body, limit, seconds)
    return bytes(body)


def read_text(raw: Any) -> bytes:
    """Return the beginning of a body that only explains a status; empty if it is compressed.

    An incomplete body is used too: a server that responds early may reset the connection afterwards. The connection
    stays open if the body was read to its end.
    """
    body = bytearray()
    with contextlib.suppress(*NETWORK_ERRORS):
        _read(raw, body, MAXIMUM_ERROR_BODY, _ERROR_SECONDS)
    encoding = raw.headers.get("Content-Encoding") or "identity"
    return bytes(body[:MAXIMUM_ERROR_BODY]) if encoding.lower() == "identity" else b""


def in_memory(raw: Any, content: bytes) -> HTTPResponse:
    """Return a response of urllib3 with another body and the same status and headers, except those of the body."""
    from urllib3 import HTTPResponse

    headers = {name: value for name, value in raw.headers.items() if name.lower() not in _BODY_HEADERS}
    return HTTPResponse(io.BytesIO(content), headers, raw.status, reason=raw.reason, preload_content=False)


def _read(raw: Any, body: bytearray, limit: int, seconds: float) -> None:
    """Append a body, or its first ``limit + 1`` bytes, to ``body``."""
    # Reading from urllib3 would wait for a whole block, and discard its beginning if the connection is interrupted.
    response = getattr(raw, "_original_response", None)
    read: Callable[[int], bytes] = partial(raw.read, decode_content=False)
    if isinstance(response, CompleteResponse):
        response.finish_within(seconds)
        read = response.receive
    try:
        while len(body) <= limit:
            block = read(min(_BLOCK, limit + 1 - len(body)))
            if not block:
                raw.release_conn()
                return
            body += block
    except NETWORK_ERRORS:
        raw.close()
        raise
    raw.close()
