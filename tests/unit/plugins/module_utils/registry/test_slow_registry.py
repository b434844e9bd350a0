# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that transfers some bytes a second: each request ends, and the error names the registry and the rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http import body, slow_peer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.bandwidth import Bandwidth
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.session import open_session
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.listing import tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.images import Image, describe, encode
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.stores import blob, read_blob
from unit.plugins.module_utils.support.upstream_servers import TokenServer, host, listening, settings

SECONDS = 0.3
"""The time over which the rate is averaged."""
RATE = 2000
"""The minimum rate. The registry sends less than 100 bytes a second."""
BLOB = bytes(12 << 20)
TOO_SLOW = r"sent only \d+ bytes in \d+ seconds, less than 2000 a second.*minimum_rate"


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Average the rate over less than a minute."""
    monkeypatch.setattr(slow_peer, "WINDOW", SECONDS)


@pytest.fixture
def client(server: RegistryServer) -> Iterator[Registry]:
    """A client of ``server`` with a minimum rate."""
    adapter = ApiServerAdapter(
        lambda: Access(Endpoint(server.url), lambda: None), idle_timeout=SECONDS, minimum_rate=RATE
    )
    with open_session(server.url, adapter) as session:
        yield Registry(session, server.url, "the registry", (5.0, 5.0), Retries(0.0))


@pytest.fixture
def slow(server: RegistryServer, image: Image) -> RegistryServer:
    """A registry with ``image`` as team/app:1, that sends all bodies slowly."""
    server.fill("team/app", "1", image)
    for number in range(100):
        server.manifests["team/app"][f"tag-{number}"] = server.manifests["team/app"]["1"]
    index = encode({"manifests": [describe(b"", OCI_INDEX, annotations={"a": "b" * 500})]})
    server.fail("GET", "/referrers/", Response(200, {"Content-Type": OCI_INDEX}, index, slow_from=0))
    server.fail("GET", "", lambda response: replace(response, slow_from=0))
    return server


@pytest.mark.parametrize(
    "read",
    [
        lambda client, image: Repository(client, "team/app").fetch_manifest(image.root),
        lambda client, image: Repository(client, "team/app").referrers.of(image.digest),
        lambda client, _image: list(tags(client, "team/app")),
        lambda client, image: read_blob(Repository(client, "team/app"), blob(image.layers[0], bytes(500))),
    ],
    ids=["manifest", "referrers", "tags", "blob"],
)
def test_slow_body_ends_with_rate_in_message(
    slow: RegistryServer, client: Registry, image: Image, read: Callable[[Registry, Image], object]
) -> None:
    slow.blobs["team/app"][image.layers[0]] = bytes(500)
    begin = time.monotonic()

    with pytest.raises(ConnectionLostError, match=f"^the registry {TOO_SLOW}"):
        read(client, image)

    assert time.monotonic() - begin < 5


def test_slow_error_response_is_explained_by_its_status(
    server: RegistryServer, client: Registry, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "_ERROR_SECONDS", SECONDS)
    server.fail("GET", "/manifests/", replace(error_response(400, "UNKNOWN", "no" * 500), slow_from=0))

    with pytest.raises(RegistryError, match="the registry responded with 400"):
        Repository(client, "team/app").fetch_manifest(image.root)


def test_download_from_slow_registry_ends_despite_progress(server: RegistryServer, client: Registry) -> None:
    server.blobs["team/app"] = {digest_of(BLOB): BLOB}
    server.fail("GET", "/blobs/", lambda response: replace(response, slow_from=1 << 20))
    client.retries = Retries(60.0, sleep=lambda _seconds: None)

    with pytest.raises(ConnectionLostError, match=TOO_SLOW):
        read_blob(Repository(client, "team/app"), blob(digest_of(BLOB), BLOB))

    assert len(server.received("GET")) == 5


def test_slow_download_resumes_and_succeeds(server: RegistryServer, client: Registry) -> None:
    server.blobs["team/app"] = {digest_of(BLOB): BLOB}
    server.fail("GET", "/blobs/", lambda response: replace(response, slow_from=5 << 20), times=1)
    client.retries = Retries(60.0, sleep=lambda _seconds: None)

    assert read_blob(Repository(client, "team/app"), blob(digest_of(BLOB), BLOB)) == BLOB


def test_low_bandwidth_does_not_interrupt_download(server: RegistryServer, client: Registry) -> None:
    content = bytes(8 << 10)
    server.blobs["team/app"] = {digest_of(content): content}
    client.bandwidth = Bandwidth(6 << 10)
    begin = time.monotonic()

    assert read_blob(Repository(client, "team/app"), blob(digest_of(content), content)) == content

    # The download took longer than the time over which the rate is averaged.
    assert time.monotonic() - begin > 2 * SECONDS
    assert len(server.received("GET")) == 1


@pytest.mark.usefixtures("no_credentials")
def test_slow_upstream_ends_with_rate_in_message(upstream: RegistryServer, image: Image) -> None:
    upstream.fail("GET", "/manifests/", lambda response: replace(response, slow_from=0))
    reference = parse_reference(f"{host(upstream)}/team/app:1")

    with closing(Upstreams(upstreams_of(*settings(upstream)), 1, SECONDS, RATE, 0.0)) as upstreams:
        repository, _image = upstreams.open(reference)
        with pytest.raises(ConnectionLostError, match=f"^{host(upstream)} {TOO_SLOW}"):
            repository.fetch_manifest(image.root)


@pytest.mark.usefixtures("no_credentials")
def test_blob_is_not_read_for_lookup_without_head(upstream: RegistryServer) -> None:
    upstream.blobs["team/app"][digest_of(BLOB)] = BLOB
    upstream.fail("HEAD", "/blobs/", error_response(405, "UNSUPPORTED"))
    upstream.fail("GET", "/blobs/", lambda response: replace(response, slow_from=1 << 20))
    reference = parse_reference(f"{host(upstream)}/team/app:1")

    with closing(Upstreams(upstreams_of(*settings(upstream)), 1, SECONDS, RATE, 0.0)) as upstreams:
        repository, _image = upstreams.open(reference)

        assert repository.has_blob(blob(digest_of(BLOB), BLOB))


@pytest.mark.usefixtures("no_credentials")
def test_slow_token_server_ends_with_rate_in_message(upstream: RegistryServer) -> None:
    token = Response(200, {}, b'{"token": "' + b"x" * 500 + b'"}', slow_from=0)
    with listening(lambda _request: token) as url:
        upstream.guard = TokenServer(url=url)
        reference = parse_reference(f"{host(upstream)}/team/app:1")

        with (
            closing(Upstreams(upstreams_of(*settings(upstream)), 1, SECONDS, RATE, 0.0)) as upstreams,
            pytest.raises(ConnectionLostError, match=f"^the token server 127.0.0.1 of {host(upstream)} {TOO_SLOW}"),
        ):
            upstreams.open(reference)
