# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP connections for large bodies over slow or unreliable networks."""

from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any, BinaryIO

try:
    import urllib3
except ImportError:  # the module reports missing libraries
    pass

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _HTTPConnection
else:
    # A mixin for urllib3's connection classes with and without TLS.
    _HTTPConnection = object

_BLOCK_SIZE = 1 << 20
"""Bytes of one write to the socket: a quarter faster than http.client's 16 KiB (measured on 1 GiB)."""

_UNSENT = 1 << 20
"""Unsent bytes in the socket's buffer; after an interruption they are sent again."""

_INTERIM = b"HTTP/1.1 1"
"""The beginning of an interim response, which does not end the request (RFC 9110, section 15.2)."""
_FIRST_OTHER_THAN_SUCCESS = 300


def socket_options() -> list[tuple[int, int, int]]:
    """Return options for keep-alive probes and a small send buffer.

    The probes keep middleboxes from dropping a connection that waits for the registry. The limit applies to unsent
    bytes, not to bytes in flight, so it does not slow down connections with a high latency.
    """
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_NOTSENT_LOWAT", _UNSENT))
    for name, value in wanted:
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return options


def with_send_timeout(connection_class: Any, seconds: float) -> Any:
    """Return a connection class of urllib3 whose writes fail after some seconds without progress.

    urllib3 applies the short timeout for connecting to writes as well.
    """
    return type("SendTimeoutConnection", (_SendTimeout, connection_class), {"send_timeout": seconds})


def streaming(connection_class: Any, seconds: float) -> Any:
    """Return a class like :func:`with_send_timeout` that sends in large blocks and stops after an early response.

    Only newer versions of urllib3 set the block size, and none reads a response before the request's end.
    """
    return type("StreamingConnection", (_Streaming, connection_class), {"send_timeout": seconds})


class _SendTimeout(_HTTPConnection):
    """Sets a timeout before each write."""

    send_timeout: float

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.send_timeout)
        super().send(data)


class _Streaming(_SendTimeout):
    """Checks for an early response before each write."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocksize = _BLOCK_SIZE
        self._has_connected = False
        self._early_response: io.BufferedReader | None = None
        self._is_incomplete = False
        """Whether the request was not sent to its end."""

    @property
    def has_connected_to_proxy(self) -> bool:
        """Whether the proxy is not the cause of an error; urllib3 resets its own flag when it closes the connection."""
        return self._has_connected

    def connect(self) -> None:
        self._has_connected = False
        super().connect()
        self._has_connected = True
        # The module has warned about an unchecked certificate; urllib3 would warn again for each connection.
        self.is_verified = True

    def send(self, data: Any) -> None:
        if self.sock is not None and self._has_connected:
            self._stop_after_response()
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            self._is_incomplete = True
            raise

    def _stop_after_response(self) -> None:
        """Stop sending if the peer responded or closed the connection before the request's end.

        After an early response, more data only fills buffers that the peer no longer reads, and a reset may discard the
        response.
        """
        if self._early_response is not None or not urllib3.util.wait_for_read(self.sock, timeout=0):
            return
        self._early_response = _received(self.sock)
        if self._early_response is not None and not _may_be_interim(self._early_response):
            self._is_incomplete = True
            # urllib3 then reads the response.
            raise BrokenPipeError(errno.EPIPE, "closed before the request's end")

    def response_class(  # type: ignore[override]
        self, sock: Any, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        response = _CompleteResponse(sock, *args, **kwargs)
        response.continue_from(self._early_response, self._is_incomplete)
        self._early_response, self._is_incomplete = None, False
        return response

    def close(self) -> None:
        super().close()
        if self._early_response is not None:
            # It keeps the socket open.
            self._early_response.close()
        self._early_response, self._is_incomplete = None, False


def _received(sock: Any) -> io.BufferedReader | None:
    """Return a reader with the bytes received so far; None if they were only TLS records such as a session ticket."""
    reader: io.BufferedReader = sock.makefile("rb")
    sock.settimeout(0)
    try:
        reader.peek(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        reader.close()
        return None
    except OSError:
        reader.close()
        raise
    return reader


def _may_be_interim(response: io.BufferedReader) -> bool:
    received = response.peek(1)[: len(_INTERIM)]
    return bool(received) and _INTERIM.startswith(received)


class _CompleteResponse(http.client.HTTPResponse):
    """A response whose header is complete; http.client accepts a truncated header."""

    _request_is_incomplete = False

    def continue_from(self, reader: io.BufferedReader | None, request_is_incomplete: bool) -> None:
        """Set the reader that has buffered the beginning of the response, if any, and the state of the request."""
        self._request_is_incomplete = request_is_incomplete
        if reader is not None:
            self.fp.close()
            self.fp = reader

    def begin(self) -> None:
        reader = self.fp
        self.fp = _CompleteLines(reader)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            # http.client sets it to None for a response without a body.
            if self.fp is not None:
                self.fp = reader
        if self._request_is_incomplete:
            # The connection cannot carry another request, because the end of this one is missing.
            self.will_close = True
            if self.status < _FIRST_OTHER_THAN_SUCCESS:
                raise http.client.RemoteDisconnected("success response to an incomplete request")


class _CompleteLines:
    """Reads lines and rejects one without an end."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._has_begun = False
        self.close = reader.close

    def readline(self, limit: int) -> bytes:
        line = self._reader.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            begun = self._has_begun or line
            raise http.client.RemoteDisconnected(f"closed {'during' if begun else 'without'} a response")
        self._has_begun = True
        return line
