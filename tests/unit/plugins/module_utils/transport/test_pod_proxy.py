# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Error responses and interrupted connections of the Pod proxy."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ClusterError,
    ConnectionLostError,
    K8scrError,
    Retry,
)
from unit.plugins.module_utils.transport.servers import Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

URL = "http://registry.k8scr"


def status(code: int, message: str) -> bytes:
    """Return an error response of the API server."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return response_bytes(code, {"Content-Type": "application/json"}, json.dumps(body).encode())


NOT_A_POD = status(404, 'pods "k8scr-0" not found')


def test_error_response_of_registry_is_returned_unchanged(session: requests.Session, api_server: Server) -> None:
    body = b'{"errors": [{"code": "DENIED"}]}'
    api_server.reply(response_bytes(403, {"Content-Type": "application/json"}, body))

    response = session.get(f"{URL}/v2/a/tags/list")

    assert (response.status_code, response.json()) == (403, {"errors": [{"code": "DENIED"}]})


@pytest.mark.parametrize("code", [200, 400, 404, 500])
def test_body_of_any_status_is_unread_for_client_that_streams(
    session: requests.Session, api_server: Server, code: int
) -> None:
    api_server.reply(response_bytes(code, {}, b"the reason"))

    assert session.get(f"{URL}/v2/", stream=True).raw.read() == b"the reason"


def test_compressed_error_response_is_not_expanded(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(400, {"Content-Encoding": "gzip"}, gzip.compress(b'{"errors": []}')))

    response = session.get(f"{URL}/v2/")

    assert (response.status_code, response.content) == (400, b"")


def test_long_error_response_is_truncated(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(500, body=b"x" * (1 << 20)))

    response = session.get(f"{URL}/v2/")
    session.get(f"{URL}/v2/")

    assert (response.status_code, len(response.content)) == (500, 64 << 10)
    assert api_server.connections == 2  # the client closed the first one with its unread body


def test_interrupted_error_response_is_returned(session: requests.Session, api_server: Server) -> None:
    api_server.closes_after_response = True
    api_server.reply(response_bytes(413, {"Content-Length": "1000"}, b"too lar"))

    assert session.get(f"{URL}/v2/").status_code == 413


@pytest.mark.parametrize("code", [401, 403, 404, 500, 503])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_error_response_of_api_server_raises_error_with_its_status(
    session: requests.Session, api_server: Server, method: str, code: int
) -> None:
    rejection = status(code, "rejected for a reason")
    api_server.reply(lambda request: response_bytes(code) if request.method == "HEAD" else rejection)

    with pytest.raises(ApiServerError, match="rejected for a reason") as caught:
        session.request(method, f"{URL}/v2/a/manifests/1")

    assert caught.value.status == code


def test_error_names_missing_permission_after_403(session: requests.Session, api_server: Server) -> None:
    api_server.reply(status(403, 'User "bob" cannot patch resource "pods/proxy"'))

    with pytest.raises(ApiServerError) as caught:
        session.patch(f"{URL}/v2/", data=b"")

    assert "cannot patch" in str(caught.value)
    assert "pods/proxy with resourceNames [k8scr-0:5000] in a Role in k8scr" in str(caught.value)


def test_head_returns_response_of_repeated_get(session: requests.Session, api_server: Server) -> None:
    # The Pod receives its address between the two requests.
    api_server.reply(response_bytes(400), response_bytes(404, body=b'{"errors": [{"code": "BLOB_UNKNOWN"}]}'))

    assert session.head(f"{URL}/v2/a/blobs/sha256:ab").status_code == 404


def test_403_is_transient_for_method_that_was_allowed(session: requests.Session, api_server: Server) -> None:
    # An API server that has just started has not read the roles yet.
    forbidden = status(403, 'User "bob" cannot get resource "pods/proxy"')
    api_server.reply(response_bytes(200), forbidden)
    session.get(f"{URL}/v2/")

    transient = []
    for method in ("GET", "POST"):
        with pytest.raises(ApiServerError) as caught:
            session.request(method, f"{URL}/v2/")
        transient.append(caught.value.transient)

    assert transient == [True, False]


def test_missing_pod_is_transient(session: requests.Session, api_server: Server) -> None:
    api_server.reply(NOT_A_POD)

    with pytest.raises(ApiServerError, match="there is no Pod k8scr-0") as caught:
        session.get(f"{URL}/v2/")

    assert caught.value.transient
    assert not caught.value.confirms_address


def test_error_describes_state_of_unreachable_pod(session: requests.Session, api_server: Server) -> None:
    waiting = {"name": "registry", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    pod = {"status": {"phase": "Pending", "containerStatuses": [waiting]}}
    api_server.reply(
        status(503, "error trying to reach service: timeout"), response_bytes(200, body=json.dumps(pod).encode())
    )

    match = "it is Pending and not ready; container registry is waiting: ImagePull"
    with pytest.raises(ApiServerError, match=match) as caught:
        session.get(f"{URL}/v2/")

    assert not caught.value.confirms_address


@pytest.mark.parametrize(
    "pod",
    [
        status(403, "you may not look at pods"),
        response_bytes(200, body=b"<html>"),
        response_bytes(200, body=b"{}"),
        b"nonsense",
    ],
)
def test_error_names_unreachable_pod_without_its_state(
    session: requests.Session, api_server: Server, pod: bytes
) -> None:
    api_server.closes_after_response = True
    api_server.reply(status(503, "error trying to reach service: timeout"), pod)

    with pytest.raises(ApiServerError, match="the API server cannot reach Pod k8scr-0 in namespace k8scr at port 5000"):
        session.get(f"{URL}/v2/")


@pytest.mark.parametrize(
    ("reason", "advised"),
    [
        ("dial tcp 10.0.0.7:5000: i/o timeout", True),
        ("dial tcp 10.0.0.7:5000: connect: no route to host", True),
        ("No agent available", True),
        ("dial tcp 10.0.0.7:5000: connect: connection refused", False),
        ("dial tcp 10.0.0.7:5000: connect: connection reset by peer", False),
    ],
)
def test_error_advises_host_network_if_pod_network_is_unreachable(
    session: requests.Session, api_server: Server, reason: str, advised: bool
) -> None:
    pod = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    api_server.reply(
        status(503, f"error trying to reach service: {reason}"), response_bytes(200, body=json.dumps(pod).encode())
    )

    with pytest.raises(ApiServerError, match="cannot reach Pod k8scr-0") as caught:
        session.get(f"{URL}/v2/")

    assert ("hostNetwork: true" in str(caught.value)) == advised


@pytest.mark.parametrize(
    "reason",
    [
        "EOF",
        "http: server closed idle connection",
        "read tcp 10.0.0.1:4711->10.0.0.7:5000: read: connection timed out",
        "http2: Transport received GOAWAY from server ErrCode:NO_ERROR",
        "read tcp 10.0.0.1:4711->10.0.0.7:5000: read: connection reset by peer",
        "readfrom tcp 10.0.0.1:4711->10.0.0.7:5000: write tcp 10.0.0.1:4711->10.0.0.7:5000: write: broken pipe",
        "readfrom tcp 10.0.0.1:4711->10.0.0.7:5000: use of closed network connection",
    ],
)
def test_interrupted_connection_to_pod_differs_from_unreachable_pod(
    session: requests.Session, api_server: Server, reason: str
) -> None:
    pod = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}}
    api_server.reply(
        status(503, f"error trying to reach service: {reason}"), response_bytes(200, body=json.dumps(pod).encode())
    )

    match = r"the API server lost the connection to Pod k8scr-0 .*it is Running and not ready"
    with pytest.raises(ConnectionLostError, match=match):
        session.patch(f"{URL}/v2/app/blobs/uploads/1", data=b"half")


def test_retry_after_of_busy_api_server_is_in_error(session: requests.Session, api_server: Server) -> None:
    body = json.dumps({"kind": "Status", "apiVersion": "v1", "message": "too many requests", "code": 429}).encode()
    api_server.reply(response_bytes(429, {"Retry-After": "7"}, body))

    with pytest.raises(ApiServerError, match="run again later") as caught:
        session.get(f"{URL}/v2/")

    assert caught.value.retry == Retry(after=7.0)


def test_head_is_repeated_as_get_after_404(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(404), response_bytes(404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'))

    response = session.head(f"{URL}/v2/a/manifests/1")

    assert response.status_code == 404
    assert [request.method for request in api_server.requests] == ["HEAD", "GET"]


def test_head_is_not_repeated_if_response_names_registry(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(404, {"Docker-Distribution-Api-Version": "registry/2.0"}))

    assert session.head(f"{URL}/v2/a/manifests/1").status_code == 404
    assert len(api_server.requests) == 1


def test_content_that_resembles_error_of_api_server_is_returned(session: requests.Session, api_server: Server) -> None:
    forged = status(200, "not found")
    api_server.reply(response_bytes(404), forged)

    response = session.head(f"{URL}/v2/a/manifests/1")

    assert response.status_code == 200


def test_response_during_upload_is_read(session: requests.Session, api_server: Server) -> None:
    api_server.reads_bodies = False
    api_server.reply(response_bytes(413, {"Connection": "close"}, b'{"errors": [{"code": "SIZE_INVALID"}]}'))
    blocks = (bytes(1 << 20) for _number in range(64))

    response = session.patch(f"{URL}/v2/a/blobs/uploads/1", data=blocks, headers={"Content-Length": str(64 << 20)})

    assert (response.status_code, response.json()) == (413, {"errors": [{"code": "SIZE_INVALID"}]})


def test_error_of_body_is_not_connection_error(session: requests.Session) -> None:
    def blocks() -> Any:
        yield b"ab"
        raise K8scrError("the archive is damaged")

    with pytest.raises(K8scrError, match="the archive is damaged") as caught:
        session.patch(f"{URL}/v2/a/blobs/uploads/1", data=blocks(), headers={"Content-Length": "4"})

    assert not isinstance(caught.value, ClusterError)


def test_long_body_of_redirect_is_truncated(session: requests.Session, api_server: Server) -> None:
    target = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy/v2/other"
    api_server.reply(response_bytes(307, {"Location": target}, b"x" * (1 << 20)), response_bytes(200, body=b"ok"))

    response = session.get(f"{URL}/v2/")

    assert response.text == "ok"
    assert [len(redirect.content) for redirect in response.history] == [64 << 10]


def test_incomplete_response_raises_connection_lost_error(session: requests.Session, api_server: Server) -> None:
    api_server.closes_after_response = True
    api_server.reply(response_bytes(200, {"Content-Length": "100"}, b"short"))

    with pytest.raises(ConnectionLostError, match="was interrupted"):
        session.get(f"{URL}/v2/a/blobs/x")


def test_unresponsive_server_raises_connection_lost_error(session: requests.Session, api_server: Server) -> None:
    api_server.reply(lambda request: response_bytes(200) if api_server.stopping.wait(5) else b"")

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        session.get(f"{URL}/v2/", timeout=(5, 0.1))


def without_response(server: Server, reaction: str) -> Callable[[object], bytes]:
    """Return a response without any byte: at once, or not before the server stops."""

    def respond(_request: object) -> bytes:
        if reaction == "unresponsive":
            server.stopping.wait(5)
        return b""

    return respond


@pytest.mark.parametrize("reaction", ["unresponsive", "closed"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_error_names_both_peers_without_response(
    session: requests.Session, api_server: Server, method: str, reaction: str
) -> None:
    api_server.closes_after_response = True
    api_server.reply(without_response(api_server, reaction))

    with pytest.raises(ConnectionLostError) as caught:
        session.request(method, f"{URL}/v2/", timeout=(5, 0.1))

    assert f"the API server {api_server.address} or the registry in Pod k8scr/k8scr-0 behind it" in str(caught.value)
    assert "Check the registry in Pod k8scr/k8scr-0 and its log, the network, and load balancers" in str(caught.value)


@pytest.mark.parametrize("reaction", ["unresponsive", "closed"])
def test_error_for_object_names_only_api_server_without_response(
    cluster_of: Connect, options: dict[str, Any], api_server: Server, reaction: str
) -> None:
    api_server.closes_after_response = True
    api_server.reply(without_response(api_server, reaction))

    with pytest.raises(ConnectionLostError) as caught:
        cluster_of(options).adapter.read_object("/version", "the version", timeout=0.1)

    assert "registry" not in str(caught.value)
    assert "Check the network, and load balancers" in str(caught.value)


def test_timeout_during_response_raises_connection_lost_error(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(200, {"Content-Length": "100"}, b"short"))

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        session.get(f"{URL}/v2/", timeout=(5, 0.1))


def test_timeout_during_upload_raises_connection_lost_error(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    def unresponsive(request: object) -> bytes:
        api_server.stopping.wait(5)
        return b""

    api_server.reads_bodies = False
    api_server.reply(unresponsive)
    adapter = cluster_of(options, idle_timeout=0.1).adapter

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        adapter.open("PATCH", f"{adapter.base_url}/", {}, (bytes(1 << 20) for _number in range(64)))


@pytest.mark.parametrize("code", [101, 103])
def test_interim_response_is_rejected_and_connection_closed(
    session: requests.Session, api_server: Server, code: int
) -> None:
    api_server.reply(
        f"HTTP/1.1 {code} Hints\r\n\r\n".encode() + response_bytes(200, body=b"forged"),
        response_bytes(200, body=b"true"),
    )

    with pytest.raises(ClusterError, match=rf"interim response \({code}\)"):
        session.get(f"{URL}/v2/")

    assert session.get(f"{URL}/v2/").text == "true"


def test_100_continue_is_ignored(session: requests.Session, api_server: Server) -> None:
    api_server.reply(b"HTTP/1.1 100 Continue\r\n\r\n" + response_bytes(201))

    assert session.put(f"{URL}/v2/", data=b"x").status_code == 201


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n",
        response_bytes(200, {"X": "x" * (65 << 10)}),
        response_bytes(200, {f"X-{number}": "x" for number in range(101)}),
        b"HTTP/1.1 999999 What\r\n\r\n",
    ],
    ids=["no HTTP", "a header of 65 KiB", "too many headers", "no status"],
)
def test_response_that_is_not_http_raises_error(session: requests.Session, api_server: Server, nonsense: bytes) -> None:
    api_server.closes_after_response = True
    api_server.reply(nonsense)

    with pytest.raises(ClusterError, match=r"Pod k8scr-0 .* is not valid HTTP"):
        session.get(f"{URL}/v2/")
