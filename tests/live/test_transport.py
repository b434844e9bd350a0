# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transport adapter with clients based on requests and registries of each implementation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import dxf
import oras.client
import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import connect
from cluster import layout

from .base_path import base_path
from .host_registries import IMPLEMENTATIONS, NAMESPACE, HostRegistry, host_registry

REGISTRY = "registry.example"
URL = f"http://{REGISTRY}"
CONTENT = os.urandom(3 << 20)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each implementation."""
    with host_registry(request.param, tmp_path_factory.mktemp("transport"), "transport") as registry:
        yield registry


@pytest.fixture
def adapter(host: HostRegistry) -> Iterator[PodProxyAdapter]:
    """The transport adapter for the registry's Pod, with the administrator's credentials."""
    with connect({"kubeconfig": str(layout.KUBECONFIG)}) as cluster:
        yield PodProxyAdapter(cluster.adapter, NAMESPACE, host.pod, host.port)


@pytest.fixture
def session(adapter: PodProxyAdapter) -> Iterator[requests.Session]:
    """A session with the transport adapter."""
    with requests.Session() as session:
        session.mount(f"{URL}/", adapter)
        yield session


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """A file with the bytes of CONTENT."""
    path = tmp_path / "blob.bin"
    path.write_bytes(CONTENT)
    return path


def upload(session: requests.Session, repository: str) -> requests.Response:
    """Upload a blob as registry clients do: open an upload session, follow its Location, close it with the digest."""
    opened = session.post(f"{URL}/v2/{repository}/blobs/uploads/")
    assert opened.status_code == 202, opened.text
    patched = session.patch(opened.headers["Location"], data=CONTENT)
    assert patched.status_code == 202, patched.text
    return session.put(patched.headers["Location"], params={"digest": DIGEST})


def test_oras_pushes_and_pulls_unchanged_file(
    adapter: PodProxyAdapter, repository: str, blob: Path, tmp_path: Path
) -> None:
    client = oras.client.OrasClient(hostname=REGISTRY, insecure=True)
    client.session.mount(f"{URL}/", adapter)
    target = f"{REGISTRY}/{repository}:1"

    client.push(target=target, files=[str(blob)], disable_path_validation=True)
    (pulled,) = client.pull(target=target, outdir=str(tmp_path / "out"))

    assert Path(pulled).read_bytes() == CONTENT
    assert client.get_tags(f"{REGISTRY}/{repository}") == ["1"]
    client.session.close()


def test_dxf_pushes_and_pulls_unchanged_blob(adapter: PodProxyAdapter, repository: str, blob: Path) -> None:
    with dxf.DXF(REGISTRY, repository, insecure=True) as client:
        client._sessions[0].mount(f"{URL}/", adapter)  # dxf has no public parameter for a session

        digest = client.push_blob(filename=str(blob))
        client.set_alias("1", digest)

        assert digest == DIGEST
        assert client.get_alias("1") == [DIGEST]
        content = client.pull_blob(DIGEST)
        assert not isinstance(content, tuple)
        assert b"".join(content) == CONTENT


# The registry of go-containerregistry sends no links.
@pytest.mark.parametrize("host", ["distribution-3", "distribution-2.8"], indirect=True)
def test_dxf_follows_links_of_long_tag_list(adapter: PodProxyAdapter, repository: str, blob: Path) -> None:
    with dxf.DXF(REGISTRY, repository, insecure=True) as client:
        client._sessions[0].mount(f"{URL}/", adapter)
        digest = client.push_blob(filename=str(blob))
        tags = [f"{number:02}" for number in range(7)]
        for tag in tags:
            client.set_alias(tag, digest)

        assert sorted(client.list_aliases(batch_size=3)) == tags


def test_upload_follows_location(session: requests.Session, repository: str) -> None:
    done = upload(session, repository)

    assert done.status_code == 201
    assert session.head(f"{URL}/v2/{repository}/blobs/{DIGEST}").headers["Content-Length"] == str(len(CONTENT))


def test_get_returns_requested_range_of_blob(session: requests.Session, repository: str) -> None:
    upload(session, repository)

    part = session.get(f"{URL}/v2/{repository}/blobs/{DIGEST}", headers={"Range": "bytes=1000-1999"})

    assert part.status_code == 206
    assert part.content == CONTENT[1000:2000]


def test_body_is_not_compressed_by_api_server(session: requests.Session, repository: str) -> None:
    upload(session, repository)

    blob = session.get(f"{URL}/v2/{repository}/blobs/{DIGEST}", headers={"Accept-Encoding": "gzip"}, stream=True)

    assert "Content-Encoding" not in blob.headers
    assert int(blob.headers["Content-Length"]) == len(CONTENT)
    blob.close()


def test_head_returns_length_without_body(session: requests.Session, repository: str) -> None:
    upload(session, repository)

    head = session.head(f"{URL}/v2/{repository}/blobs/{DIGEST}")

    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["Content-Length"]) == len(CONTENT)


def test_get_returns_404_of_registry_for_missing_manifest(session: requests.Session, repository: str) -> None:
    missing = session.get(f"{URL}/v2/{repository}/manifests/none")

    assert missing.status_code == 404
    assert missing.json()["errors"]


def test_request_preserves_query_and_trailing_slash(session: requests.Session) -> None:
    assert session.get(f"{URL}/v2/").status_code == 200
    assert session.get(f"{URL}/v2/_catalog", params={"n": 1}).status_code == 200


def test_session_reuses_one_connection_for_many_requests(adapter: PodProxyAdapter, session: requests.Session) -> None:
    for _number in range(5):
        session.get(f"{URL}/v2/")

    assert adapter._api_server._pool.num_connections == 1


def test_upload_succeeds_through_api_server_below_base_path(host: HostRegistry, repository: str) -> None:
    with (
        base_path("/k8s/clusters/c-xyz") as server,
        connect({"host": server, "api_key": "unused"}) as cluster,
        requests.Session() as session,
    ):
        session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, NAMESPACE, host.pod, host.port))

        assert upload(session, repository).status_code == 201
