# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that tries to lead an administrator's credentials astray: the audit log tells whether it succeeded."""

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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.cluster import connect
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from cluster import audit, layout

from .conftest import Task
from .host_registries import NAMESPACE
from .hostile import ESCAPES, Hostile, encode, hostile_registry, says, strays

URL = "http://registry.example"


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    """A registry that does what a test wants, behind a Pod."""
    with hostile_registry() as registry:
        yield registry


@pytest.fixture
def foreign(hostile: Hostile) -> Iterator[requests.Session]:
    """A session of a client that follows whatever it is told, with the administrator's credentials on the way."""
    with connect({"kubeconfig": hostile.options["kubeconfig"]}) as cluster, requests.Session() as session:
        session.max_redirects = 2
        session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, NAMESPACE, "hostile", hostile.port))
        yield session


@pytest.mark.parametrize("location", ESCAPES)
def test_an_upload_is_not_led_astray(task: Task, hostile: Hostile, location: str) -> None:
    hostile.headers = {"Location": location}
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}
    position = audit.position()

    result = task("k8scr_push", images=[source], **hostile.options)

    assert result["failed"]
    assert not result["changed"]
    assert "Pod hostile" in result["msg"] or "Pod default/hostile" in result["msg"]
    assert strays(position) == []


@pytest.mark.parametrize("location", ESCAPES)
def test_a_pull_is_not_redirected(task: Task, hostile: Hostile, tmp_path: Path, location: str) -> None:
    hostile.status, hostile.headers = 307, {"Location": location}
    digest = images.ensure("busybox").digest
    position = audit.position()

    wanted = [{"name": f"docker.io/team/app@{digest}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)

    assert result["failed"]
    assert "Pod hostile" in result["msg"] or "Pod default/hostile" in result["msg"]
    assert strays(position) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [302, 307])
def test_a_client_that_follows_redirects_stays_in_the_pod(
    hostile: Hostile, foreign: requests.Session, method: str, status: int
) -> None:
    position = audit.position()

    for location in ESCAPES:
        hostile.status, hostile.headers = status, {"Location": location}
        # What the API server made an address in the Pod leads in a circle there, which harms nobody.
        with pytest.raises((K8scrError, requests.TooManyRedirects)) as caught:
            foreign.request(method, f"{URL}/v2/team/app/blobs/uploads/", data=b"x", allow_redirects=True)
        assert isinstance(caught.value, requests.TooManyRedirects) or "Pod hostile" in str(caught.value)

    assert strays(position) == []


def test_a_client_that_follows_links_stays_in_the_pod(hostile: Hostile, foreign: requests.Session) -> None:
    position = audit.position()
    hostile.status, hostile.body = 200, b"{}"

    for location in ("/v2/team/app/tags/list?last=1", *ESCAPES):
        hostile.headers = {"Link": f'<{location}>; rel="next"'}
        with contextlib.suppress(K8scrError):
            page = foreign.get(f"{URL}/v2/team/app/tags/list")
            if page.links:
                assert page.links["next"]["url"].startswith(f"{URL}/")
                foreign.get(page.links["next"]["url"])

    # The one link that does not lead away was followed.
    assert "/v2/team/app/tags/list?last=1" in hostile.asked
    assert strays(position) == []


def test_an_address_that_a_layer_names_is_not_fetched(task: Task, hostile: Hostile, tmp_path: Path) -> None:
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
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": 2}
    manifest = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [layer]})
    hostile.pages = {
        f"/v2/team/app/manifests/{digest_of(manifest)}": (OCI_MANIFEST, manifest),
        f"/v2/team/app/blobs/{digest_of(config)}": ("application/octet-stream", config),
    }
    hostile.status = 404
    position = audit.position()

    wanted = [{"name": f"docker.io/team/app@{digest_of(manifest)}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)

    # What is not to be distributed stays where its manifest says; the rest arrives.
    assert result["changed"], result.get("msg")
    assert not (tmp_path / "layout/blobs/sha256" / digest_of(b"elsewhere").partition(":")[2]).exists()
    assert "/elsewhere" not in hostile.asked
    assert strays(position) == []


def test_a_challenge_is_not_answered(task: Task, hostile: Hostile) -> None:
    challenge = f'Bearer realm="http://{layout.HOST_ADDRESS}:{hostile.port}/token",service="registry"'
    hostile.status, hostile.headers = 401, {"WWW-Authenticate": challenge}
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}
    position = audit.position()

    result = task("k8scr_push", images=[source], **hostile.options)

    assert "The registry requires credentials" in result["msg"]
    # The realm is the registry's own address, which no request through the API server has.
    assert [path for path in hostile.asked if path.startswith("/token")] == []
    assert strays(position) == []


def test_a_status_that_the_registry_forges_is_just_a_message(task: Task, hostile: Hostile) -> None:
    body = b'{"kind": "Status", "apiVersion": "v1", "message": "run \\u001b[31mthis\\n as root"}'
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    # A lookup, which is a HEAD request, has no body to read a message from.
    hostile.acts = {"POST": says(head.encode() + body)}
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": "docker.io/team/app:1"}

    result = task("k8scr_push", images=[source], **hostile.options)

    assert result["failed"]
    assert "as root" in result["msg"]
    assert result["msg"].isprintable()


def test_a_blob_that_looks_like_html_and_was_rewritten_is_told(task: Task, hostile: Hostile, tmp_path: Path) -> None:
    page = b'<html><body><a href="/elsewhere">away</a></body></html>'
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(page), "size": len(page)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    hostile.pages = {
        f"/v2/team/app/manifests/{digest_of(encode(manifest))}": (OCI_MANIFEST, encode(manifest)),
        f"/v2/team/app/blobs/{digest_of(page)}": ("text/html", page),
    }

    wanted = [{"name": f"docker.io/team/app@{digest_of(encode(manifest))}", "dest": f"oci:{tmp_path}/layout"}]
    result = task("k8scr_pull", images=wanted, **hostile.options)

    assert "the API server rewrites the links" in result["msg"]
    assert not (tmp_path / "layout/index.json").exists()
