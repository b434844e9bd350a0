# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection for large bodies on bad lines: patient while it sends, and it listens while it does."""

from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any, BinaryIO

try:
    import urllib3
except ImportError:  # reported by whoever opens a connection
    pass

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _HTTPConnection
else:
    # It is mixed into the connections of either kind.
    _HTTPConnection = object

_BLOCK_SIZE = 1 << 20
"""Bytes handed to the socket at once: a quarter faster than http.client's 16 KiB (measured on 1 GiB)."""

_UNSENT = 1 << 20
"""Bytes that wait in the socket for their turn: what is in there when a line breaks is sent again."""

_INTERIM = b"HTTP/1.1 1"
"""How an answer begins that ends no request (RFC 9110, section 15.2)."""
_FIRST_OTHER_THAN_SUCCESS = 300


def socket_options() -> list[tuple[int, int, int]]:
    """Keep-alive probes, so that middle boxes do not forget a connection that waits for the registry.

    And no more than is soon sent is taken from us; what is on its way over a long line is not limited by that.
    """
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_NOTSENT_LOWAT", _UNSENT))
    for name, value in wanted:
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return options


def patient(connection_class: Any, silence: float) -> Any:
    """Make a connection class that sends in large blocks, waits for each, and leaves off when it is answered early.

    urllib3 leaves the short timeout of connecting on the socket while a body is sent, only its newer versions have
    an option for the size of blocks, and none looks for an answer before all is sent.

    Args:
        connection_class: urllib3's.
        silence: Seconds after which a connection that takes no more bytes is given up.
    """
    return type("PatientConnection", (_Patience, connection_class), {"silence": silence})


class _Patience(_HTTPConnection):
    """What is added to urllib3's connections."""

    silence: float
    """Seconds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocksize = _BLOCK_SIZE
        self._has_connected = False
        self._answer: io.BufferedReader | None = None
        self._is_cut_short = False

    @property
    def has_connected_to_proxy(self) -> bool:
        """Whether what fails is not the proxy's fault; urllib3 forgets it when it closes what has failed."""
        return self._has_connected

    def connect(self) -> None:
        self._has_connected = False
        super().connect()
        self._has_connected = True
        # Who wants no check was warned in Ansible's way; urllib3 would warn again, of every connection.
        self.is_verified = True

    def send(self, data: Any) -> None:
        if self.sock is not None:
            if self._has_connected:
                self._stop_if_answered()
            self.sock.settimeout(self.silence)
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            self._is_cut_short = True
            raise

    def _stop_if_answered(self) -> None:
        """Leave off where the other side has given its answer, or hung up, before our request's end.

        Who sends on then sends into buffers that nobody empties, and may lose the answer with the connection.
        """
        if self._answer is not None or not urllib3.util.wait_for_read(self.sock, timeout=0):
            return
        self._answer = _begun_answer(self.sock)
        if self._answer is not None and not _may_be_interim(self._answer):
            self._is_cut_short = True
            # Which makes urllib3 read the answer.
            raise BrokenPipeError(errno.EPIPE, "closed before the request's end")

    def response_class(  # type: ignore[override]
        self, sock: Any, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        response = _WholeResponse(sock, *args, **kwargs)
        response.follow(self._answer, self._is_cut_short)
        self._answer, self._is_cut_short = None, False
        return response

    def close(self) -> None:
        super().close()
        if self._answer is not None:
            # It holds the socket open.
            self._answer.close()
        self._answer, self._is_cut_short = None, False


def _begun_answer(sock: Any) -> io.BufferedReader | None:
    """Read what has come in so far; None where only TLS had something to say, such as a session ticket."""
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


def _may_be_interim(answer: io.BufferedReader) -> bool:
    begun = answer.peek(1)[: len(_INTERIM)]
    return bool(begun) and _INTERIM.startswith(begun)


class _WholeResponse(http.client.HTTPResponse):
    """An answer whose header has come to its end; http.client takes one that was cut for one that is shorter."""

    _ends_request = False

    def follow(self, begun: io.BufferedReader | None, ends_request: bool) -> None:
        """Say what came before.

        Args:
            begun: Who has begun to read the answer, and has more in store than the connection.
            ends_request: Whether the request was not sent to its end.
        """
        self._ends_request = ends_request
        if begun is not None:
            self.fp.close()
            self.fp = begun

    def begin(self) -> None:
        reader = self.fp
        self.fp = _WholeLines(reader)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            # An answer without a body has let go of it.
            if self.fp is not None:
                self.fp = reader
        if self._ends_request:
            # The rest of the request is missing: this connection carries no other.
            self.will_close = True
            if self.status < _FIRST_OTHER_THAN_SUCCESS:
                raise http.client.RemoteDisconnected("a request was answered as if it had come to its end")


class _WholeLines:
    """Reads lines, all of which have an end."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._has_begun = False
        self.close = reader.close

    def readline(self, limit: int) -> bytes:
        line = self._reader.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            begun = self._has_begun or line
            raise http.client.RemoteDisconnected(f"closed {'in the middle of' if begun else 'without'} an answer")
        self._has_begun = True
        return line
