# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests through the Pod proxy, as the API server receives them, and their responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ConnectionLostError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import (
    PodSettings,
    RegistrySettings,
    connect_registry,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload import RequestBody
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.settings import ClusterSettings
from unit.plugins.module_utils.support.stores import read_blob
from unit.plugins.module_utils.transport.servers import Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

PROXY = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy"
URL = "http://registry.k8scr"


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/team/api/manifests/1.2", "/v2/a/blobs/uploads/", "/v2/a/blobs/sha256:ab?x=1&_state=a%2Fb%3D", "/"],
)
def test_path_query_and_trailing_slash_are_unchanged(session: requests.Session, api_server: Server, path: str) -> None:
    session.get(URL + path)

    assert api_server.requests[0].target == PROXY + path


def test_request_goes_below_base_path_of_api_server(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    cluster = cluster_of({**options, "host": f"{api_server.url}/k8s/clusters/c-xyz/"})
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, "k8scr", "k8scr-0", 5000))

    session.get(f"{URL}/v2/")

    assert api_server.requests[0].target == f"/k8s/clusters/c-xyz{PROXY}/v2/"


def test_target_has_scheme_of_registry_with_tls(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster_of(options).adapter, "default", "k8scr", 443, "https"))

    session.get(f"{URL}/v2/")

    assert api_server.requests[0].target == "/api/v1/namespaces/default/pods/https:k8scr:443/proxy/v2/"


def test_response_has_url_of_request(session: requests.Session) -> None:
    response = session.get(f"{URL}/v2/?n=1")

    assert (response.url, response.request.url, response.text) == (f"{URL}/v2/?n=1", f"{URL}/v2/?n=1", "ok")


def test_request_accepts_only_identity_encoding(session: requests.Session, api_server: Server) -> None:
    session.get(f"{URL}/v2/", headers={"Accept-Encoding": "gzip, br"})

    assert api_server.requests[0].headers.get_all("Accept-Encoding") == ["identity"]


def test_credentials_and_headers_of_session_are_not_forwarded(session: requests.Session, api_server: Server) -> None:
    session.cookies.set("session", "canary")
    session.headers["Host"] = "elsewhere.example.com"
    session.headers["Impersonate-User"] = "admin"

    session.get(f"{URL}/v2/", auth=("me", "canary"))

    headers = api_server.requests[0].headers
    assert (headers["Authorization"], headers["Cookie"]) == ("Bearer canary-token", None)
    assert (headers["Host"], headers["Impersonate-User"]) == (api_server.address, None)


def test_body_of_known_length_is_sent_with_length(session: requests.Session, api_server: Server) -> None:
    session.patch(f"{URL}/v2/a/blobs/uploads/1", data=iter([b"ab", b"cd"]), headers={"Content-Length": "4"})

    (request,) = api_server.requests
    assert (request.body, request.headers["Content-Length"], request.headers["Transfer-Encoding"]) == (
        b"abcd",
        "4",
        None,
    )


def test_body_of_unknown_length_is_sent_in_chunks(session: requests.Session, api_server: Server) -> None:
    session.put(f"{URL}/v2/a/blobs/uploads/1", data=iter([b"ab", b"cd"]))

    (request,) = api_server.requests
    assert (request.body, request.headers["Transfer-Encoding"]) == (b"abcd", "chunked")


def test_upload_of_unknown_length_is_sent_in_chunks(session: requests.Session, api_server: Server) -> None:
    body: Any = RequestBody(iter([memoryview(b"ab"), memoryview(b"cd")]))
    session.patch(f"{URL}/v2/a/blobs/uploads/1", data=body)

    (request,) = api_server.requests
    assert (request.body, request.headers["Transfer-Encoding"]) == (b"abcd", "chunked")


def test_range_of_request_and_response_is_unchanged(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(206, {"Content-Range": "bytes 2-3/4"}, b"cd"))

    response = session.get(f"{URL}/v2/a/blobs/x", headers={"Range": "bytes=2-3"})

    assert api_server.requests[0].headers["Range"] == "bytes=2-3"
    assert (response.status_code, response.headers["Content-Range"], response.content) == (
        206,
        "bytes 2-3/4",
        b"cd",
    )


def test_connection_is_reused_after_response_without_body(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(202), response_bytes(200, {"Content-Length": "5"}), response_bytes(200))

    session.post(f"{URL}/v2/a/blobs/uploads/", stream=True).close()
    session.head(f"{URL}/v2/a/manifests/1", stream=True).close()
    session.get(f"{URL}/v2/")

    assert api_server.connections == 1


@pytest.mark.parametrize("read", [Repository.fetch_manifest, read_blob])
def test_error_names_both_peers_of_interrupted_body(
    api_server: Server, options: dict[str, Any], read: Callable[[Repository, Descriptor], object]
) -> None:
    api_server.closes_after_response = True
    api_server.reply(b"HTTP/1.1 200 OK\r\nAudit-Id: 5a\r\nContent-Length: 9\r\n\r\n{")
    descriptor = Descriptor("application/octet-stream", f"sha256:{'0' * 64}", 9)
    settings = RegistrySettings(ClusterSettings(**options), PodSettings(), retry_timeout=0)

    with connect_registry(settings, writes=False) as registry:
        repository = Repository(registry, "team/app")
        with pytest.raises(ConnectionLostError) as caught:
            read(repository, descriptor)

    peers = f"the API server {api_server.address} or the registry in Pod k8scr/k8scr-0 behind it"
    assert caught.value.message.endswith(f"from {peers}")
