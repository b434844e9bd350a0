# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A response whose body is interrupted or compressed: the request is repeated, or the error says what it was."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError, UnreadableResponseError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import client, listing
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.listing import repositories, tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import LARGE, send
from unit.plugins.module_utils.support.images import Image, encode
from unit.plugins.module_utils.support.registry_server import (
    Fault,
    RegistryServer,
    Response,
    error_response,
)
from unit.plugins.module_utils.support.upstream_servers import TokenServer, find_upstream, listening, settings

REFERRERS = Response(200, {"Content-Type": OCI_INDEX}, encode({"schemaVersion": 2, "manifests": []}))
Read = Callable[[Registry, Image], Any]
READS: dict[str, tuple[str, Read]] = {
    "manifest": ("/manifests/", lambda registry, image: Repository(registry, "team/app").fetch_manifest(image.root)),
    "referrers": ("/referrers/", lambda registry, image: Repository(registry, "team/app").referrers.of(image.digest)),
    "tags": ("/tags/list", lambda registry, _image: list(tags(registry, "team/app"))),
    "repositories": ("/_catalog", lambda registry, _image: list(repositories(registry))),
}
"""What a client reads from a registry into memory: a part of its path, and the function."""


@pytest.fixture
def filled(server: RegistryServer, image: Image) -> RegistryServer:
    """A registry with ``image`` as team/app:1."""
    server.fill("team/app", "1", image)
    return server


@pytest.mark.parametrize(("path", "read"), READS.values(), ids=READS)
def test_request_is_repeated_after_interrupted_body(
    filled: RegistryServer, registry: Registry, image: Image, path: str, read: Read
) -> None:
    filled.fail("GET", "/referrers/", REFERRERS)
    expected = read(registry, image)
    filled.received()
    referrers = REFERRERS if path == "/referrers/" else None
    filled.faults.insert(0, Fault("GET", path, lambda response: replace(referrers or response, truncated=True), 1))

    assert read(registry, image) == expected
    assert len(filled.received("GET")) == 2


def test_upload_continues_after_interrupted_body_of_response(filled: RegistryServer, registry: Registry) -> None:
    for method in ("POST", "PATCH", "PUT"):
        filled.fail(method, "", lambda response: replace(response, body=b"{}", truncated=True), times=1)

    send(Repository(registry, "team/app"), LARGE)

    assert LARGE in filled.blobs["team/app"].values()


@pytest.mark.usefixtures("no_credentials")
def test_token_is_requested_again_after_interrupted_body(upstream: RegistryServer, image: Image) -> None:
    tokens, responses = TokenServer(), [1]

    def respond(request: Any) -> Response:
        response = tokens.respond(request)
        if responses:
            responses.pop()
            # The token server's own header has the length of the body, so this one announces more.
            return replace(response, headers={"Transfer-Encoding": "chunked"}, body=b"ff\r\n" + response.body)
        return response

    with listening(respond) as tokens.url:
        upstream.guard = tokens

        assert find_upstream(upstream, *settings(upstream)).keys() == image.contents.keys()

    assert len(tokens.received) == 2


@pytest.mark.parametrize(("path", "read"), READS.values(), ids=READS)
def test_compressed_body_is_rejected(
    filled: RegistryServer, registry: Registry, image: Image, path: str, read: Read
) -> None:
    filled.fail("GET", path, Response(200, {"Content-Encoding": "gzip", "Content-Type": OCI_INDEX}, gzip.compress(b"")))

    with pytest.raises(UnreadableResponseError, match=r"^the registry returned a compressed response \(gzip\)"):
        read(registry, image)


def test_compressed_error_response_is_explained_by_its_status(
    filled: RegistryServer, registry: Registry, image: Image
) -> None:
    denied = error_response(400, "UNKNOWN", "compressed")
    headers = {**denied.headers, "Content-Encoding": "gzip"}
    filled.fail("GET", "/manifests/", replace(denied, headers=headers, body=gzip.compress(denied.body)))

    with pytest.raises(RegistryError, match="the registry responded with 400: Bad Request"):
        Repository(registry, "team/app").fetch_manifest(image.root)


@pytest.mark.parametrize("status", [200, 204, 307, 400, 404, 500])
def test_connection_is_used_again_after_response_with_any_status(
    filled: RegistryServer, registry: Registry, status: int
) -> None:
    body = b"" if status == 204 else b"some text"
    filled.fail("GET", "/manifests/", Response(status, {"Location": "/v2/other"}, body))

    for _number in range(3):
        registry.exchange("GET", "/v2/team/app/manifests/1")

    assert filled.connections == 1


@pytest.mark.parametrize("status", [200, 307, 400, 404])
def test_long_body_of_any_status_is_not_read_to_its_end(
    filled: RegistryServer, registry: Registry, status: int
) -> None:
    filled.fail("GET", "/manifests/", Response(status, {"Location": "/v2/other"}, bytes(64 << 20)))

    response = registry.exchange("GET", "/v2/team/app/manifests/1")

    assert len(response.content) == ((4 << 20) + 1 if status == 200 else 64 << 10)


def test_list_of_tags_ends_after_its_last_allowed_page(
    filled: RegistryServer, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_PAGES", 10)
    filled.page = 1
    for number in range(30):
        filled.manifests["team/app"][f"tag-{number}"] = filled.manifests["team/app"]["1"]

    with pytest.raises(RegistryError, match="the registry returned more than 10 pages"):
        list(tags(registry, "team/app"))


def test_list_of_tags_ends_after_its_last_allowed_name(
    filled: RegistryServer, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_MOST_NAMES", 10)
    for number in range(30):
        filled.manifests["team/app"][f"tag-{number}"] = filled.manifests["team/app"]["1"]

    with pytest.raises(RegistryError, match="the registry returned more than 10 names"):
        list(tags(registry, "team/app"))
