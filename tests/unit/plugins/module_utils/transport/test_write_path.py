# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to a registry that accepts writes below a secret path."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ConnectionLostError,
    K8scrError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory_reader import take_inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.write_path import ReadOnlyPort, WritePath
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from unit.plugins.module_utils.transport.servers import Request, Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

PROXY = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy"
SECRET = "/api/v1/namespaces/k8scr/secrets/k8scr-write"
URL = "http://registry.k8scr"
PATH = "canaryCanaryCanary0123456789"
NO_SUCH_PATH = response_bytes(
    404,
    {"Content-Type": "text/plain; charset=utf-8", "Docker-Distribution-Api-Version": "registry/2.0"},
    b"404 page not found\n",
)


def secret(path: str) -> bytes:
    """Return the API server's response with the Secret of a path."""
    value = base64.b64encode(path.encode()).decode()
    return response_bytes(200, {"Content-Type": "application/json"}, json.dumps({"data": {"path": value}}).encode())


def error_response(code: int, message: str) -> bytes:
    """Return an error response of the API server."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return response_bytes(code, {"Content-Type": "application/json"}, json.dumps(status).encode())


class RegistryBelowPath:
    """An API server with a registry that serves below a path, and with the Secret of the path.

    Attributes:
        path: The path that the registry serves below.
        secret: The response to a request for the Secret.
        served: The response of the registry.
    """

    def __init__(self, server: Server) -> None:
        self.path = PATH
        self.secret = secret(f"/{PATH}/")
        self.served = response_bytes(200, {"Content-Type": "application/json"}, b"{}")
        self._server = server
        server.reply(self._respond)

    def _respond(self, request: Request) -> bytes:
        if request.target.startswith(SECRET):
            return self.secret
        return self.served if request.target.startswith(f"{PROXY}/{self.path}/v2/") else NO_SUCH_PATH

    def requested(self) -> list[str]:
        """Return the requests that the API server received, without the Pod proxy's part of their paths."""
        return [f"{request.method} {request.target.removeprefix(PROXY)}" for request in self._server.requests]


@pytest.fixture
def registry(api_server: Server) -> RegistryBelowPath:
    """A registry that serves below a path."""
    return RegistryBelowPath(api_server)


Open = Callable[..., requests.Session]


@pytest.fixture
def open_session(cluster_of: Connect, options: dict[str, Any]) -> Iterator[Open]:
    """Opens sessions to the registry in a Pod as k8scr_push, k8scr_wait or k8scr_pull does."""
    with ExitStack() as opened:

        def run(use: str = "push", pod: str = "k8scr-0") -> requests.Session:
            adapter = cluster_of(options).adapter
            base_path = ReadOnlyPort(pod) if use == "pull" else WritePath(adapter, "k8scr", pod, ahead=use == "push")
            session = opened.enter_context(requests.Session())
            session.mount(f"{URL}/", PodProxyAdapter(adapter, "k8scr", pod, 5000, base_path=base_path))
            return session

        yield run


def test_writer_reads_secret_once_and_sends_requests_below_its_path(
    registry: RegistryBelowPath, open_session: Open
) -> None:
    session = open_session()

    session.get(f"{URL}/v2/")
    session.post(f"{URL}/v2/a/blobs/uploads/?x=1")

    assert registry.requested() == [f"GET {SECRET}", f"GET /{PATH}/v2/", f"POST /{PATH}/v2/a/blobs/uploads/?x=1"]


def test_waiting_client_does_not_read_secret_if_registry_serves_at_root(
    registry: RegistryBelowPath, api_server: Server, open_session: Open
) -> None:
    api_server.reply(response_bytes(200, {}, b"{}"))

    open_session("wait").get(f"{URL}/v2/")

    assert registry.requested() == ["GET /v2/"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_waiting_client_reads_secret_if_registry_serves_nothing_at_root(
    registry: RegistryBelowPath, open_session: Open, method: str
) -> None:
    response = open_session("wait").request(method, f"{URL}/v2/a/manifests/1")

    assert response.status_code == 200
    assert registry.requested()[-2:] == [f"GET {SECRET}", f"{method} /{PATH}/v2/a/manifests/1"]


def test_writer_reads_no_secret_for_pod_without_ordinal(api_server: Server, open_session: Open) -> None:
    open_session(pod="k8scr").get(f"{URL}/v2/")

    assert [request.target for request in api_server.requests] == ["/api/v1/namespaces/k8scr/pods/k8scr:5000/proxy/v2/"]


@pytest.mark.parametrize(
    "response",
    [
        error_response(404, 'secrets "k8scr-write" not found'),
        error_response(403, 'secrets "k8scr-write" is forbidden'),
        response_bytes(200, {}, b'{"data": {"password": "eA=="}}'),
        response_bytes(200, {}, b'{"data": null}'),
        response_bytes(200, {}, b"not JSON"),
    ],
    ids=["missing", "forbidden", "other", "no data", "no JSON"],
)
def test_third_party_registry_is_used_at_its_root_without_usable_secret(
    registry: RegistryBelowPath, api_server: Server, open_session: Open, response: bytes
) -> None:
    api_server.reply(lambda request: response if request.target == SECRET else registry.served)

    assert open_session().get(f"{URL}/v2/").status_code == 200
    assert registry.requested() == [f"GET {SECRET}", "GET /v2/"]


@pytest.mark.parametrize(
    "response",
    [
        secret("/short/"),
        secret("/"),
        secret(""),
        secret("no slashes but long enough"),
        secret(f"/{PATH}/../{PATH}/"),
        response_bytes(200, {}, b'{"data": {"path": "%%%"}}'),
    ],
    ids=["short", "root", "empty", "words", "two", "no base64"],
)
def test_secret_without_usable_path_is_rejected(
    registry: RegistryBelowPath, open_session: Open, response: bytes
) -> None:
    registry.secret = response

    with pytest.raises(ApiServerError, match="the Secret k8scr-write in namespace k8scr contains no valid write path"):
        open_session().get(f"{URL}/v2/")


@pytest.mark.parametrize("use", ["push", "wait", "pull"])
def test_response_for_missing_route_of_registry_is_unchanged(
    registry: RegistryBelowPath, api_server: Server, open_session: Open, use: str
) -> None:
    # Distribution responds like this to a request for referrers.
    base = f"/{PATH}" if use == "push" else ""
    api_server.reply(
        lambda request: (
            registry.secret
            if request.target == SECRET
            else registry.served
            if request.target == f"{PROXY}{base}/v2/"
            else NO_SUCH_PATH
        )
    )
    session = open_session(use)

    for _attempt in range(2):
        response = session.get(f"{URL}/v2/a/referrers/sha256:0")
        assert (response.status_code, response.text) == (404, "404 page not found\n")

    probes = [request for request in registry.requested() if request.endswith(f"{base}/v2/")]
    assert len(probes) == 1


def test_pull_from_write_port_names_read_only_port_and_reads_no_secret(
    registry: RegistryBelowPath, open_session: Open
) -> None:
    with pytest.raises(RegistryError, match="does not serve a registry at the root of this port") as caught:
        open_session("pull").get(f"{URL}/v2/a/manifests/1")

    assert "use the registry's read-only port (registry_port, 5001" in str(caught.value)
    assert not [request for request in registry.requested() if SECRET in request]


@pytest.mark.parametrize("repositories", [None, ["team/app"]])
def test_inventory_from_write_port_ends_and_names_read_only_port(
    registry: RegistryBelowPath, open_session: Open, repositories: list[str] | None
) -> None:
    client = Registry(open_session("pull"), URL)
    with pytest.raises(RegistryError, match="use the registry's read-only port"):
        take_inventory(client, 1, repositories=repositories)


def test_not_found_of_third_party_registry_is_unchanged(api_server: Server, open_session: Open) -> None:
    missing = response_bytes(404, {"Content-Type": "application/json"}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
    api_server.reply(lambda request: error_response(403, "no") if request.target == SECRET else missing)

    response = open_session().get(f"{URL}/v2/a/manifests/1")

    assert (response.status_code, response.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("use", ["push", "wait"])
def test_error_names_secret_and_read_only_port_if_path_is_forbidden(
    registry: RegistryBelowPath, open_session: Open, use: str
) -> None:
    registry.secret = error_response(403, 'User "jane" cannot get secrets')

    with pytest.raises(ApiServerError) as caught:
        open_session(use).get(f"{URL}/v2/")

    assert 'User "jane" cannot get secrets' in str(caught.value)
    assert "get on the Secret k8scr-write in namespace k8scr" in str(caught.value)
    assert "read-only port (registry_port, 5001" in str(caught.value)


@pytest.mark.parametrize(("status", "transient"), [(503, True), (429, True), (401, False)])
def test_error_of_secret_request_is_transient_by_its_status(
    registry: RegistryBelowPath, open_session: Open, status: int, transient: bool
) -> None:
    registry.secret = error_response(status, "not now")
    session = open_session()

    with pytest.raises(ApiServerError, match="not now") as caught:
        session.get(f"{URL}/v2/")
    assert caught.value.transient is transient

    registry.secret = secret(f"/{PATH}/")
    assert session.get(f"{URL}/v2/").status_code == 200


def test_request_is_repeated_below_new_path_after_path_changed(registry: RegistryBelowPath, open_session: Open) -> None:
    session = open_session()
    session.get(f"{URL}/v2/")
    registry.path = "another0Another1Another2"
    registry.secret = secret(f"/{registry.path}/")

    response = session.put(f"{URL}/v2/a/manifests/1", data=b"{}")

    assert response.status_code == 200
    assert registry.requested()[-1] == f"PUT /{registry.path}/v2/a/manifests/1"


def test_streamed_body_is_not_repeated_after_path_changed(registry: RegistryBelowPath, open_session: Open) -> None:
    session = open_session()
    session.get(f"{URL}/v2/")
    registry.path = "another0Another1Another2"
    registry.secret = secret(f"/{registry.path}/")

    with pytest.raises(ConnectionLostError, match="changed during a request"):
        session.patch(f"{URL}/v2/a/blobs/uploads/1", data=iter([b"ab"]))


def test_error_is_transient_until_registry_restarts_with_its_path(
    registry: RegistryBelowPath, open_session: Open
) -> None:
    registry.path = "another0Another1Another2"

    with pytest.raises(RegistryError, match="does not serve below its write path") as caught:
        open_session().get(f"{URL}/v2/")

    assert caught.value.transient
    assert not caught.value.confirms_address


@pytest.mark.parametrize("header", ["Location", "Link"])
def test_path_is_removed_from_header_of_response(registry: RegistryBelowPath, open_session: Open, header: str) -> None:
    inner = f"/{PATH}/v2/a/blobs/uploads/1?_state=x"
    value = f"{PROXY}{inner}" if header == "Location" else f'<{inner}>; rel="next"'
    registry.served = response_bytes(202, {header: value})

    response = open_session().post(f"{URL}/v2/a/blobs/uploads/")

    assert PATH not in str(response.headers)
    assert f"{URL}/v2/a/blobs/uploads/1?_state=x" in response.headers[header]


@pytest.mark.parametrize("location", [f"{PROXY}/v2/a/blobs/uploads/1", f"{PROXY}/{PATH}v2/a", f"{PROXY}/{PATH}"])
def test_location_outside_of_path_is_rejected(registry: RegistryBelowPath, open_session: Open, location: str) -> None:
    registry.served = response_bytes(202, {"Location": location})

    with pytest.raises(RegistryError, match="outside of the Pod"):
        open_session().post(f"{URL}/v2/a/blobs/uploads/")


def _failures() -> dict[str, bytes]:
    reason = f'Get "http://10.0.0.7:5000/{PATH}/v2/": dial tcp 10.0.0.7:5000: connect: connection refused'
    return {
        "the API server": error_response(503, f"error trying to reach service: {reason}"),
        "an unknown error response": error_response(418, reason),
        "the registry": response_bytes(
            500, {"Content-Type": "application/json"}, json.dumps({"errors": [{"message": reason}]}).encode()
        ),
        "a login page": response_bytes(
            403, {"Content-Type": "text/html"}, f"<a href='?rd=%2Fx%2F{PATH}%2Fv2%2F'>".encode()
        ),
        # Its beginning is shown, up to the middle of the path.
        "a proxy in place of the API server": response_bytes(
            403, {"Content-Type": "text/plain"}, f"{'no ' * 96}/{PATH}/v2/".encode()
        ).replace(b"Audit-Id: 5a\r\n", b""),
        "a header": response_bytes(404, {"X-Requested": f"/{PATH}/v2/", "Content-Type": "application/json"}, b"{}"),
        "a reason": f"HTTP/1.1 404 no {PATH}\r\nContent-Length: 0\r\n\r\n".encode(),
        "something else": response_bytes(502, {"Content-Type": "text/html"}, f"<html>{reason}</html>".encode()),
        "no HTTP": b"HTTP/1.1 \xff\xff /" + PATH.encode() + b"\r\n\r\n",
        "an interim response": response_bytes(103, {"Link": f"</{PATH}/v2/>"}),
        "a header outside of the Pod": response_bytes(202, {"Location": f"http://elsewhere.example.com/{PATH}/v2/"}),
    }


@pytest.mark.parametrize("failure", _failures())
def test_path_is_in_no_error_and_no_body_of_failed_request(
    registry: RegistryBelowPath, open_session: Open, failure: str
) -> None:
    registry.served = _failures()[failure]
    session = open_session()

    try:
        response = session.get(f"{URL}/v2/")
        shown = f"{response.text} {response.headers} {response.url} {response.request.url} {response.reason}"
    except K8scrError as error:
        shown = f"{error} {error.message} {error.advice} {error!r} {vars(error)}"

    assert shown
    assert PATH[:6] not in shown
