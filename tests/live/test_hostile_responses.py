# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endless, slow, early and invalid responses of a registry: each task ends with a message that names the registry."""

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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http import slow_peer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX, OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import connect

from .conftest import Task
from .host_registries import NAMESPACE
from .hostile import HostileRegistry, encode, hostile_registry, respond_with
from .image_tasks import pull, pull_entry, push

DIGEST = digest_of(b"a missing manifest")
UPLOAD = {"Location": "/v2/team/app/blobs/uploads/1"}
MANY = "".join(f"X-{number}: x\r\n" for number in range(200)).encode()
MOST_SENT = 64 << 20


@pytest.fixture
def hostile() -> Iterator[HostileRegistry]:
    """A registry with configurable, hostile responses, behind a Pod."""
    with hostile_registry() as registry:
        yield registry


class EndlessResponse:
    """Responds with an endless body and counts the bytes that it sends.

    Args:
        status: The status code.
        more: Further lines of the header.
    """

    def __init__(self, status: int, more: str = "") -> None:
        self.sent = 0
        self.closed = threading.Event()
        lines = f"Content-Type: {OCI_MANIFEST}\r\n{more}Transfer-Encoding: chunked\r\n"
        self._head = f"HTTP/1.1 {status} Endless\r\n{lines}\r\n"

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to one request."""
        handler.wfile.write(self._head.encode())
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                self.sent += 0x10000
        finally:
            self.closed.set()


def message_of_push(task: Task, hostile: HostileRegistry, image: images.Image) -> str:
    """Push an image, which must fail, and return the message."""
    result = push(task, image, "team/app", **hostile.options)
    assert result["failed"]
    assert not result["changed"]
    return str(result["msg"])


def test_pull_stops_reading_endless_manifest(task: Task, hostile: HostileRegistry, tmp_path: Path) -> None:
    endless = EndlessResponse(200)
    hostile.actions = {"HEAD": respond_with(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "GET": endless}

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=DIGEST, **hostile.options)

    assert result["failed"]
    assert "more than the 4194304 that registries accept" in result["msg"]
    assert "Pod default/hostile" in result["msg"]
    assert endless.closed.wait(60)
    # Besides the bytes that the client reads, the registry fills the buffers of sockets and of the API server.
    assert endless.sent < MOST_SENT


def test_pull_stops_reading_endless_redirect(task: Task, hostile: HostileRegistry, tmp_path: Path) -> None:
    endless = EndlessResponse(307, "Location: /v2/team/app/blobs/other\r\n")
    hostile.actions = {"HEAD": respond_with(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "GET": endless}

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=DIGEST, **hostile.options)

    assert "Pod default/hostile responded with 307" in result["msg"]
    assert endless.closed.wait(60)
    assert endless.sent < MOST_SENT


def test_pull_requests_interrupted_manifest_again(task: Task, hostile: HostileRegistry, tmp_path: Path) -> None:
    manifest = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_INDEX}\r\nContent-Length: {len(manifest)}\r\n\r\n".encode()
    responses = iter([respond_with(head + manifest[:20]), respond_with(head + manifest)])
    lookup = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_INDEX}\r\nDocker-Content-Digest: {digest_of(manifest)}\r\n"

    def act(handler: BaseHTTPRequestHandler) -> None:
        next(responses)(handler)

    found = respond_with(f"{lookup}Content-Length: {len(manifest)}\r\n\r\n".encode())
    hostile.actions = {"HEAD": found, "GET": act}

    # The registry finds the same manifest under all tags, also under those of signatures.
    entry = pull_entry("team/app", f"oci:{tmp_path}/layout", digest_of(manifest), referrers=False)

    result = task("k8scr_pull", images=[entry], **hostile.options)

    assert result["changed"], result.get("msg")
    assert len(result["retries"]) == 1


def test_pull_of_index_with_many_missing_manifests_sends_few_requests(
    task: Task, hostile: HostileRegistry, tmp_path: Path
) -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest_of(b"%d" % number), "size": 1} for number in range(19_000)]
    index = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    hostile.contents = {f"/v2/team/app/manifests/{digest_of(index)}": (OCI_INDEX, index)}
    hostile.status = 404

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=digest_of(index), **hostile.options)

    assert "lists 19000 manifests, more than the maximum of 1000" in result["msg"]
    assert len(hostile.requested) < 10


@pytest.mark.parametrize(("method", "head"), [("GET", 400), ("POST", 404)])
def test_push_stops_reading_endless_error_response(
    task: Task, hostile: HostileRegistry, method: str, head: int
) -> None:
    endless = EndlessResponse(400)
    short = respond_with(f"HTTP/1.1 {head} No\r\nContent-Length: 0\r\n\r\n".encode())
    hostile.actions = {"HEAD": short, "GET": short, method: endless}

    message = message_of_push(task, hostile, images.ensure("busybox"))

    assert "Pod default/hostile responded with 400" in message
    assert endless.closed.wait(60)
    assert endless.sent < MOST_SENT


@pytest.mark.parametrize("headers", [MANY, b"X: " + b"x" * (70 << 10) + b"\r\n"], ids=["many", "long"])
def test_push_names_registry_when_headers_are_invalid(task: Task, hostile: HostileRegistry, headers: bytes) -> None:
    response = respond_with(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 0\r\n\r\n")
    hostile.actions = dict.fromkeys(["GET", "HEAD", "POST"], response)

    message = message_of_push(task, hostile, images.ensure("busybox"))

    assert "the request to Pod hostile failed" in message
    assert "is not valid HTTP" in message


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_request_times_out_when_headers_arrive_slowly(hostile: HostileRegistry, start: bytes) -> None:
    over = threading.Event()

    def send_slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        while not over.wait(0.2):
            handler.wfile.write(b"X: x\r\n" if start else b"H")

    hostile.actions = {"GET": send_slowly}
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.mount("http://registry.example/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))
        begun = time.monotonic()

        # The API server forwards headers only when they are complete.
        with pytest.raises(ConnectionLostError, match="timed out during a request"):
            session.get("http://registry.example/v2/", timeout=(5, 2))

        assert time.monotonic() - begun < 60
    over.set()


def test_request_ends_when_body_arrives_below_minimum_rate(
    hostile: HostileRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peer, "WINDOW", 3.0)
    over = threading.Event()

    def send_slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not over.wait(0.2):
            handler.wfile.write(b"x")

    hostile.actions = {"GET": send_slowly}
    options = {"kubeconfig": hostile.options["kubeconfig"]}
    with connect(options, idle_timeout=3.0, minimum_rate=1024) as cluster, requests.Session() as session:
        session.mount("http://registry.example/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))

        with pytest.raises(ConnectionLostError, match=r"sent only \d+ bytes in \d+ seconds, less than 1024 a second"):
            session.get("http://registry.example/v2/")

    over.set()


def test_request_succeeds_when_body_arrives_slowly(hostile: HostileRegistry) -> None:
    def send_slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        for _number in range(40):
            time.sleep(0.1)
            handler.wfile.write(b"x")

    hostile.actions = {"GET": send_slowly}
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.mount("http://registry.example/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))

        # The body takes longer than the read timeout, which limits the pauses and not the whole response.
        assert session.get("http://registry.example/v2/", timeout=(5, 3)).content == b"x" * 40


@pytest.mark.parametrize(("status", "advice"), [(413, "raise its limit"), (401, "The registry requires credentials")])
def test_push_reads_early_error_response_during_upload(
    task: Task, hostile: HostileRegistry, status: int, advice: str
) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not this much"}]}'
    head = f"HTTP/1.1 {status} No\r\nDocker-Distribution-Api-Version: registry/2.0\r\n"
    response = respond_with(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    hostile.headers = UPLOAD
    hostile.actions = {"PATCH": response, "PUT": response}

    message = message_of_push(task, hostile, images.ensure_random(64 << 20, 1))

    assert f"Pod default/hostile responded with {status}: not this much" in message
    assert advice in message


def test_push_waits_for_time_in_retry_after(task: Task, hostile: HostileRegistry) -> None:
    times: list[float] = []
    reject = respond_with(b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    def act(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        reject(handler)

    hostile.actions = {"POST": act}

    message = message_of_push(task, hostile, images.ensure("busybox"))

    assert "Pod default/hostile responded with 429" in message
    assert "run again later" in message
    # The push uploads several blobs at once and retries each.
    assert times[-1] - times[0] >= 1
