# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP connections for large bodies over slow or unreliable networks."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from .response import CompleteResponse, ResponseReader
from .slow_peer import Pace, PacedReader

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

_PART = 128 << 10
"""Bytes of one write to a slow connection: the timeout of a socket limits a whole write, not each pause."""
_MEASURED = 8 << 20
"""Bytes after which the rate is known, because the buffers of the operating system are full."""
_FAST_PART = 0.1
"""The part of the timeout that a large block takes at most on a fast connection."""

_UNSENT = 1 << 20
"""Unsent bytes in the socket's buffer; after an interruption they are sent again."""

_INTERIM = b"HTTP/1.1 1"
"""The beginning of an interim response, which does not end the request (RFC 9110, section 15.2)."""


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


def limited(connection_class: Any, timeout: float, minimum_rate: int) -> Any:
    """Return a connection class of urllib3 that limits slow peers.

    Args:
        timeout: Seconds without progress after which sending fails; urllib3 applies the short timeout for connecting.
        minimum_rate: Bytes a second in each direction, see :mod:`.slow_peer`; 0 for no minimum.
    """
    return type("LimitedConnection", (_Limited, connection_class), {"limits": (timeout, minimum_rate)})


def streaming(connection_class: Any, timeout: float, minimum_rate: int) -> Any:
    """Return a class like :func:`limited` that sends in large blocks and stops after an early response.

    Only newer versions of urllib3 set the block size, and none reads a response before the request's end.
    """
    return type("StreamingConnection", (_Streaming, connection_class), {"limits": (timeout, minimum_rate)})


def limit_pools(manager: Any, timeout: float, minimum_rate: int) -> None:
    """Let a pool manager of urllib3 open connections of the class that :func:`limited` returns."""
    manager.pool_classes_by_scheme = {
        scheme: type(pool.__name__, (pool,), {"ConnectionCls": limited(pool.ConnectionCls, timeout, minimum_rate)})
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


class _Limited(_HTTPConnection):
    """Limits the time and the minimum rate of each direction."""

    limits: tuple[float, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending = Pace("received", *self.limits)
        self._sent = 0
        self._seconds = 0.0

    def connect(self) -> None:
        self._sent, self._seconds = 0, 0.0
        super().connect()

    def send(self, data: Any) -> None:
        if self.sock is None:
            # The connection is opened first.
            super().send(data)
            return
        timeout = self.limits[0]
        is_fast = self._sent > _MEASURED and self._seconds * _BLOCK_SIZE < self._sent * timeout * _FAST_PART
        block, size = memoryview(data), _BLOCK_SIZE if is_fast else _PART
        for start in range(0, len(block), size):
            self._send_part(block[start : start + size])

    def _send_part(self, part: memoryview) -> None:
        self.sock.settimeout(self.limits[0])
        begin = time.monotonic()
        super().send(part)
        seconds = time.monotonic() - begin
        self._sent += len(part)
        self._seconds += seconds
        self._sending.add(len(part), seconds)

    def response_class(  # type: ignore[override]
        self, sock: Any, *args: Any, **kwargs: Any
    ) -> CompleteResponse:
        return CompleteResponse(self._open_reader(sock), False, *args, **kwargs)

    def _open_reader(self, sock: Any) -> ResponseReader:
        return ResponseReader(PacedReader(sock, Pace("sent", *self.limits)))


class _Streaming(_Limited):
    """Checks for an early response before each write."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocksize = _BLOCK_SIZE
        self._has_connected = False
        self._early_response: ResponseReader | None = None
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

    def _send_part(self, part: memoryview) -> None:
        if self._has_connected:
            self._stop_after_response()
        try:
            super()._send_part(part)
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
        self._early_response = self._received()
        if self._early_response is not None and not _may_be_interim(self._early_response):
            self._is_incomplete = True
            # urllib3 then reads the response.
            raise BrokenPipeError(errno.EPIPE, "closed before the request's end")

    def _received(self) -> ResponseReader | None:
        """Return a reader with the bytes received so far; None if they were only TLS records such as tickets."""
        reader = self._open_reader(self.sock)
        self.sock.settimeout(0)
        try:
            reader.peek(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            reader.close()
            return None
        except OSError:
            reader.close()
            raise
        return reader

    def response_class(  # type: ignore[override]
        self, sock: Any, *args: Any, **kwargs: Any
    ) -> CompleteResponse:
        reader, is_incomplete = self._early_response, self._is_incomplete
        self._early_response, self._is_incomplete = None, False
        if reader is not None:
            # The rest of the upload, and the wait for the response to it, must not count for an interim response.
            reader.raw.restart()
        return CompleteResponse(reader or self._open_reader(sock), is_incomplete, *args, **kwargs)

    def close(self) -> None:
        super().close()
        if self._early_response is not None:
            # It keeps the socket open.
            self._early_response.close()
        self._early_response, self._is_incomplete = None, False


def _may_be_interim(response: ResponseReader) -> bool:
    received = response.peek(1)[: len(_INTERIM)]
    return bool(received) and _INTERIM.startswith(received)
