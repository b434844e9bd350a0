# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An engine in this process that listens on a unix socket, with configurable faults.

Other tests use real engines; this one has formats and faults that those do not have.
"""

from __future__ import annotations

import contextlib
import io
import json
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of

from .images import Image, encode, layout_files, read_tar, tar, write_docker_archive


@dataclass(frozen=True)
class Exported:
    """An image of the engine.

    Attributes:
        id: Its ID, as the engine returns it.
        archive: The exported archive.
        facts: Other members of the engine's description of the image.
    """

    id: str
    archive: bytes
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fault:
    """A response that replaces the correct one.

    Attributes:
        status: Its status code.
        body: Its body.
        cut: Whether the connection is closed before the end of the body.
        slow: Whether the body continues with a space every 10 milliseconds.
    """

    status: int
    body: bytes = b""
    cut: bool = False
    slow: bool = False


class EngineServer:
    """An engine that listens on a unix socket.

    Attributes:
        socket: The path of its socket.
        host: Its address, as users write it.
        images: Its images, by all their names.
        loaded: The loaded archives.
        requests: The methods and paths of its requests.
        faults: Responses that replace the correct ones, by method and end of the path.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "engine.sock"
        self.host = f"unix://{self.socket}"
        self.images: dict[str, Exported] = {}
        self.loaded: list[bytes] = []
        self.requests: list[str] = []
        self.faults: dict[tuple[str, str], Fault] = {}

    def add(self, name: str, exported: Exported) -> None:
        """Add an image under its name and its ID."""
        self.images.update({name: exported, exported.id: exported, f"sha256:{exported.id}": exported})

    @contextmanager
    def running(self) -> Iterator[EngineServer]:
        """Listen until the end of the block."""
        engine = self

        class Handler(_Handler):
            server_engine = engine

        with _Server(str(self.socket), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def respond(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Fault:
        """Return the response to a request."""
        self.requests.append(f"{method} {path}")
        fault = next((fault for (m, end), fault in self.faults.items() if m == method and path.endswith(end)), None)
        if fault:
            return fault
        if path == "/version":
            return Fault(200, encode({"Os": "linux", "Arch": "amd64"}))
        if path == "/images/load":
            return self._load(body)
        name, _slash, verb = path[len("/images/") :].rpartition("/")
        image = self.images.get(name)
        if image is None:
            return Fault(404, encode({"message": f"No such image: {name}"}))
        if verb == "tag":
            self.add(f"{query['repo'][0]}:{query['tag'][0]}", image)
            return Fault(201)
        return Fault(200, image.archive if verb == "get" else encode({"Id": image.id, **image.facts}))

    def _load(self, body: bytes) -> Fault:
        self.loaded.append(body)
        files = read_tar(io.BytesIO(body))
        for entry in json.loads(files["manifest.json"]):
            for tag in entry["RepoTags"]:
                self.add(tag, Exported(digest_of(files[entry["Config"]]), body))
        return Fault(200, b'{"stream":"Loaded image"}\r\n')


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_engine: EngineServer

    def _serve(self) -> None:
        try:
            body = self._body()
        except ValueError:
            # The client closed the connection before the end of the body, so nothing is stored.
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        response = self.server_engine.respond(self.command, unquote(parts.path), parse_qs(parts.query), body)
        self.send_response(response.status)
        self.send_header("Content-Length", str(len(response.body) + response.cut + 1000 * response.slow))
        self.end_headers()
        self.wfile.write(response.body)
        with contextlib.suppress(ConnectionError):
            for _space in range(1000 * response.slow):
                time.sleep(0.01)
                self.wfile.write(b" ")
        self.close_connection = response.cut

    do_GET = do_POST = _serve  # noqa: N815 (names of http.server)

    def _body(self) -> bytes:
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        return body

    def log_message(self, *_words: object) -> None:
        """Log nothing."""


def classic(image: Image) -> Exported:
    """Return an image as in Docker before version 25 and in Podman: named by its config, exported as layer tars."""
    with tempfile.TemporaryDirectory() as folder:
        archive = write_docker_archive(Path(folder) / "archive.tar", [([], image)]).read_bytes()
    return Exported(digest_of(image.config), archive)


def keeping_manifests(image: Image, *available: Image) -> Exported:
    """Return an image as in Docker with containerd's store: named by its manifest or index, exported as OCI layout.

    Args:
        image: The image.
        available: The complete images of an index.
    """
    children = available or (image,)
    files = layout_files({"docker.io/library/app:1": image}, leave_out=_missing_blobs(image, children))
    config = digest_of(children[0].config)
    listing = {
        "Config": f"blobs/{config.replace(':', '/')}",
        "RepoTags": None,
        "Layers": [f"blobs/{digest.replace(':', '/')}" for digest in children[0].layers],
    }
    archive = tar(*files.items(), ("manifest.json", encode([listing])))
    manifests = [{"ID": child.digest, "Kind": "image", "Available": True} for child in children]
    return Exported(image.digest, archive, {"Manifests": manifests, "Descriptor": image.root.to_json()})


def _missing_blobs(image: Image, available: tuple[Image, ...]) -> list[str]:
    available_digests = {digest for child in available for digest in child.contents} | {image.digest}
    return [digest for digest in image.contents if digest not in available_digests]
