# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Status codes after which each request is retried, of registries, proxies and load balancers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import SMALL, send
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import (
    Push,
    ReceivedRequest,
    TokenServer,
    error_of,
    settings,
    source,
)

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

TRANSIENT = [408, 421, 425, 429, 499, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 525, 527, 530]
OF_PROXY = sorted({*TRANSIENT, 413, 526} - {429, 500})
PERMANENT = [400, 401, 403, 404, 405, 410, 415, 501, 505, 507, 526]
WRITES = [("POST", "/blobs/uploads/"), ("PATCH", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")]
LOOKUPS = [("HEAD", "/manifests/"), ("HEAD", "/blobs/")]
READS = [("HEAD", "/manifests/"), ("GET", "/manifests/"), ("GET", "/blobs/")]


@pytest.mark.parametrize("status", TRANSIENT)
def test_push_survives_transient_status_of_each_request(
    push: Push, server: RegistryServer, upstream: RegistryServer, large_image: Image, status: int
) -> None:
    upstream.fill("team/app", "2", large_image)
    for method, path in [*WRITES, *LOOKUPS]:
        server.fail(method, path, Response(status), times=1)
    for method, path in READS:
        upstream.fail(method, path, Response(status), times=1)

    result = push(source(upstream, "team/app:2"), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert server.digest_of("team/app", "2") == large_image.digest
    assert {str(status)} == {entry["why"].partition("responded with ")[2][:3] for entry in result["retries"]}
    assert all(fault.times == 0 for fault in (*server.faults, *upstream.faults))


@dataclass
class BusyTokenServer(TokenServer):
    """A token server whose first responses have a status."""

    first: list[int] = field(default_factory=list)

    def respond(self, request: ReceivedRequest) -> Response:
        return Response(self.first.pop()) if self.first else super().respond(request)


@pytest.mark.parametrize("status", TRANSIENT)
def test_token_is_requested_again_after_transient_status(push: Push, upstream: RegistryServer, status: int) -> None:
    with BusyTokenServer(first=[status]).running() as upstream.guard:
        result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")


@pytest.mark.parametrize("status", PERMANENT)
def test_permanent_status_is_not_retried(server: RegistryServer, repository: Repository, status: int) -> None:
    server.fail("POST", "/blobs/uploads/", Response(status))

    with pytest.raises(RegistryError, match=f"responded with {status}"):
        send(repository, SMALL)

    assert len(server.received("POST")) == 1


@pytest.mark.parametrize("status", OF_PROXY)
def test_status_of_proxy_is_not_attributed_to_registry(push: Push, upstream: RegistryServer, status: int) -> None:
    upstream.fail("GET", "/manifests/", Response(status, {"Docker-Distribution-Api-Version": ""}, b"<h1>Sorry</h1>"))

    error = error_of(push(source(upstream), upstreams=settings(upstream), retry_timeout=1))

    assert "a proxy or load balancer in front of 127.0.0.1" in error
    assert "load balancer" in error.rpartition(f"responded with {status}")[2]


@pytest.mark.parametrize("status", OF_PROXY)
def test_status_with_error_of_registry_is_attributed_to_registry(
    push: Push, upstream: RegistryServer, status: int
) -> None:
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": "busy"}]}).encode()
    upstream.fail("GET", "/manifests/", Response(status, {"Docker-Distribution-Api-Version": ""}, body))

    error = error_of(push(source(upstream), upstreams=settings(upstream), retry_timeout=1))

    assert "a proxy or load balancer in front of" not in error
    assert f"responded with {status}: busy" in error
