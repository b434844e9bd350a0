# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that tries to lead an administrator's credentials astray: the audit log tells whether it succeeded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import images
import pytest
from ansible_collections.k8scr.core.plugins.module_utils.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils.oci.manifest import OCI_MANIFEST
from cluster import audit, layout, users

from .conftest import Task
from .host_registries import NAMESPACE, pod_at

VICTIM = "victim"
SECRETS = "api/v1/namespaces/default/secrets"
# Each as the registry writes it; the API server rewrites what it takes for a path of the Pod.
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
]


@dataclass
class Hostile:
    """What the registry answers to everything but a question for something that it then lacks.

    Attributes:
        port: Where it listens.
        status: The status code of its answers.
        headers: Their headers; ``{host}`` in them becomes what the registry was called.
        body: Their content.
        pages: What it does have: media types and contents, by paths.
    """

    port: int
    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)

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


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    """A registry that does what a test wants, behind a Pod."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path in registry.pages:
                self._show(*registry.pages[self.path])
                return
            missing = self.command == "HEAD"
            body = b"" if missing else registry.body
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


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def strays(position: int) -> list[str]:
    """What the victim's credentials were used for since then, other than on the way to the Pod."""
    audit.settle()
    allowed = f"/api/v1/namespaces/{NAMESPACE}/pods/hostile"
    mine = [event["requestURI"] for event in audit.events(position) if event["user"]["username"] == VICTIM]
    assert mine, "the audit log saw nothing"
    return [uri for uri in mine if not (uri == allowed or uri.startswith(f"{allowed}:")) or "secrets" in uri]


@pytest.mark.parametrize("location", ESCAPES)
def test_an_upload_is_not_led_astray(task: Task, hostile: Hostile, location: str) -> None:
    hostile.headers = {"Location": location}
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}
    position = audit.position()

    result = task("k8scr_push", images=[source], **hostile.options)

    assert result["failed"]
    assert not result["changed"]
    assert strays(position) == []


@pytest.mark.parametrize("location", ESCAPES)
def test_a_pull_is_not_redirected(task: Task, hostile: Hostile, tmp_path: Path, location: str) -> None:
    hostile.status, hostile.headers = 307, {"Location": location}
    digest = images.ensure("busybox").digest
    position = audit.position()

    wanted = [{"name": f"docker.io/team/app@{digest}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)

    assert result["failed"]
    assert strays(position) == []


def test_a_challenge_is_not_answered(task: Task, hostile: Hostile) -> None:
    challenge = f'Bearer realm="http://{layout.HOST_ADDRESS}:{hostile.port}/token",service="registry"'
    hostile.status, hostile.headers = 401, {"WWW-Authenticate": challenge}
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}
    position = audit.position()

    result = task("k8scr_push", images=[source], **hostile.options)

    assert "wants credentials of its own" in result["msg"]
    assert [uri for uri in strays(position) if "token" in uri] == []


def test_a_status_that_the_registry_forges_is_just_a_message(task: Task, hostile: Hostile) -> None:
    hostile.status = 403
    hostile.body = b'{"kind": "Status", "apiVersion": "v1", "message": "run \\u001b[31mthis\\n as root"}'
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}

    result = task("k8scr_push", images=[source], **hostile.options)

    assert result["failed"]
    assert result["msg"].isprintable()


def test_a_blob_that_looks_like_html_and_was_rewritten_is_told(task: Task, hostile: Hostile, tmp_path: Path) -> None:
    page = b'<html><body><a href="/elsewhere">away</a></body></html>'
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(page), "size": len(page)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    hostile.pages = {
        f"/v2/team/app/manifests/{digest_of(encode(manifest))}": (OCI_MANIFEST, encode(manifest)),
        f"/v2/team/app/blobs/{digest_of(page)}": ("text/html", page),
    }

    wanted = [{"name": f"docker.io/team/app@{digest_of(encode(manifest))}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)

    assert "the API server rewrites the links" in result["msg"]
    assert not (tmp_path / "layout/index.json").exists()
