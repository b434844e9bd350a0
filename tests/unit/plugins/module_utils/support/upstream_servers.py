# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers around an upstream registry: authentication, its token server, and the storage that it redirects to."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams

from .registry_server import RegistryServer, Response, error_response
from .settings import upstreams_of
from .stores import read_image

Push = Callable[..., dict[str, Any]]
"""The fixture ``push``."""


def host(server: RegistryServer) -> str:
    """Return a registry's host and port."""
    return server.url.partition("//")[2]


def source(server: RegistryServer, name: str = "team/app:1") -> str:
    """Return an image of a registry as a source."""
    return f"docker://{host(server)}/{name}"


def settings(server: RegistryServer, **more: Any) -> list[dict[str, Any]]:
    """Return the option ``upstreams`` for a registry without TLS."""
    return [{"host": host(server), "plain_http": True, **more}]


def error_of(result: dict[str, Any]) -> str:
    """Return the error of the first image of a failed task."""
    assert result["failed"]
    return str(result["images"][0]["error"])


def find_upstream(server: RegistryServer, *options: dict[str, Any], name: str = "team/app:1") -> dict[str, bytes]:
    """Read an image from a registry."""
    with closing(Upstreams(upstreams_of(*options), retry_timeout=1.0)) as upstreams:
        repository, image = upstreams.open(parse_reference(f"{host(server)}/{name}"))
        return read_image(repository, image.root)


def basic(username: str, password: str) -> str:
    """Return the header of basic authentication."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@contextmanager
def tls_registry(
    folder: Path, name: str = "IP:127.0.0.1", requires_certificate: bool = False
) -> Iterator[RegistryServer]:
    """Start a registry with TLS, whose self-signed certificate is in ``cert.pem`` and its key in ``key.pem``.

    Args:
        folder: The folder of these files.
        name: The certificate's subject alternative name.
        requires_certificate: Whether clients must present the same certificate.
    """
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=registry", "-addext", f"subjectAltName={name}", "-days", "2"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    if requires_certificate:
        context.load_verify_locations(folder / "cert.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    with RegistryServer(context).running() as running:
        yield running


class BasicGuard:
    """Allows one user to read from a registry.

    Attributes:
        seen: The ``Authorization`` header of each request.
    """

    def __init__(self, username: str, password: str) -> None:
        self._wanted = basic(username, password)
        self.seen: list[str | None] = []

    def __call__(self, _path: str, headers: Mapping[str, str]) -> Response | None:
        self.seen.append(headers.get("Authorization"))
        if headers.get("Authorization") == self._wanted:
            return None
        response = error_response(401, "UNAUTHORIZED")
        response.headers = {**response.headers, "WWW-Authenticate": 'Basic realm="the registry"'}
        return response


@dataclass
class ReceivedRequest:
    """A request.

    Attributes:
        method: The HTTP verb.
        path: The path.
        values: The query's values, or the form's.
        authorization: The header of that name.
    """

    method: str
    path: str
    values: dict[str, list[str]]
    authorization: str | None


@dataclass
class TokenServer:
    """A token server, which also checks the requests to its registry.

    Attributes:
        users: Passwords by user name; empty to return tokens without authentication.
        refresh_token: The identity token that is accepted instead of user and password.
        lifetime: Seconds that a token is valid.
        member: The name of the token in the response.
        received: Its requests.
        seen: The ``Authorization`` header of each request to the registry.
        url: Its URL.
        tokens: The end and the scope of each token.
    """

    users: dict[str, str] = field(default_factory=dict)
    refresh_token: str = ""
    lifetime: float = 300
    member: str = "token"
    received: list[ReceivedRequest] = field(default_factory=list)
    seen: list[str | None] = field(default_factory=list)
    url: str = ""
    tokens: dict[str, tuple[float, str]] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        """Serve requests until the end of the context."""
        with listening(self.respond) as self.url:
            yield self

    def __call__(self, path: str, headers: Mapping[str, str]) -> Response | None:
        """Check a request to the registry."""
        authorization = headers.get("Authorization")
        self.seen.append(authorization)
        scope = f"repository:{path[len('/v2/') :].rpartition('/')[0].rpartition('/')[0]}:pull"
        ends, granted = self.tokens.get((authorization or "").removeprefix("Bearer "), (0.0, ""))
        if scope == granted and time.monotonic() < ends:
            return None
        response = error_response(401, "UNAUTHORIZED")
        challenge = f'Bearer realm="{self.url}/token",service="the registry",scope="{scope}"'
        response.headers = {**response.headers, "WWW-Authenticate": challenge}
        return response

    def respond(self, request: ReceivedRequest) -> Response:
        """Return a token, or an error response."""
        self.received.append(request)
        if request.method == "POST":
            is_allowed = request.values.get("refresh_token") == [self.refresh_token]
        else:
            is_allowed = not self.users or request.authorization in {basic(*user) for user in self.users.items()}
        if not is_allowed:
            return Response(401, {}, f'{{"details": "you sent {request.authorization}"}}'.encode())
        token = secrets.token_hex(16)
        self.tokens[token] = (time.monotonic() + self.lifetime, request.values["scope"][0])
        return Response(200, {}, json.dumps({self.member: token, "expires_in": self.lifetime}).encode())


@contextmanager
def listening(respond: Any) -> Iterator[str]:
    """Start a server on the loopback interface, and return its URL.

    Args:
        respond: Returns the :class:`Response` for a request.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"respond": staticmethod(respond)}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    respond: ClassVar[Any]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        values = parse_qs(body or address.query)
        response = self.respond(ReceivedRequest(self.command, address.path, values, self.headers.get("Authorization")))
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Length": str(len(response.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        response.write(self.wfile)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""
