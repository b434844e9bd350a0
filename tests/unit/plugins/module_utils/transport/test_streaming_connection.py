# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sent on a connection, and what is heard on it meanwhile."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError, UnreachableError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import connection
from unit.plugins.module_utils.transport.servers import answer

if TYPE_CHECKING:
    from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.cluster import Cluster
    from unit.plugins.module_utils.transport.conftest import Certificates, Connect
    from unit.plugins.module_utils.transport.servers import Proxy, Server

BLOCK = bytes(1 << 20)


class WaitingBody:
    """Eight blocks; after the first it waits until the other side has done what a test is about.

    Attributes:
        given: How many of them were asked for.
        go_on: Lets it go on.
    """

    def __init__(self) -> None:
        self.given = 0
        self.go_on = threading.Event()

    def __len__(self) -> int:
        return 8 * len(BLOCK)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(8):
            if number == 1:
                assert self.go_on.wait(10)
            self.given += 1
            yield BLOCK


Handle = Callable[[socket.socket, io.BufferedReader], None]
Speak = Callable[..., str]


@pytest.fixture
def body() -> WaitingBody:
    return WaitingBody()


@pytest.fixture
def speak(certificates: Certificates) -> Iterator[Speak]:
    """Starts a server whose every connection a function handles; returns its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run(handle: Handle, tls: bool = True) -> str:
            context = certificates.tls(certificates.server) if tls else None

            def accept() -> None:
                while True:
                    try:
                        line, _address = server.accept()
                    except OSError:
                        return
                    line = context.wrap_socket(line, server_side=True) if context else line
                    with line, line.makefile("rb") as reader, contextlib.suppress(OSError):
                        handle(line, reader)

            threading.Thread(target=accept, daemon=True).start()
            return f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}"

        yield run
        server.shutdown(socket.SHUT_RDWR)


def read_header(reader: io.BufferedReader) -> None:
    while reader.readline().strip():
        pass


def says(said: bytes, body: WaitingBody) -> Handle:
    """Says something as soon as it has read a request's header, and waits for the rest."""

    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        read_header(reader)
        line.sendall(said)
        body.go_on.set()
        reader.read(len(body))

    return handle


def hangs_up(body: WaitingBody) -> Handle:
    """Hangs up as soon as it has read a request's header."""

    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        read_header(reader)
        line.shutdown(socket.SHUT_RDWR)
        body.go_on.set()

    return handle


def patch(cluster: Cluster, body: WaitingBody) -> Any:
    """Send a body of known length."""
    adapter = cluster.adapter
    return adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": str(len(body))}, body)


def test_little_of_a_body_waits_in_the_socket_where_a_break_would_lose_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = connection.open_pool(connection.Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}"), 1, 5)
        made: Any = pool._new_conn()
        made.connect()

        assert made.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 1 << 20

        made.close()


def test_a_large_body_is_sent_in_large_blocks(cluster_of: Connect, api_server: Server, options: dict[str, Any]) -> None:
    asked: list[int] = []

    class Body:
        left = 3 << 20

        def read(self, size: int) -> bytes:
            asked.append(size)
            given = min(size, self.left)
            self.left -= given
            return bytes(given)

    adapter = cluster_of(options).adapter
    adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": str(3 << 20)}, Body()).read()

    assert len(api_server.requests[0].body) == 3 << 20
    assert asked[0] == 1 << 20


@pytest.mark.parametrize("tls", [True, False])
def test_nothing_is_sent_to_who_has_refused_already(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody, tls: bool
) -> None:
    server = speak(says(answer(503, body=b"the registry is gone"), body), tls)

    told = patch(cluster_of({**options, "host": server}), body)

    assert (told.status, told.read()) == (503, b"the registry is gone")
    assert body.given <= 2


def test_nothing_is_sent_to_who_has_hung_up(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody
) -> None:
    cluster = cluster_of({**options, "host": speak(hangs_up(body))})

    with pytest.raises(ConnectionLostError):
        patch(cluster, body)

    assert body.given <= 2


def test_a_tls_session_ticket_is_no_answer(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody
) -> None:
    arrived = []

    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        # Which the server sends, unasked, when the handshake is over.
        read_header(reader)
        body.go_on.set()
        arrived.append(len(reader.read(len(body))))
        line.sendall(answer(202))

    told = patch(cluster_of({**options, "host": speak(handle)}), body)

    assert (told.status, arrived) == (202, [len(body)])


def test_a_success_before_the_end_is_none(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody
) -> None:
    cluster = cluster_of({**options, "host": speak(says(answer(202), body))})

    with pytest.raises(ConnectionLostError, match="success response to an incomplete request"):
        patch(cluster, body)


@pytest.mark.parametrize("length", [25, 7, 1])
def test_an_interim_answer_ends_no_request_whatever_of_it_has_come(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody, length: int
) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    begin = says(interim[:length], body)

    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        begin(line, reader)
        line.sendall(interim[length:] + answer(202))

    told = patch(cluster_of({**options, "host": speak(handle)}), body)

    assert (told.status, body.given) == (202, 8)


@pytest.mark.parametrize("tls", [True, False])
def test_a_success_in_the_middle_of_a_block_that_breaks_off_is_none(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody, tls: bool
) -> None:
    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        # The line is reset, for there is something that nobody has read.
        read_header(reader)
        select.select([line], [], [])
        line.sendall(answer(202))

    body.go_on.set()
    cluster = cluster_of({**options, "host": speak(handle, tls)})

    with pytest.raises(ConnectionLostError):
        patch(cluster, body)


def test_a_proxy_that_refuses_before_it_is_asked_is_told(
    cluster_of: Connect, speak: Speak, options: dict[str, Any]
) -> None:
    def refuse(line: socket.socket, reader: io.BufferedReader) -> None:
        line.sendall(answer(403))
        read_header(reader)

    adapter = cluster_of({**options, "proxy": speak(refuse, tls=False)}).adapter

    for _attempt in range(20):
        with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: .*403"):
            adapter.open("GET", f"{adapter.base_url}/")


def test_a_server_behind_a_proxy_that_hangs_up_is_not_taken_for_the_proxy(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody, proxy: Proxy
) -> None:
    cluster = cluster_of({**options, "proxy": proxy.url, "host": speak(hangs_up(body))})

    # Versions of urllib3 before 2 blame the proxy for all that fails behind it.
    expected = ConnectionLostError if hasattr(urllib3, "BaseHTTPResponse") else UnreachableError
    with pytest.raises(expected):
        patch(cluster, body)


def test_a_connection_on_which_half_a_request_was_sent_carries_no_other(
    cluster_of: Connect, speak: Speak, options: dict[str, Any], body: WaitingBody
) -> None:
    refusals = [says(answer(413), body)]

    def handle(line: socket.socket, reader: io.BufferedReader) -> None:
        if refusals:
            refusals.pop()(line, reader)
        else:
            read_header(reader)
            line.sendall(answer(200, body=b"ok"))

    cluster = cluster_of({**options, "host": speak(handle)})

    refused = patch(cluster, body)
    refused.read()
    refused.release_conn()

    assert refused.status == 413
    assert cluster.adapter.open("GET", f"{cluster.adapter.base_url}/").read() == b"ok"
