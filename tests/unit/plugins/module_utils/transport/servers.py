# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers on the loopback interface with responses that a test sets."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Headers = Mapping[str, str]
Response = tuple[int, dict[str, str], bytes]

_REGISTRY_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>blobs/uploads|blobs|manifests|tags)/(?P<name>.*)")


@dataclass(frozen=True)
class Request:
    """A request as the server received it.

    Attributes:
        target: Path and query, byte for byte.
        client: The common name of the client's certificate; None without one.
    """

    method: str
    target: str
    headers: http.client.HTTPMessage
    body: bytes
    client: str | None

    @property
    def credentials(self) -> str | None:
        return self.headers["Authorization"]


def response_bytes(status: int, headers: Headers | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of a response; a missing ``Content-Length`` and the mark of an API server are added."""
    given = {"Content-Length": str(len(body)), "Audit-Id": "5a", **(headers or {})}
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Odd')}"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Server(socketserver.ThreadingTCPServer):
    """An HTTP/1.1 server, with TLS if it has a context.

    Attributes:
        requests: The requests, in order.
        responses: The responses, in order; the last one is repeated. A function returns the bytes for a request.
        reads_bodies: Whether it reads the body of a request before it responds and closes.
        closes_after_response: Whether it closes the connection after each response.
        connections: Number of connections.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.tls = tls
        self.requests: list[Request] = []
        self.responses: list[bytes | Callable[[Request], bytes]] = [
            response_bytes(200, {"Content-Type": "text/plain"}, b"ok")
        ]
        self.reads_bodies = True
        self.closes_after_response = False
        self.connections = 0
        self.stopping = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}"

    def reply(self, *responses: bytes | Callable[[Request], bytes]) -> None:
        """Set the responses."""
        self.responses = list(responses)

    def next_response(self, request: Request) -> bytes:
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return response(request) if callable(response) else response

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore interrupted connections, which tests cause on purpose."""


class _Connection(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.connections += 1
        connection: socket.socket = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = None
        if self.server.tls:
            # The handshake runs in this thread, so that its failure does not block other clients.
            connection = self.server.tls.wrap_socket(connection, server_side=True)
            certificate: Any = connection.getpeercert() or {}
            client = next((pair[0][1] for pair in certificate.get("subject", ()) if pair[0][0] == "commonName"), None)
        with connection, connection.makefile("rb") as stream:
            while self._respond(connection, stream, client) and not self.server.closes_after_response:
                pass

    def _respond(self, connection: socket.socket, stream: io.BufferedReader, client: str | None) -> bool:
        if stream.peek(1)[:1] == b"\x16":
            connection.sendall(response_bytes(400, body=b"this server does not speak TLS"))
            return False
        first = stream.readline().decode("latin-1").split()
        if len(first) != 3:
            return False
        headers = http.client.parse_headers(stream)
        body = _body(stream, headers) if self.server.reads_bodies else b""
        request = Request(first[0], first[1], headers, body, client)
        self.server.requests.append(request)
        connection.sendall(self.server.next_response(request))
        if not self.server.reads_bodies:
            # Go's server does this: it sends the response, reads no more, and closes the connection afterwards.
            time.sleep(0.2)
            return False
        return True


def _body(stream: io.BufferedReader, headers: http.client.HTTPMessage) -> bytes:
    if headers["Transfer-Encoding"] != "chunked":
        return stream.read(int(headers["Content-Length"] or 0))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


class _AnyProxy(socketserver.ThreadingTCPServer):
    """The base of both proxies.

    Attributes:
        received: The target of each connection, as the client sent it.
        error_status: The status of its error responses; None for none.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.received: list[str] = []
        self.error_status: int | None = None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """As :meth:`Server.handle_error`."""


class Proxy(_AnyProxy):
    """A proxy with tunnels to any address (CONNECT) and a fixed response to other requests.

    Attributes:
        headers: The headers of every request.
    """

    def __init__(self) -> None:
        self.headers: list[http.client.HTTPMessage] = []
        super().__init__(_Tunnel)

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class _Tunnel(socketserver.StreamRequestHandler):
    server: Proxy
    rbufsize = 0

    def handle(self) -> None:
        first = self.rfile.readline().decode("latin-1").strip()
        self.server.received.append(first)
        self.server.headers.append(http.client.parse_headers(self.rfile))
        if self.server.error_status:
            self.wfile.write(response_bytes(self.server.error_status, {"Connection": "close"}))
            return
        method, target, _version = first.split()
        if method != "CONNECT":
            self.wfile.write(response_bytes(200, {"Connection": "close"}, b"passed on"))
            return
        host, _colon, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pump(self.connection, other)


class SocksProxy(_AnyProxy):
    """A SOCKS 5 proxy without authentication, with the error replies of RFC 1928, section 6."""

    def __init__(self) -> None:
        super().__init__(_SocksTunnel)


class _SocksTunnel(socketserver.StreamRequestHandler):
    server: SocksProxy
    rbufsize = 0

    def handle(self) -> None:
        _version, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        kind = self.rfile.read(4)[3]
        host = socket.inet_ntoa(self.rfile.read(4)) if kind == 1 else self.rfile.read(self.rfile.read(1)[0]).decode()
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.received.append(f"{host}:{port}")
        self.wfile.write(bytes([5, self.server.error_status or 0, 0, 1]) + bytes(6))
        if self.server.error_status:
            return
        with socket.create_connection((host, port)) as other:
            _pump(self.connection, other)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        readable, _writable, _broken = select.select([one, other], [], [])
        for source in readable:
            data = source.recv(64 << 10)
            if not data:
                return
            (other if source is one else one).sendall(data)


class Registry:
    """An API server with a registry in the Pod of all proxy requests; the registry stores its content in memory.

    It rewrites the registry's Locations as an API server does. The registry's lists have one tag per page.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self._upload = b""

    def __call__(self, request: Request) -> bytes:
        prefix, _proxy, rest = request.target.partition("/proxy/")
        address = urlsplit(f"/{rest}")
        found = _REGISTRY_PATH.fullmatch(address.path)
        assert found is not None
        handlers = {
            "blobs/uploads": self._uploads,
            "blobs": self._blob,
            "manifests": self._manifest,
            "tags": self._tags,
        }
        query = dict(parse_qsl(address.query))
        status, headers, body = handlers[found["kind"]](request, f"/v2/{found['repository']}", found["name"], query)
        if "Location" in headers:
            headers["Location"] = f"{prefix}/proxy{headers['Location']}"
        headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        if request.method == "HEAD":
            return response_bytes(status, {"Content-Length": str(len(body)), **headers})
        return response_bytes(status, headers, body)

    def _uploads(self, request: Request, base: str, name: str, query: dict[str, str]) -> Response:
        if request.method == "POST":
            self._upload = b""
            return 202, {"Location": f"{base}/blobs/uploads/1?_state=abc"}, b""
        assert query["_state"] == "abc"
        self._upload += request.body
        if request.method == "PATCH":
            return 202, {"Location": f"{base}/blobs/uploads/1?_state=abc"}, b""
        self.blobs[query["digest"]] = self._upload
        return 201, {"Location": f"{base}/blobs/{query['digest']}"}, b""

    def _blob(self, request: Request, base: str, name: str, query: dict[str, str]) -> Response:
        return (200, {}, self.blobs[name]) if name in self.blobs else (404, {}, b"")

    def _manifest(self, request: Request, base: str, name: str, query: dict[str, str]) -> Response:
        if request.method == "PUT":
            self.manifests[name] = (request.headers["Content-Type"], request.body)
            return 201, {"Location": f"{base}/manifests/{name}"}, b""
        if name not in self.manifests:
            return 404, {}, b""
        media_type, content = self.manifests[name]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return 200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, content

    def _tags(self, request: Request, base: str, name: str, query: dict[str, str]) -> Response:
        left = sorted(tag for tag in self.manifests if tag > query.get("last", ""))
        more = {"Link": f'<{base}/tags/list?last={left[0]}>; rel="next"'} if len(left) > 1 else {}
        return 200, more, json.dumps({"tags": left[:1]}).encode()
