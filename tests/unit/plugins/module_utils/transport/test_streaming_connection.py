# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads on a connection, and responses during an upload."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError, UnreachableError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http import slow_peer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import connection
from unit.plugins.module_utils.transport.servers import response_bytes

if TYPE_CHECKING:
    from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.cluster import Cluster
    from unit.plugins.module_utils.transport.conftest import Certificates, Connect
    from unit.plugins.module_utils.transport.servers import Proxy, Server

BLOCK = bytes(1 << 20)


class WaitingBody:
    """A body of several blocks, which waits after the first block until the server has acted.

    Attributes:
        blocks: Number of blocks.
        sent: Number of blocks that were read.
        resume: Event that ends the wait.
    """

    def __init__(self, blocks: int = 8) -> None:
        self.blocks = blocks
        self.sent = 0
        self.resume = threading.Event()

    def __len__(self) -> int:
        return self.blocks * len(BLOCK)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.blocks):
            if number == 1:
                assert self.resume.wait(10)
            self.sent += 1
            yield BLOCK


Handle = Callable[[socket.socket, io.BufferedReader], None]
Serve = Callable[..., str]


@pytest.fixture
def body() -> WaitingBody:
    return WaitingBody()


@pytest.fixture
def serve(certificates: Certificates) -> Iterator[Serve]:
    """Starts a server whose connections are handled by a function; returns its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run(handle: Handle, tls: bool = True) -> str:
            context = certificates.tls(certificates.server) if tls else None

            def accept() -> None:
                while True:
                    try:
                        client, _address = server.accept()
                    except OSError:
                        return
                    # Otherwise the response would wait until the client acknowledges the session tickets of TLS.
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client = context.wrap_socket(client, server_side=True) if context else client
                    with client, client.makefile("rb") as reader, contextlib.suppress(OSError):
                        handle(client, reader)

            threading.Thread(target=accept, daemon=True).start()
            return f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}"

        yield run
        server.shutdown(socket.SHUT_RDWR)


def read_header(reader: io.BufferedReader) -> None:
    while reader.readline().strip():
        pass


def responds(response: bytes, body: WaitingBody) -> Handle:
    """Return a handler that responds after the header of a request, then reads the rest."""

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        read_header(reader)
        client.sendall(response)
        body.resume.set()
        reader.read(len(body))

    return handle


def closes(body: WaitingBody) -> Handle:
    """Return a handler that closes the connection after the header of a request."""

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        read_header(reader)
        client.shutdown(socket.SHUT_RDWR)
        body.resume.set()

    return handle


def patch(cluster: Cluster, body: WaitingBody) -> Any:
    """Send a body of known length."""
    adapter = cluster.adapter
    return adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": str(len(body))}, body)


def test_socket_buffers_little_unsent_data() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = connection.open_pool(connection.Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}"), 1, 5, 0)
        made: Any = pool._new_conn()
        made.connect()

        assert made.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 1 << 20

        made.close()


def test_large_body_is_sent_in_large_blocks(cluster_of: Connect, api_server: Server, options: dict[str, Any]) -> None:
    sizes: list[int] = []

    class Body:
        left = 3 << 20

        def read(self, size: int) -> bytes:
            sizes.append(size)
            length = min(size, self.left)
            self.left -= length
            return bytes(length)

    adapter = cluster_of(options).adapter
    adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": str(3 << 20)}, Body()).read()

    assert len(api_server.requests[0].body) == 3 << 20
    assert sizes[0] == 1 << 20


@pytest.mark.parametrize("tls", [True, False])
def test_upload_stops_after_error_response(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody, tls: bool
) -> None:
    server = serve(responds(response_bytes(503, body=b"the registry is gone"), body), tls)

    response = patch(cluster_of({**options, "host": server}), body)

    assert (response.status, response.read()) == (503, b"the registry is gone")
    assert body.sent <= 2


def test_upload_stops_after_connection_is_closed(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody
) -> None:
    cluster = cluster_of({**options, "host": serve(closes(body))})

    with pytest.raises(ConnectionLostError):
        patch(cluster, body)

    assert body.sent <= 2


def test_upload_continues_after_tls_session_ticket(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody
) -> None:
    arrived = []

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        # The server sends the tickets after the handshake.
        read_header(reader)
        body.resume.set()
        arrived.append(len(reader.read(len(body))))
        client.sendall(response_bytes(202))

    response = patch(cluster_of({**options, "host": serve(handle)}), body)

    assert (response.status, arrived) == (202, [len(body)])


def test_success_response_to_incomplete_request_raises_connection_lost_error(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody
) -> None:
    cluster = cluster_of({**options, "host": serve(responds(response_bytes(202), body))})

    with pytest.raises(ConnectionLostError, match="success response to an incomplete request"):
        patch(cluster, body)


@pytest.mark.parametrize("length", [25, 7, 1])
def test_upload_continues_after_interim_response_and_its_parts(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody, length: int
) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    begin = responds(interim[:length], body)

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        begin(client, reader)
        client.sendall(interim[length:] + response_bytes(202))

    response = patch(cluster_of({**options, "host": serve(handle)}), body)

    assert (response.status, body.sent) == (202, 8)


def test_time_of_upload_and_response_does_not_count_for_interim_response(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peer, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(slow_peer, "WINDOW", 0.1)
    begin = responds(b"HTTP/1.1 100 Continue\r\n\r\n", body)

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        begin(client, reader)
        time.sleep(0.3)
        client.sendall(response_bytes(202))

    cluster = cluster_of({**options, "host": serve(handle)}, idle_timeout=5, minimum_rate=1024)

    assert patch(cluster, body).status == 202


@pytest.mark.parametrize("tls", [True, False])
def test_success_response_within_interrupted_block_raises_connection_lost_error(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody, tls: bool
) -> None:
    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        # Unread data makes the operating system reset the connection.
        read_header(reader)
        select.select([client], [], [])
        client.sendall(response_bytes(202))

    body.resume.set()
    cluster = cluster_of({**options, "host": serve(handle, tls)})

    with pytest.raises(ConnectionLostError):
        patch(cluster, body)


def test_error_names_proxy_that_responds_before_request(
    cluster_of: Connect, serve: Serve, options: dict[str, Any]
) -> None:
    def reject(client: socket.socket, reader: io.BufferedReader) -> None:
        client.sendall(response_bytes(403))
        read_header(reader)

    adapter = cluster_of({**options, "proxy": serve(reject, tls=False)}).adapter

    for _attempt in range(20):
        with pytest.raises(UnreachableError, match=r"cannot connect to .* through the proxy: .*403"):
            adapter.open("GET", f"{adapter.base_url}/")


def test_closed_connection_of_server_is_not_error_of_proxy(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody, proxy: Proxy
) -> None:
    cluster = cluster_of({**options, "proxy": proxy.url, "host": serve(closes(body))})

    # Versions of urllib3 before 2 report errors of the server as errors of the proxy.
    expected = ConnectionLostError if hasattr(urllib3, "BaseHTTPResponse") else UnreachableError
    with pytest.raises(expected):
        patch(cluster, body)


def test_connection_with_incomplete_request_is_not_reused(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], body: WaitingBody
) -> None:
    rejections = [responds(response_bytes(413), body)]

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        if rejections:
            rejections.pop()(client, reader)
        else:
            read_header(reader)
            client.sendall(response_bytes(200, body=b"ok"))

    cluster = cluster_of({**options, "host": serve(handle)})

    rejected = patch(cluster, body)
    rejected.read()
    rejected.release_conn()

    assert rejected.status == 413
    assert cluster.adapter.open("GET", f"{cluster.adapter.base_url}/").read() == b"ok"


def reads(client: socket.socket, reader: io.BufferedReader, size: int, pause: float) -> None:
    """Read the header of a request, and then a part of its body after each pause."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    read_header(reader)
    while size and reader.read(min(size, 128 << 10)):
        size -= min(size, 128 << 10)
        time.sleep(pause)


@pytest.mark.parametrize("tls", [True, False])
def test_slow_upload_ends_with_rate_in_message(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peer, "WINDOW", 0.3)
    server = serve(lambda client, reader: reads(client, reader, 64 << 20, 0.05), tls)
    cluster = cluster_of({**options, "host": server}, idle_timeout=0.3, minimum_rate=100 << 20)
    body = WaitingBody()
    body.resume.set()

    with pytest.raises(ConnectionLostError, match=r"^the API server .* received only \d+ bytes in \d+ seconds"):
        patch(cluster, body)


@pytest.mark.parametrize("tls", [True, False])
def test_upload_continues_when_block_takes_longer_than_timeout(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], tls: bool
) -> None:
    body = WaitingBody(3)
    body.resume.set()

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        reads(client, reader, len(body), 0.06)
        client.sendall(response_bytes(202))

    cluster = cluster_of({**options, "host": serve(handle, tls)}, idle_timeout=0.4)

    assert patch(cluster, body).status == 202


@pytest.mark.parametrize(
    "part", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nAudit-Id: 5a\r\nContent-Length: 1000000\r\n\r\n"]
)
def test_slow_response_ends_with_rate_in_message(
    cluster_of: Connect, serve: Serve, options: dict[str, Any], part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peer, "WINDOW", 0.3)

    def handle(client: socket.socket, reader: io.BufferedReader) -> None:
        read_header(reader)
        client.sendall(part)
        while True:
            time.sleep(0.01)
            client.sendall(b"x")

    adapter = cluster_of({**options, "host": serve(handle)}, idle_timeout=0.3, minimum_rate=1024).adapter
    with requests.Session() as session:
        session.mount(adapter.base_url, adapter)

        with pytest.raises(ConnectionLostError, match=r"^the API server .* sent only \d+ bytes .*minimum_rate"):
            session.get(f"{adapter.base_url}/")
