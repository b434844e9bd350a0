# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Upstream registries with authentication, and a token server for them."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from cluster import layout

from .host_registries import HostRegistry

USER = "puller"
PASSWORD = "secret"  # noqa: S105 - for registries that run as long as a test
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
_SERVICE = "upstream"


@contextmanager
def upstream_registry(
    implementation: str, folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[HostRegistry]:
    """Run a registry without a Pod until the end of the block."""
    registry = HostRegistry(implementation, folder, pod="", variables=variables)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop(signal.SIGKILL)


def basic_authentication(folder: Path) -> dict[str, str]:
    """Return the environment variables with which a registry requires :data:`USER` and :data:`PASSWORD`."""
    file = folder / "htpasswd"
    file.write_text(_HTPASSWD)
    return {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "upstream",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(file),
    }


def certificate_of_own_ca(folder: Path) -> tuple[Path, Path, Path]:
    """Create a CA, and return its certificate, and a certificate for this machine's address with its key."""
    authority, authority_key = folder / "ca.pem", folder / "ca-key.pem"
    request, certificate, key = (folder / name for name in ("request.pem", "certificate.pem", "key.pem"))
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    sign = ["openssl", "x509", "-req", "-days=2", f"-CA={authority}", f"-CAkey={authority_key}", "-CAcreateserial"]
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName=IP:{layout.HOST_ADDRESS}\n")
    for command in (
        [*new, "-x509", "-days=2", "-subj=/CN=The CA of the tests", f"-keyout={authority_key}", f"-out={authority}"],
        [*new, "-subj=/CN=upstream", f"-keyout={key}", f"-out={request}"],
        [*sign, f"-in={request}", f"-extfile={extensions}", f"-out={certificate}"],
    ):
        # Options of openssl and their values are separate arguments.
        arguments = [part for option in command for part in (option.split("=", 1) if option[0] == "-" else [option])]
        subprocess.run(arguments, check=True, capture_output=True)
    return authority, certificate, key


def self_signed_certificate(folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for this machine's address, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=upstream"]
    command += ["-addext", f"subjectAltName=IP:{layout.HOST_ADDRESS}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@dataclass(frozen=True)
class SecuredRegistry:
    """A registry with TLS and token authentication.

    Attributes:
        ca_cert: The certificate of its own CA.
    """

    address: str
    ca_cert: Path
    tokens: TokenServer

    @property
    def upstream(self) -> dict[str, Any]:
        """Its entry of the option ``upstreams``."""
        return {"host": self.address, "username": USER, "password": PASSWORD, "ca_cert": str(self.ca_cert)}

    def fill(self, source: str, repository: str) -> None:
        """Copy an image with all platforms into the registry by skopeo."""
        with TemporaryDirectory() as certificates:
            shutil.copy(self.ca_cert, f"{certificates}/ca.crt")
            access = [f"--dest-creds={USER}:{PASSWORD}", f"--dest-cert-dir={certificates}"]
            copy = ["skopeo", "--insecure-policy", "copy", "--all", *access, source]
            subprocess.run([*copy, f"docker://{self.address}/{repository}"], check=True, capture_output=True)

    def log_in(self, home: Path) -> None:
        """Write the files with which clients find the credentials and the CA in a home directory."""
        authority = home / ".config/containers/certs.d" / self.address / "ca.crt"
        login = home / ".docker/config.json"
        for path in (authority, login):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.ca_cert, authority)
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        login.write_text(json.dumps({"auths": {self.address: {"auth": credentials}}}))


@contextmanager
def secured_registry(implementation: str, folder: Path) -> Iterator[SecuredRegistry]:
    """Run a registry with TLS and token authentication, and its token server, until the end of the block."""
    authority, certificate, key = certificate_of_own_ca(folder)
    tls = {"REGISTRY_HTTP_TLS_CERTIFICATE": str(certificate), "REGISTRY_HTTP_TLS_KEY": str(key)}
    keys = folder / "tokens"
    keys.mkdir()
    with (
        TokenServer(keys, (certificate, key)).running() as tokens,
        upstream_registry(implementation, folder / "registry", {**tokens.variables, **tls}) as registry,
    ):
        yield SecuredRegistry(registry.address, authority, tokens)


class TokenServer:
    """Issues tokens to :data:`USER`, signed as in distribution's "Token Authentication Implementation".

    Attributes:
        scopes: The scopes of the token requests, in order.
        lifetime: Seconds until a token expires.
        variables: The environment variables with which a registry accepts these tokens.

    Args:
        folder: The folder for the keys.
        tls: The certificate and the key to serve HTTPS; ``None`` for HTTP.
    """

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        self.certificate, self._key = self_signed_certificate(folder)
        self.scopes: list[str] = []
        self.lifetime = 300
        handler = type("Handler", (_Handler,), {"tokens": self})
        self._server = ThreadingHTTPServer((layout.HOST_ADDRESS, 0), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.variables = {
            "REGISTRY_AUTH": "token",
            "REGISTRY_AUTH_TOKEN_REALM": f"{scheme}://{layout.HOST_ADDRESS}:{self._server.server_port}/token",
            "REGISTRY_AUTH_TOKEN_SERVICE": _SERVICE,
            "REGISTRY_AUTH_TOKEN_ISSUER": "the tests",
            "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": str(self.certificate),
        }

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        """Serve requests until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def token(self, scope: str) -> str:
        """Return a signed token for a scope such as ``repository:team/api:pull``."""
        self.scopes.append(scope)
        kind, name, actions = scope.split(":") if scope else ("", "", "")
        pem = self.certificate.read_text().split("-----")[2]
        now = int(time.time())
        claims = {
            "iss": "the tests",
            "sub": USER,
            "aud": _SERVICE,
            "iat": now,
            "nbf": now - 5,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}] if scope else [],
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem.split())]}
        signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=signed.encode(), check=True, stdout=subprocess.PIPE).stdout
        return f"{signed}.{_encode(signature)}"


class _Handler(BaseHTTPRequestHandler):
    tokens: ClassVar[TokenServer]

    def do_GET(self) -> None:
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {credentials}":
            self._respond(401, {"details": "unknown user"})
            return
        scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
        self._respond(200, {"token": self.tokens.token(scope), "expires_in": self.tokens.lifetime})

    def _respond(self, status: int, value: Mapping[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
