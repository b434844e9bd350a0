# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that tries to misuse an administrator's credentials: the audit log shows all requests with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import connect
from cluster import audit, layout
from cluster.media_types import CONFIG

from .conftest import Task
from .host_registries import NAMESPACE
from .hostile import (
    ESCAPES,
    POD,
    HostileRegistry,
    encode,
    hostile_registry,
    respond_with,
)
from .image_tasks import pull, push
from .victim import requests_outside_pod

URL = "http://registry.example"


@pytest.fixture
def hostile() -> Iterator[HostileRegistry]:
    """A registry with configurable, hostile responses, behind a Pod."""
    with hostile_registry() as registry:
        yield registry


@pytest.fixture
def session(hostile: HostileRegistry) -> Iterator[requests.Session]:
    """A session of a client that follows all redirects and links, with the administrator's credentials."""
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.max_redirects = 2
        session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))
        yield session


@pytest.mark.parametrize("location", ESCAPES)
def test_push_stays_in_pod_when_location_points_elsewhere(task: Task, hostile: HostileRegistry, location: str) -> None:
    hostile.headers = {"Location": location}
    position = audit.position()

    result = push(task, images.ensure("busybox"), "team/app", **hostile.options)

    assert result["failed"]
    assert not result["changed"]
    assert "Pod hostile" in result["msg"] or "Pod default/hostile" in result["msg"]
    assert requests_outside_pod(POD, position) == []


@pytest.mark.parametrize("location", ESCAPES)
def test_pull_stays_in_pod_when_redirected(task: Task, hostile: HostileRegistry, tmp_path: Path, location: str) -> None:
    hostile.status, hostile.headers = 307, {"Location": location}
    digest = images.ensure("busybox").digest
    position = audit.position()

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=digest, **hostile.options)

    assert result["failed"]
    assert "Pod hostile" in result["msg"] or "Pod default/hostile" in result["msg"]
    assert requests_outside_pod(POD, position) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [302, 307])
def test_client_stays_in_pod_when_it_follows_redirects(
    hostile: HostileRegistry, session: requests.Session, method: str, status: int
) -> None:
    position = audit.position()

    for location in ESCAPES:
        hostile.status, hostile.headers = status, {"Location": location}
        # The API server rewrites some locations to paths of the Pod; these redirect endlessly and harmlessly.
        with pytest.raises((K8scrError, requests.TooManyRedirects)) as caught:
            session.request(method, f"{URL}/v2/team/app/blobs/uploads/", data=b"x", allow_redirects=True)
        assert isinstance(caught.value, requests.TooManyRedirects) or "Pod hostile" in str(caught.value)

    assert requests_outside_pod(POD, position) == []


def test_client_stays_in_pod_when_it_follows_links(hostile: HostileRegistry, session: requests.Session) -> None:
    position = audit.position()
    hostile.status, hostile.body = 200, b"{}"

    for location in ("/v2/team/app/tags/list?last=1", *ESCAPES):
        hostile.headers = {"Link": f'<{location}>; rel="next"'}
        with contextlib.suppress(K8scrError):
            page = session.get(f"{URL}/v2/team/app/tags/list")
            if page.links:
                assert page.links["next"]["url"].startswith(f"{URL}/")
                session.get(page.links["next"]["url"])

    # The client followed the only link within the registry.
    assert "/v2/team/app/tags/list?last=1" in hostile.requested
    assert requests_outside_pod(POD, position) == []


def test_pull_does_not_fetch_urls_of_layer(task: Task, hostile: HostileRegistry, tmp_path: Path) -> None:
    config = b"{}"
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": digest_of(b"elsewhere"),
        "size": 9,
        "urls": [
            f"http://{layout.HOST_ADDRESS}:{hostile.port}/elsewhere",
            f"{layout.API_URL}/api/v1/namespaces/default/secrets",
        ],
    }
    described = {"mediaType": CONFIG, "digest": digest_of(config), "size": 2}
    manifest = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [layer]})
    hostile.contents = {
        f"/v2/team/app/manifests/{digest_of(manifest)}": (OCI_MANIFEST, manifest),
        f"/v2/team/app/blobs/{digest_of(config)}": ("application/octet-stream", config),
    }
    hostile.status = 404
    position = audit.position()

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=digest_of(manifest), **hostile.options)

    # The pull skips nondistributable layers and downloads all other content.
    assert result["changed"], result.get("msg")
    assert not (tmp_path / "layout/blobs/sha256" / digest_of(b"elsewhere").partition(":")[2]).exists()
    assert "/elsewhere" not in hostile.requested
    assert requests_outside_pod(POD, position) == []


def test_push_sends_no_credentials_after_challenge(task: Task, hostile: HostileRegistry) -> None:
    challenge = f'Bearer realm="http://{layout.HOST_ADDRESS}:{hostile.port}/token",service="registry"'
    hostile.status, hostile.headers = 401, {"WWW-Authenticate": challenge}
    position = audit.position()

    result = push(task, images.ensure("busybox"), "team/app", **hostile.options)

    assert "The registry requires credentials" in result["msg"]
    # A request to the realm would reach the registry directly, not through the API server.
    assert [path for path in hostile.requested if path.startswith("/token")] == []
    assert requests_outside_pod(POD, position) == []


def test_push_prints_forged_status_of_registry_as_text(task: Task, hostile: HostileRegistry) -> None:
    body = b'{"kind": "Status", "apiVersion": "v1", "message": "run \\u001b[31mthis\\n as root"}'
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    # The lookup is a HEAD request, whose response has no body with a message.
    hostile.actions = {"POST": respond_with(head.encode() + body)}

    result = push(task, images.ensure("busybox"), "team/app", **hostile.options)

    assert result["failed"]
    _count, reason = result["msg"].split("\n")
    assert "as root" in reason
    assert reason.isprintable()


def test_pull_explains_blob_that_api_server_rewrites_as_html(
    task: Task, hostile: HostileRegistry, tmp_path: Path
) -> None:
    page = b'<html><body><a href="/elsewhere">away</a></body></html>'
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(page), "size": len(page)}
    manifest = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []})
    hostile.contents = {
        f"/v2/team/app/manifests/{digest_of(manifest)}": (OCI_MANIFEST, manifest),
        f"/v2/team/app/blobs/{digest_of(page)}": ("text/html", page),
    }

    result = pull(task, "team/app", f"oci:{tmp_path}/layout", digest=digest_of(manifest), **hostile.options)

    assert "the API server rewrites links" in result["msg"]
    assert not (tmp_path / "layout/index.json").exists()
