# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry in this process, with configurable faults.

It implements pulling and pushing of the OCI distribution specification as strictly as distribution: it rejects a
manifest whose blobs are missing.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import is_nondistributable, parse_manifest

from .images import Image

_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<rest>.*)")


@dataclass(frozen=True)
class Request:
    """A request to the registry: its method, and its path without the query."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Response:
    """A response of the registry.

    Attributes:
        truncated: Whether the connection is closed after half of the body.
        slow_from: The bytes of the body after which each byte takes 10 milliseconds; None for a fast response.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False
    slow_from: int | None = None

    def write(self, connection: io.BufferedIOBase) -> None:
        """Send the body, or as much of it as the client reads."""
        with contextlib.suppress(ConnectionError):
            connection.write(self.body[: len(self.body) // 2 if self.truncated else self.slow_from])
            for byte in self.body[self.slow_from :] if self.slow_from is not None else b"":
                time.sleep(0.01)
                connection.write(bytes([byte]))


@dataclass
class Fault:
    """A response that replaces the correct one.

    Attributes:
        method: The method of the affected requests.
        path: A pattern that matches a part of their paths.
        change: The response, or a function that makes it from the correct one.
        times: The number of affected requests.
        early: Whether the response is sent before the request's body is read; nothing is stored.
        cut: The bytes of the body after which the connection is closed without a response; they are stored.
    """

    method: str
    path: str
    change: Callable[[Response], Response] | Response
    times: int
    early: bool = False
    cut: int | None = None


class RegistryServer:
    """A registry that listens on the loopback interface.

    Args:
        tls: The TLS context; None for plain HTTP.

    Attributes:
        url: Its URL.
        blobs: The blobs of each repository, by digest.
        manifests: The media type and the bytes of each repository's manifests, by digest and by tag.
        requests: The requests, in order.
        connections: The number of connections that were opened.
        page: The maximum number of names in one response with a list.
        mounts: Whether it mounts blobs; registries may require an upload instead.
        indexes_of_blobs: Whether it accepts indexes of blobs, as distribution 2 does, and distribution 3 does not.
        delete: Deletes a tag or digest from the manifests of a repository; see :mod:`.registry_deletion`.
        guard: Checks the path and the headers of each request. A response that it returns replaces the correct one.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.requests: list[Request] = []
        self.mounts = True
        self.indexes_of_blobs = False
        self.page = 1000
        self.guard: Callable[[str, Mapping[str, str]], Response | None] = lambda _path, _headers: None
        self.delete: Callable[[dict[str, tuple[str, bytes]], str], Response] = _deletion_disabled
        self.connections = 0
        self.uploads: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[RegistryServer]:
        """Serve requests until the end of the context."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
        assert self._server.errors == []

    def fail(
        self,
        method: str,
        path: str,
        change: Callable[[Response], Response] | Response,
        times: int = 1_000_000,
        early: bool = False,
    ) -> None:
        """Add a fault; see :class:`Fault`."""
        self.faults.append(Fault(method, path, change, times, early))

    def cut(self, method: str, path: str, after: int, times: int = 1) -> None:
        """Close connections after some bytes of a body."""
        self.faults.append(Fault(method, path, Response(0, {}), times, cut=after))

    def fill(self, repository: str, tag: str | None, image: Image) -> None:
        """Store an image."""
        for digest, content in image.contents.items():
            media_type = _media_type(content)
            if media_type is None:
                self.blobs.setdefault(repository, {})[digest] = content
                continue
            names = {digest: (media_type, content), digest_of(content): (media_type, content)}
            if tag and digest == image.digest:
                names[tag] = (media_type, content)
            self.manifests.setdefault(repository, {}).update(names)

    def digest_of(self, repository: str, tag: str) -> str | None:
        """Return the digest of a tag, or ``None``."""
        found = self.manifests.get(repository, {}).get(tag)
        return digest_of(found[1]) if found else None

    def received(self, *methods: str) -> list[str]:
        """Return the requests with these methods, each as ``METHOD path``, and forget all requests."""
        received = [str(request) for request in self.requests if request.method in methods]
        self.requests.clear()
        return received


class _Server(ThreadingHTTPServer):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.errors: list[BaseException] = []

    def handle_error(self, *_request: Any) -> None:
        """Record errors of the server; a connection that the client closes is not an error."""
        error = sys.exc_info()[1]
        if error and not isinstance(error, (ConnectionError, ssl.SSLError)):
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[RegistryServer]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.registry.connections += 1
        super().setup()

    def handle_any(self) -> None:
        address = urlsplit(self.path)
        with self.registry.lock:
            self.registry.requests.append(Request(self.command, address.path))
            fault = next(
                (
                    f
                    for f in self.registry.faults
                    if f.times and f.method == self.command and re.search(f.path, self.path)
                ),
                None,
            )
            if fault:
                fault.times -= 1
        if fault and fault.early:
            assert isinstance(fault.change, Response)
            self.close_connection = True
            self._send(fault.change)
            return
        body = self._read_body(fault.cut if fault else None)
        if fault and fault.cut is not None:
            with self.registry.lock:
                self._respond(address.path, {}, body)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault and isinstance(fault.change, Response):
            self._send(fault.change)
            return
        denied = self.registry.guard(address.path, dict(self.headers))
        if denied:
            self._send(denied)
            return
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        with self.registry.lock:
            response = self._respond(address.path, query, body)
        self._send(fault.change(response) if fault and callable(fault.change) else response)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""

    def _read_body(self, most: int | None) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(length if most is None else min(length, most))
        body = b""
        while most is None or len(body) < most:
            length = int(self.rfile.readline() or b"0", 16)
            body += self.rfile.read(length)
            self.rfile.readline()
            if not length:
                break
        return body[:most]

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        headers = {"Content-Length": str(len(response.body)), "Docker-Distribution-Api-Version": "registry/2.0"}
        # API servers add this header to the responses of Pods.
        headers["Audit-Id"] = "5a"
        for name, value in {**headers, **response.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            response.write(self.wfile)
        self.close_connection = self.close_connection or response.truncated

    def _respond(self, path: str, query: dict[str, str], body: bytes) -> Response:
        if path == "/v2/_catalog" or path.endswith("/tags/list"):
            return self._list(path, query)
        match = _PATH.fullmatch(path)
        if match is None:
            return error_response(404, "NAME_UNKNOWN")
        repository, rest = match["repository"], match["rest"]
        if match["kind"] == "manifests":
            if self.command == "DELETE":
                return self.registry.delete(self.registry.manifests.get(repository, {}), rest)
            if self.command == "PUT":
                return self._put_manifest(repository, rest, body)
            return self._get_manifest(repository, rest)
        if not rest.startswith("uploads/"):
            return self._get_blob(repository, rest)
        return self._upload(repository, rest.partition("/")[2], query, body)

    def _list(self, path: str, query: dict[str, str]) -> Response:
        if not query["n"].isdigit():
            return error_response(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        repository = path[len("/v2/") : -len("/tags/list")]
        if path == "/v2/_catalog":
            key, names = "repositories", sorted(self.registry.manifests)
        elif repository in self.registry.manifests:
            key, names = "tags", sorted(name for name in self.registry.manifests[repository] if ":" not in name)
        else:
            return error_response(404, "NAME_UNKNOWN")
        left = [name for name in names if name > query.get("last", "")]
        page = left[: min(int(query["n"]), self.registry.page)]
        more = {"Link": f'<{path}?n={query["n"]}&last={page[-1]}>; rel="next"'} if len(left) > len(page) else {}
        return Response(200, {"Content-Type": "application/json", **more}, json.dumps({key: page or None}).encode())

    def _get_manifest(self, repository: str, reference: str) -> Response:
        found = self.registry.manifests.get(repository, {}).get(reference)
        if found is None:
            return error_response(404, "MANIFEST_UNKNOWN")
        media_type, content = found
        return Response(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(content)}, content)

    def _put_manifest(self, repository: str, reference: str, body: bytes) -> Response:
        digest = digest_of(body)
        manifests = self.registry.manifests.setdefault(repository, {})
        try:
            manifest = parse_manifest(body)
        except InputError:
            return error_response(400, "MANIFEST_INVALID")
        needed = [blob.digest for blob in manifest.blobs if not is_nondistributable(blob)]
        if any(digest not in self.registry.blobs.get(repository, {}) for digest in needed):
            return error_response(400, "MANIFEST_BLOB_UNKNOWN")
        if manifest.config is None and manifest.layers and not self.registry.indexes_of_blobs:
            return error_response(400, "MANIFEST_BLOB_UNKNOWN")
        if any(child.digest not in manifests for child in manifest.manifests):
            return error_response(400, "MANIFEST_UNKNOWN")
        if ":" in reference and reference != digest:
            return error_response(400, "DIGEST_INVALID")
        manifests[digest] = manifests[reference] = (self.headers["Content-Type"], body)
        return Response(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/manifests/{digest}"})

    def _get_blob(self, repository: str, digest: str) -> Response:
        content = self.registry.blobs.get(repository, {}).get(digest)
        if content is None:
            return error_response(404, "BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), int(wanted[2])
            return Response(
                206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]
            )
        return Response(200, headers, content)

    def _upload(self, repository: str, name: str, query: dict[str, str], body: bytes) -> Response:
        blobs, uploads = self.registry.blobs, self.registry.uploads
        if self.command == "POST":
            digest = query.get("mount", "")
            if self.registry.mounts and digest in blobs.get(query.get("from", ""), {}):
                blobs.setdefault(repository, {})[digest] = blobs[query["from"]][digest]
                return Response(201, {"Location": f"/v2/{repository}/blobs/{digest}"})
            name = str(len(uploads))
        elif name not in uploads:
            return error_response(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "PATCH" and not self.headers.get("Content-Range", f"{len(uploads[name])}-").startswith(
            f"{len(uploads[name])}-"
        ):
            return error_response(416, "RANGE_INVALID")
        uploads[name] = uploads.get(name, b"") + body
        if self.command != "PUT":
            # Absolute and with a query, as in distribution.
            location = f"{self.registry.url}/v2/{repository}/blobs/uploads/{name}?_state=secret"
            status = 204 if self.command == "GET" else 202
            return Response(status, {"Location": location, "Range": f"0-{max(len(uploads[name]) - 1, 0)}"})
        if query.get("_state") != "secret":
            return error_response(400, "BLOB_UPLOAD_INVALID")
        content = uploads[name]
        if digest_of(content, query["digest"].partition(":")[0]) != query["digest"]:
            return error_response(400, "DIGEST_INVALID")
        blobs.setdefault(repository, {})[query["digest"]] = content
        uploads[name] = b""
        return Response(201, {"Location": f"/v2/{repository}/blobs/{query['digest']}"})


def without(*headers: str) -> Callable[[Response], Response]:
    """Return a change of a fault that removes headers from the response."""
    return lambda response: replace(response, headers={**response.headers, **dict.fromkeys(headers, "")})


def error_response(status: int, code: str, message: str = "") -> Response:
    """Return an error response of a registry."""
    error = {"code": code, "message": message or code.replace("_", " ").lower()}
    return Response(status, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode())


def _deletion_disabled(_manifests: object, _reference: str) -> Response:
    return error_response(405, "UNSUPPORTED", "The operation is unsupported.")


def _media_type(content: bytes) -> str | None:
    try:
        media_type = json.loads(content).get("mediaType")
    except ValueError:
        return None
    return str(media_type) if media_type else None
