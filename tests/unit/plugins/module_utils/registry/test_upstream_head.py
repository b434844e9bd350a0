# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Upstream registries that reject HEAD, and that return 403 for content that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.upstream_servers import (
    Push,
    TokenServer,
    error_of,
    find_upstream,
    host,
    settings,
    source,
)

pytestmark = pytest.mark.usefixtures("no_credentials")

REJECTIONS = [400, 403, 404, 405, 501]


def hides_missing(server: RegistryServer, status: int = 403) -> Callable[[str, Mapping[str, str]], Response | None]:
    """Return a guard that responds with a status to requests for manifests and referrers that do not exist."""

    def guard(path: str, _headers: Mapping[str, str]) -> Response | None:
        repository, kind, name = path.removeprefix("/v2/").rsplit("/", 2)
        is_missing = kind != "blobs" and name not in server.manifests.get(repository, {})
        return error_response(status, "DENIED") if is_missing else None

    return guard


@pytest.mark.parametrize("status", REJECTIONS)
@pytest.mark.parametrize("name", ["team/app:1", "digest"])
def test_manifest_is_found_without_head(upstream: RegistryServer, image: Image, status: int, name: str) -> None:
    upstream.fail("HEAD", "/manifests/", error_response(status, "UNSUPPORTED"))
    name = f"team/app@{image.digest}" if name == "digest" else name

    assert find_upstream(upstream, *settings(upstream), name=name) == image.contents


def test_rejected_head_is_remembered_for_all_images_of_task(
    push: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/other", "2", other_image)
    upstream.fail("HEAD", "/manifests/", error_response(405, "UNSUPPORTED"))

    result = push(source(upstream), source(upstream, "team/other:2"), upstreams=settings(upstream), connections=1)

    assert result["changed"], result.get("msg")
    assert upstream.received("HEAD") == ["HEAD /v2/team/app/manifests/1"]


def test_registry_with_head_receives_no_get_for_lookup(upstream: RegistryServer) -> None:
    with closing(Upstreams(upstreams_of(*settings(upstream)))) as upstreams:
        upstreams.open(parse_reference(f"{host(upstream)}/team/app:1"))

    assert upstream.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_unknown_tag_costs_two_requests(push: Push, upstream: RegistryServer) -> None:
    error = error_of(push(source(upstream, "team/app:none"), upstreams=settings(upstream)))

    assert "there is no image none in repository team/app" in error
    assert upstream.connections == 1
    assert upstream.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/none", "GET /v2/team/app/manifests/none"]


def test_missing_tag_costs_one_request_after_successful_head(upstream: RegistryServer) -> None:
    with closing(Upstreams(upstreams_of(*settings(upstream)))) as upstreams:
        repository, _image = upstreams.open(parse_reference(f"{host(upstream)}/team/app:1"))
        upstream.requests.clear()

        assert repository.referrers.tagged("sha256-ab.sig") is None

    assert upstream.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/sha256-ab.sig"]


@pytest.mark.parametrize("status", REJECTIONS)
def test_blob_is_found_without_head(upstream: RegistryServer, image: Image, status: int) -> None:
    upstream.fail("HEAD", "/blobs/", error_response(status, "UNSUPPORTED"))
    digest, content = next(iter(image.blobs.items()))
    missing = Descriptor("application/octet-stream", f"sha256:{'0' * 64}", 5)

    with closing(Upstreams(upstreams_of(*settings(upstream)))) as upstreams:
        repository, _image = upstreams.open(parse_reference(f"{host(upstream)}/team/app:1"))
        found = [repository.has_blob(each) for each in (Descriptor(missing.media_type, digest, len(content)), missing)]

    assert found == [True, False]


@pytest.mark.parametrize("status", REJECTIONS)
def test_manifest_is_found_without_head_and_with_token(
    upstream: RegistryServer, tokens: TokenServer, image: Image, status: int
) -> None:
    upstream.fail("HEAD", "/manifests/", error_response(status, "UNSUPPORTED"))

    assert find_upstream(upstream, *settings(upstream)) == image.contents
    assert tokens.seen[-1]


@pytest.mark.parametrize("rejects_head", [False, True])
def test_image_without_referrers_is_pushed_from_registry_that_hides_missing_content(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, rejects_head: bool
) -> None:
    upstream.guard = hides_missing(upstream)
    if rejects_head:
        upstream.fail("HEAD", "/manifests/", error_response(403, "DENIED"))

    result = push({"source": source(upstream), "referrers": True}, upstreams=settings(upstream))

    assert not result.get("failed"), result.get("msg")
    assert server.digest_of("team/app", "1") == image.digest


@pytest.mark.parametrize("status", [401, 403])
def test_error_explains_that_registry_may_hide_missing_image(push: Push, upstream: RegistryServer, status: int) -> None:
    upstream.guard = hides_missing(upstream, status)

    error = error_of(push(source(upstream, "team/app:none"), upstreams=settings(upstream)))

    assert f"denies access to team/app: status {status}" in error
    assert f"registries also return {status} for images that do not exist" in error


def test_error_explains_that_token_server_may_hide_missing_image(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    tokens.users = {"me": "secret"}

    error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert "returned no token: status 401. Check the image's name: registries also deny access to images" in error


def test_other_error_response_for_referrers_is_error(upstream: RegistryServer, image: Image) -> None:
    upstream.fail("GET", "/referrers/", error_response(418, "TEAPOT"))

    with closing(Upstreams(upstreams_of(*settings(upstream)))) as upstreams:
        repository, _image = upstreams.open(parse_reference(f"{host(upstream)}/team/app:1"))
        with pytest.raises(K8scrError, match="responded with 418"):
            repository.referrers.of(image.digest)
