# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry with configurable, hostile responses."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cluster import layout

from .host_registries import NAMESPACE, pod_at
from .victim import victim_kubeconfig

POD = "hostile"
Action = Callable[[BaseHTTPRequestHandler], None]
SECRETS = "api/v1/namespaces/default/secrets"
ESCAPES = [
    "/v2/../../../../secrets",
    "/v2/team/app/blobs/uploads/../../../../../../../secrets",
    "/v2/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secrets",
    "/v2/..%2F..%2F..%2F..%2Fsecrets",
    f"http://{{host}}/{SECRETS}",
    f"https://{{host}}/{SECRETS}",
    f"//{{host}}/{SECRETS}",
    f"http://user:password@{{host}}/{SECRETS}",
    f"../../../../../../{SECRETS}",
    "/v2/other/blobs/uploads/1",
    "/v2/team/app/blobs/uploads/1#fragment",
    "/v2/team/app\\..\\..\\secrets",
    "https://elsewhere.example/v2/team/app/blobs/uploads/1",
    "http://{host}/api/v1/namespaces/default/pods/other:80/proxy/v2/team/app/blobs/uploads/1",
    "//{host}/api/v1/namespaces/default/pods/other:80/proxy/v2/team/app/blobs/uploads/1",
    "/v2/../../../other:80/proxy/v2/team/app/blobs/uploads/1",
    "/v2/%2e%2e/%2e%2e/%2e%2e/other:80/proxy/v2/team/app/blobs/uploads/1",
    "/v2/team/app/blobs/uploads/1\t2",
    "/v2/team/app/blobs/uploads/\x0b1",
    "/v2/team/app/blobs/uploads/\x011",
    "/v2/team/app/blobs/uploads/\x7f1",
    "/v2/team/app/blobs/uploads/1\r\n /../../../../../../secrets",
]
"""Values of Location as the registry sends them; the API server rewrites those that it takes for a path of the Pod."""


@dataclass
class HostileRegistry:
    """The responses of the registry, and the requests to it.

    Requests for an entry of ``contents`` receive it. Other HEAD requests receive 404 while ``status`` is 202.
    All remaining requests receive the same response.

    Attributes:
        port: The registry's port.
        status: The status code of the response.
        headers: The headers of the response; ``{host}`` becomes the Host header of the request.
        body: The body of the response.
        contents: Existing manifests and blobs: media types and bytes by path.
        actions: Functions that respond instead, by method; the request's body is still unread.
        requested: The paths of all requests.
    """

    port: int
    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    contents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """The options of a task for this registry, with an administrator's credentials."""
        return {
            "kubeconfig": str(victim_kubeconfig()),
            "namespace": NAMESPACE,
            "registry": POD,
            "registry_port": self.port,
            "retry_timeout": 2,
        }


@contextmanager
def hostile_registry() -> Iterator[HostileRegistry]:
    """Run a hostile registry behind a Pod until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            registry.requested.append(self.path)
            if self.command in registry.actions:
                self.close_connection = True
                # The client may close the connection early.
                with contextlib.suppress(OSError):
                    registry.actions[self.command](self)
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path in registry.contents:
                self._send_content(*registry.contents[self.path])
                return
            missing = self.command == "HEAD" and registry.status == 202
            body = b"" if self.command == "HEAD" else registry.body
            self.send_response(404 if missing else registry.status)
            for name, value in ({} if missing else registry.headers).items():
                self.send_header(name, value.replace("{host}", self.headers["Host"]))
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.end_headers()
            self.wfile.write(body)

        def _send_content(self, media_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", self.path.rpartition("/")[2])
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _respond  # noqa: N815 (names of http.server)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((layout.HOST_ADDRESS, 0), Handler) as server, pod_at(layout.HOST_ADDRESS, POD):
        registry = HostileRegistry(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def respond_with(response: bytes) -> Action:
    """Return an action that sends these bytes, ignores the request's body and closes the connection.

    It closes the connection as servers do: its own side first, the other side later. A header announces that, so that
    the API server does not send its next request to this connection.
    """
    status, _line_break, rest = response.partition(b"\r\n")

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(status + b"\r\nConnection: close\r\n" + rest)
        handler.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 0.5
        handler.connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and handler.connection.recv(1 << 16):
                pass

    return act


def encode(value: object) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()
