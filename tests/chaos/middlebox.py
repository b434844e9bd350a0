# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP proxy that injects faults, in front of the API server or between it and a registry."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 64 << 10
_LINGER_SECONDS = 0.5
_DROPPED_HEADERS = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"))


class Exchange(BaseHTTPRequestHandler):
    """One request and its response."""

    protocol_version = "HTTP/1.1"
    server: _Server
    _upstream: http.client.HTTPConnection | None = None
    _buffered: list[bytes] | None = None

    def do(self) -> None:
        """Inject a fault, or forward the request."""
        self._buffered = None
        if not any(handle(self) for handle in list(self.server.fault_handlers.values())):
            self.forward()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do  # noqa: N815 (names of http.server)

    @property
    def length(self) -> int:
        """The request's Content-Length; 0 if it has none."""
        return int(self.headers.get("Content-Length") or 0)

    @property
    def is_chunked(self) -> bool:
        """Whether the request's body is chunked."""
        return self.headers.get("Transfer-Encoding") == "chunked"

    def forward(self) -> None:
        """Forward the request and return the response; reset both connections if one fails."""
        try:
            self._send_response(self._send_request())
        except (OSError, ValueError, http.client.HTTPException):
            self._close_upstream()
            self.reset()

    def exceeds(self, limit: int) -> bool:
        """Return whether the body is larger than the limit; a chunked body is read up to the limit."""
        if not self.is_chunked:
            return self.length > limit
        read: list[bytes] = []
        for block in self.read_body():
            read.append(block)
            if sum(map(len, read)) > limit:
                return True
        self._buffered = read
        return False

    def reject(self, status: int, body: str, content_type: str = "text/html") -> None:
        """Send an error response without reading the body, and close the connection after a delay."""
        content = body.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.linger()

    def linger(self) -> None:
        """Close the sending direction, and discard received data for half a second."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while self.connection.recv(BLOCK):
                pass

    def reset(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        if self.connection.fileno() >= 0:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def read_body(self) -> Iterator[bytes]:
        """Read the request's body.

        Raises:
            ConnectionResetError: The body is incomplete.
        """
        if self._buffered is not None:
            yield from self._buffered
            return
        if not self.is_chunked:
            yield from self._read(self.length)
            return
        while size := int(self.rfile.readline(BLOCK) or b"x", 16):
            yield from self._read(size)
            self.rfile.readline(BLOCK)
        self.rfile.readline(BLOCK)

    def _read(self, left: int) -> Iterator[bytes]:
        while left:
            block = self.rfile.read1(min(BLOCK, left))
            if not block:
                raise ConnectionResetError
            left -= len(block)
            yield block

    def finish(self) -> None:
        """Close both connections."""
        self._close_upstream()
        super().finish()

    def log_message(self, *_words: object) -> None:
        """Log nothing."""

    def _send_request(self) -> http.client.HTTPResponse:
        if self._upstream is None:
            self._upstream = self.server.connect()
        self._upstream.putrequest(self.command, self.path, skip_accept_encoding=True, skip_host=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "authorization"):
                self._upstream.putheader(name, value)
        self._upstream.endheaders()
        for block in self.read_body():
            self._upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if self.is_chunked else block)
        if self.is_chunked:
            self._upstream.send(b"0\r\n\r\n")
        return self._upstream.getresponse()

    def _send_response(self, response: http.client.HTTPResponse) -> None:
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        content = response.read() if response.length is None and not bodiless else None
        length = response.headers.get("Content-Length") if content is None else len(content)
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _DROPPED_HEADERS:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if content is not None:
            self.wfile.write(content)
        elif not bodiless:
            left = int(length or 0)
            while left:
                block = response.read(min(BLOCK, left))
                if not block:
                    raise ConnectionResetError
                left -= len(block)
                self.wfile.write(block)
        else:
            response.read()

    def _close_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None


FaultHandler = Callable[[Exchange], bool]
"""Handles a request instead of forwarding it; returns whether it did."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Threads of idle connections do not end.
    block_on_close = False

    def __init__(self, host: str, connect: Callable[[], http.client.HTTPConnection]) -> None:
        super().__init__((host, 0), Exchange)
        self.connect = connect
        self.fault_handlers: dict[object, FaultHandler] = {}

    def handle_error(self, *_words: object) -> None:
        """Ignore errors: failed connections are expected."""


class Middlebox:
    """A running proxy.

    Attributes:
        port: Port of the proxy.
        fault_handlers: Active faults, by owner.
    """

    def __init__(self, server: _Server) -> None:
        self.port = int(server.server_address[1])
        self.fault_handlers = server.fault_handlers


@contextmanager
def middlebox(host: str, connect: Callable[[], http.client.HTTPConnection]) -> Iterator[Middlebox]:
    """Run a proxy without faults, until the end of the block.

    Args:
        host: Address to listen on.
        connect: Opens a connection to the upstream server.
    """
    with _Server(host, connect) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Middlebox(server)
        finally:
            server.shutdown()
            thread.join()
