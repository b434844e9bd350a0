# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry whose answers do not end, do not come, come too early or are no HTTP: each ends, and names it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import images
import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.cluster import connect
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter

from .conftest import Task
from .host_registries import NAMESPACE
from .hostile import Hostile, hostile_registry, says

DIGEST = digest_of(b"a manifest that nobody has")
UPLOAD = {"Location": "/v2/team/app/blobs/uploads/1"}
MANY = "".join(f"X-{number}: x\r\n" for number in range(200)).encode()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    """A registry that does what a test wants, behind a Pod."""
    with hostile_registry() as registry:
        yield registry


class Endless:
    """Answers with a body that has no end, and counts what was taken of it.

    Args:
        status: The status code.
    """

    def __init__(self, status: int) -> None:
        self.taken = 0
        self.hung_up = threading.Event()
        self._head = f"HTTP/1.1 {status} Endless\r\nContent-Type: {OCI_MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        handler.wfile.write(self._head.encode())
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                self.taken += 0x10000
        finally:
            self.hung_up.set()


def push(task: Task, hostile: Hostile, layout: Path) -> str:
    result = task("k8scr_push", images=[{"source": f"oci:{layout}", "name": "docker.io/team/app:1"}], **hostile.options)
    assert result["failed"]
    assert not result["changed"]
    return str(result["msg"])


def pull(task: Task, hostile: Hostile, tmp_path: Path) -> str:
    wanted = [{"name": f"docker.io/team/app@{DIGEST}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)
    assert result["failed"]
    return str(result["msg"])


def test_a_manifest_without_an_end_is_not_read_to_its_end(task: Task, hostile: Hostile, tmp_path: Path) -> None:
    endless = Endless(200)
    hostile.acts = {"HEAD": says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "GET": endless}

    message = pull(task, hostile, tmp_path)

    assert "more than the 4194304 that registries accept" in message
    assert "Pod default/hostile" in message
    assert endless.hung_up.wait(10)
    # What is on the way in sockets and in the API server comes on top of what the client takes.
    assert endless.taken < 64 << 20


@pytest.mark.parametrize(("method", "head"), [("GET", 400), ("POST", 404)])
def test_a_refusal_without_an_end_is_not_read_to_its_end(task: Task, hostile: Hostile, method: str, head: int) -> None:
    endless = Endless(400)
    short = says(f"HTTP/1.1 {head} No\r\nContent-Length: 0\r\n\r\n".encode())
    hostile.acts = {"HEAD": short, "GET": short, method: endless}

    message = push(task, hostile, images.ensure("busybox").layout)

    assert "Pod default/hostile answered 400" in message
    assert endless.hung_up.wait(10)
    assert endless.taken < 64 << 20


@pytest.mark.parametrize("headers", [MANY, b"X: " + b"x" * (70 << 10) + b"\r\n"], ids=["many", "long"])
def test_headers_that_nobody_can_read_are_the_registrys_fault(task: Task, hostile: Hostile, headers: bytes) -> None:
    answer = says(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 0\r\n\r\n")
    hostile.acts = dict.fromkeys(["GET", "HEAD", "POST"], answer)

    message = push(task, hostile, images.ensure("busybox").layout)

    assert "asking Pod hostile failed" in message
    assert "is not HTTP that can be read" in message


@pytest.mark.parametrize("began", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_headers_that_trickle_are_waited_for_as_long_as_for_silence(hostile: Hostile, began: bytes) -> None:
    over = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(began)
        while not over.wait(0.2):
            handler.wfile.write(b"X: x\r\n" if began else b"H")

    hostile.acts = {"GET": trickle}
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.mount("http://registry.example/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))
        begun = time.monotonic()

        # The API server passes headers on when it has them all.
        with pytest.raises(ConnectionLostError, match="fell silent"):
            session.get("http://registry.example/v2/", timeout=(5, 2))

        assert time.monotonic() - begun < 10
    over.set()


def test_a_body_that_trickles_is_taken_as_it_comes(hostile: Hostile) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _number in range(10):
            time.sleep(0.3)
            handler.wfile.write(b"x")

    hostile.acts = {"GET": trickle}
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.mount("http://registry.example/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))

        # It takes three times what silence may take: a slow line is no attack.
        assert session.get("http://registry.example/v2/", timeout=(5, 1)).content == b"x" * 10


@pytest.mark.parametrize(
    ("status", "advice"), [(413, "raise its limit"), (401, "The registry wants credentials of its own")]
)
def test_an_answer_in_the_middle_of_a_body_is_heard(task: Task, hostile: Hostile, status: int, advice: str) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not this much"}]}'
    head = f"HTTP/1.1 {status} No\r\nDocker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n"
    answer = says(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    hostile.headers = UPLOAD
    hostile.acts = {"PATCH": answer, "PUT": answer}

    message = push(task, hostile, images.ensure_random(64 << 20, 1).layout)

    assert f"Pod default/hostile answered {status}: not this much" in message
    assert advice in message


def test_a_registry_that_wants_a_pause_gets_it(task: Task, hostile: Hostile) -> None:
    times: list[float] = []
    refuse = says(b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    def act(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        refuse(handler)

    hostile.acts = {"POST": act}

    message = push(task, hostile, images.ensure("busybox").layout)

    assert "Pod default/hostile answered 429" in message
    assert "run again later" in message
    # Several blobs are sent at once, and each is tried again.
    assert times[-1] - times[0] >= 1
