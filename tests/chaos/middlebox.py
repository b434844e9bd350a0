# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proxy that knows HTTP and does as load balancers do: in front of the API server, or between it and a registry."""

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
_LINGERING = 0.5
_OF_A_CONNECTION = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"))


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: _Server
    _next: http.client.HTTPConnection | None = None
    _read_before: list[bytes] | None = None

    def do(self) -> None:
        """Misbehave, or let the request pass."""
        self._read_before = None
        if not any(misbehave(self) for misbehave in list(self.server.misbehaviours.values())):
            self.let_pass()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do  # noqa: N815 (names of http.server)

    @property
    def length(self) -> int:
        """The bytes of the request's body, where it says so."""
        return int(self.headers.get("Content-Length") or 0)

    @property
    def is_chunked(self) -> bool:
        """Whether the body's end shows only when it comes."""
        return self.headers.get("Transfer-Encoding") == "chunked"

    def let_pass(self) -> None:
        """Carry the request on and its answer back; a connection that breaks on one side is broken on the other."""
        try:
            answer = self._ask()
            self._answer(answer)
        except (OSError, ValueError, http.client.HTTPException):
            self._let_go()
            self.reset()

    def exceeds(self, limit: int) -> bool:
        """Whether the body has more bytes than that; if that shows only as it comes, so much of it is read."""
        if not self.is_chunked:
            return self.length > limit
        read: list[bytes] = []
        for block in self.read_body():
            read.append(block)
            if sum(map(len, read)) > limit:
                return True
        self._read_before = read
        return False

    def refuse(self, status: int, reason: str, content_type: str = "text/html") -> None:
        """Answer as a proxy does that does not want the body, and close the connection a moment later."""
        content = reason.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.linger()

    def linger(self) -> None:
        """Say nothing more, and give the other side half a second to see that, whatever it is about to send."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGERING)
            while self.connection.recv(BLOCK):
                pass

    def reset(self) -> None:
        """Cut the connection without a farewell."""
        self.close_connection = True
        if self.connection.fileno() >= 0:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def read_body(self) -> Iterator[bytes]:
        """Read what the other side sends.

        Raises:
            ConnectionResetError: It ends too early.
        """
        if self._read_before is not None:
            yield from self._read_before
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
        """Let go of both connections."""
        self._let_go()
        super().finish()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def _ask(self) -> http.client.HTTPResponse:
        if self._next is None:
            self._next = self.server.connect()
        self._next.putrequest(self.command, self.path, skip_accept_encoding=True, skip_host=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "authorization"):
                self._next.putheader(name, value)
        self._next.endheaders()
        for block in self.read_body():
            self._next.send(b"%x\r\n%b\r\n" % (len(block), block) if self.is_chunked else block)
        if self.is_chunked:
            self._next.send(b"0\r\n\r\n")
        return self._next.getresponse()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        content = answer.read() if answer.length is None and not bodiless else None
        length = answer.headers.get("Content-Length") if content is None else len(content)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if content is not None:
            self.wfile.write(content)
        elif not bodiless:
            left = int(length or 0)
            while left:
                block = answer.read(min(BLOCK, left))
                if not block:
                    raise ConnectionResetError
                left -= len(block)
                self.wfile.write(block)
        else:
            answer.read()

    def _let_go(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None


Misbehaviour = Callable[[Exchange], bool]
"""Does something with a request instead of letting it pass; whether it did."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that are idle have threads that wait for them.
    block_on_close = False

    def __init__(self, host: str, connect: Callable[[], http.client.HTTPConnection]) -> None:
        super().__init__((host, 0), Exchange)
        self.connect = connect
        self.misbehaviours: dict[object, Misbehaviour] = {}

    def handle_error(self, *_words: object) -> None:
        """Broken connections are what this is for."""


class Middlebox:
    """A proxy that listens.

    Attributes:
        port: Where.
        misbehaviours: What it does wrong, by whose wish.
    """

    def __init__(self, server: _Server) -> None:
        self.port = int(server.server_address[1])
        self.misbehaviours = server.misbehaviours


@contextmanager
def middlebox(host: str, connect: Callable[[], http.client.HTTPConnection]) -> Iterator[Middlebox]:
    """A proxy that behaves, until the end of the block.

    Args:
        host: The address that it listens on.
        connect: Makes a connection to where it passes requests on to.
    """
    with _Server(host, connect) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Middlebox(server)
        finally:
            server.shutdown()
            thread.join()
