# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that does whatever a test wants of it, and what an administrator's credentials were then used for."""

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
from urllib.parse import unquote

from cluster import audit, layout, users

from .host_registries import NAMESPACE, pod_at

Act = Callable[[BaseHTTPRequestHandler], None]
VICTIM = "victim"
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
"""Locations, each as the registry writes it; the API server rewrites what it takes for a path of the Pod."""


@dataclass
class Hostile:
    """What the registry answers to everything but a question for something that it then lacks.

    Attributes:
        port: Where it listens.
        status: The status code of its answers.
        headers: Their headers; ``{host}`` in them becomes what the registry was called.
        body: Their content.
        pages: What it does have: media types and contents, by paths.
        acts: What it does instead of answering, by method; a request's body is unread then.
        asked: The paths that it was asked for.
    """

    port: int
    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    acts: dict[str, Act] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """What a task says to mean this registry, as an administrator."""
        kubeconfig = users.make(VICTIM, ["system:masters"])
        return {
            "kubeconfig": str(kubeconfig),
            "namespace": NAMESPACE,
            "registry": "hostile",
            "registry_port": self.port,
            "retry_timeout": 2,
        }


@contextmanager
def hostile_registry() -> Iterator[Hostile]:
    """A registry that does what a test wants, behind a Pod, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            registry.asked.append(self.path)
            if self.command in registry.acts:
                self.close_connection = True
                # Whoever has heard enough hangs up.
                with contextlib.suppress(OSError):
                    registry.acts[self.command](self)
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path in registry.pages:
                self._show(*registry.pages[self.path])
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

        def _show(self, media_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", self.path.rpartition("/")[2])
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 (names of http.server)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((layout.HOST_ADDRESS, 0), Handler) as server, pod_at(layout.HOST_ADDRESS, "hostile"):
        registry = Hostile(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def says(answer: bytes) -> Act:
    """Says these bytes, takes no body and closes as servers do: first its own side, later the other."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)
        handler.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 0.5
        handler.connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and handler.connection.recv(1 << 16):
                pass

    return act


def encode(value: object) -> bytes:
    """A value as JSON."""
    return json.dumps(value).encode()


def strays(position: int) -> list[str]:
    """What the victim's credentials were used for since then, other than on the way to the Pod."""
    audit.settle()
    allowed = f"/api/v1/namespaces/{NAMESPACE}/pods/hostile"
    mine = [event["requestURI"] for event in audit.events(position) if event["user"]["username"] == VICTIM]
    assert mine, "the audit log saw nothing"
    return [uri for uri in mine if not (uri == allowed or uri.startswith(f"{allowed}:")) or ".." in unquote(uri)]
