# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redirects of upstream registries, for example to storage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import (
    Push,
    ReceivedRequest,
    TokenServer,
    error_of,
    find_upstream,
    host,
    listening,
    settings,
    source,
    tls_registry,
)

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_credentials_are_not_sent_to_storage(
    push: Push, server: RegistryServer, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    received: list[ReceivedRequest] = []

    def store(request: ReceivedRequest) -> Response:
        received.append(request)
        return Response(200, {}, image.contents[request.path[1:]])

    with listening(store) as url:

        def redirect(response: Response) -> Response:
            digest = response.headers.get("Docker-Content-Digest", "")
            return Response(307, {"Location": f"{url}/{digest}?X-Amz-Signature=secret"})

        upstream.fail("GET", "/blobs/", redirect)
        result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert server.blobs["team/app"] == image.blobs
    assert len(received) == 3
    assert {request.authorization for request in received} == {None}


def test_credentials_are_sent_after_redirect_within_registry(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fail("HEAD", "/manifests/latest", Response(307, {"Location": "/v2/team/app/manifests/1"}))
    tokens.users = {"me": "secret"}

    result = push(
        {"source": source(upstream, "team/app"), "name": "team/app:1"},
        upstreams=settings(upstream, username="me", password="secret"),
    )

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_challenge_of_storage_is_ignored(push: Push, upstream: RegistryServer) -> None:
    received: list[ReceivedRequest] = []

    def request_credentials(request: ReceivedRequest) -> Response:
        received.append(request)
        return Response(401, {"WWW-Authenticate": 'Basic realm="give me"'})

    with listening(request_credentials) as url:
        upstream.fail("GET", "/blobs/", Response(307, {"Location": f"{url}/blob?signature=secret"}))
        result = push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert f"127.0.0.1, to which {host(upstream)} redirects, responded with 401" in error_of(result)
    assert "signature" not in json.dumps(result)
    assert {request.authorization for request in received} == {None}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/v2/team/app/manifests/1", "returned too many redirects"),
        ("ftp://example.com/blob", "redirects to an address that is not a URL"),
        ("http://me:secret@example.com/blob", "redirects to an address that is not a URL"),
        ("http://[::1/blob", "redirects to an address that is not a URL"),
    ],
)
def test_error_reports_invalid_redirect(push: Push, upstream: RegistryServer, location: str, message: str) -> None:
    upstream.fail("HEAD", "manifests", Response(302, {"Location": location}))

    result = push(source(upstream), upstreams=settings(upstream))

    assert message in error_of(result)
    assert "secret" not in error_of(result)


def test_redirect_from_tls_to_plain_http_is_rejected(tmp_path: Path) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fail("HEAD", "manifests", Response(307, {"Location": "http://storage.example.com/x"}))

        with pytest.raises(K8scrError, match=r"redirects to storage\.example\.com without TLS"):
            find_upstream(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})
