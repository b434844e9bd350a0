# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images from upstream registries and their mirrors."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import upstreams as upstreams_module
from unit.plugins.module_utils.support.images import Image, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.upstream_servers import (
    Push,
    error_of,
    host,
    settings,
    source,
)

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")


def test_push_copies_image_from_upstream(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    result = push(source(upstream), upstreams=settings(upstream))

    (pushed,) = result["images"]
    assert pushed["name"] == f"{host(upstream)}/team/app:1"
    assert pushed["digest"] == image.digest == server.digest_of("team/app", "1")
    assert server.blobs["team/app"] == image.blobs


def test_push_sends_one_upstream_request_for_existing_image(push: Push, upstream: RegistryServer, image: Image) -> None:
    push(source(upstream), upstreams=settings(upstream))
    upstream.requests.clear()

    again = push(source(upstream), upstreams=settings(upstream))

    assert not again["changed"]
    assert upstream.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_push_keeps_digest_of_upstream_index(
    push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image
) -> None:
    upstream.fill("team/multi", "1", multi)

    push(source(upstream, "team/multi:1"), upstreams=settings(upstream))

    assert server.digest_of("team/multi", "1") == multi.digest


def test_check_mode_reads_no_upstream_blob(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    result = push(source(upstream), upstreams=settings(upstream), check_mode=True)

    assert result["images"][0]["sent"]["blobs"] == 3
    assert not any("/blobs/" in received for received in upstream.received("GET"))
    assert not server.manifests


def test_push_uses_digest_of_reference_after_tag_changed(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", other_image)

    result = push(source(upstream, f"team/app:1@{image.digest}"), upstreams=settings(upstream))

    assert result["images"][0]["digest"] == image.digest == server.digest_of("team/app", "1")


def test_push_reports_image_missing_upstream(push: Push, upstream: RegistryServer) -> None:
    result = push(source(upstream, "team/app:2"), upstreams=settings(upstream))

    assert f"there is no image 2 in repository team/app in {host(upstream)}" in error_of(result)


def test_push_resumes_interrupted_download(push: Push, server: RegistryServer, upstream: RegistryServer) -> None:
    image = make_image()
    upstream.fill("team/cut", "1", image)

    def cut(response: Response) -> Response:
        return Response(response.status, response.headers, response.body, truncated=True)

    upstream.fail("GET", f"/blobs/{image.layers[0]}", cut, times=1)

    result = push(source(upstream, "team/cut:1"), upstreams=settings(upstream))

    assert server.digest_of("team/cut", "1") == image.digest, result.get("msg")
    assert any(host(upstream) in entry["why"] for entry in result["retries"])


def test_push_uses_mirror_first_and_keeps_name(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("hub/library/app", "1", image)
    mirrored = {"host": "docker.io", "mirrors": [f"{host(upstream)}/hub"]}

    result = push("docker://app:1", upstreams=[mirrored, *settings(upstream)])

    assert result["images"][0]["name"] == "docker.io/library/app:1", result.get("msg")
    assert server.digest_of("library/app", "1") == image.digest


def test_push_skips_mirror_without_image(push: Push, upstream: RegistryServer, image: Image) -> None:
    with RegistryServer().running() as mirror:
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)

        result = push(source(upstream), upstreams=options)

    assert result["images"][0]["digest"] == image.digest, result.get("msg")
    assert mirror.received("HEAD") == ["HEAD /v2/team/app/manifests/1"]


def test_push_tries_unreachable_mirror_once(push: Push, upstream: RegistryServer, image: Image) -> None:
    upstream.fill("team/web", "1", image)
    options = [*settings(upstream, mirrors=["127.0.0.1:1"]), {"host": "127.0.0.1:1", "plain_http": True}]

    result = push(source(upstream), source(upstream, "team/web:1"), upstreams=options, connections=1)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    (retried,) = result["retries"]
    assert retried["times"] == 2


def test_push_skips_mirror_that_keeps_failing_after_seconds(
    push: Push, upstream: RegistryServer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams_module, "_MIRROR_TIMEOUT", 0.2)
    upstream.fill("team/web", "1", image)
    with RegistryServer().running() as mirror:
        mirror.fail("HEAD", "", Response(503))
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)
        result = push(source(upstream), source(upstream, "team/web:1"), upstreams=options, connections=1)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    assert {request.split()[1] for request in mirror.received("HEAD")} == {"/v2/team/app/manifests/1"}


def test_push_waits_for_mirror_that_has_worked_before(
    push: Push, upstream: RegistryServer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams_module, "_MIRROR_TIMEOUT", 0.0)
    with RegistryServer().running() as mirror:
        for repository in ("team/app", "team/web"):
            mirror.fill(repository, "1", image)
        mirror.fail("HEAD", "/team/web/", Response(503), times=2)
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)
        result = push(source(upstream), source(upstream, "team/web:1"), upstreams=options, connections=1)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    assert not upstream.received("HEAD")


def test_error_names_failures_of_all_mirrors(push: Push, upstream: RegistryServer) -> None:
    with RegistryServer().running() as mirror:
        mirror.guard = lambda _path, _headers: error_response(403, "DENIED")
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)

        error = error_of(push(source(upstream, "team/none:1"), upstreams=options))

    assert f"{host(upstream)} (mirrors: {host(mirror)} denies access to team/none" in error


@pytest.mark.parametrize(
    "hosts", [["https://example.com"], ["example.com/team"], ["registry"], [""], ["docker.io", "index.docker.io"]]
)
def test_upstream_that_is_not_a_host_is_rejected(hosts: list[str]) -> None:
    with pytest.raises(InputError):
        upstreams_of(*({"host": each} for each in hosts))


def test_mirror_that_is_not_a_host_is_rejected() -> None:
    with pytest.raises(InputError, match=r"'http://m.example.com' in upstreams is not a registry"):
        upstreams_of({"host": "docker.io", "mirrors": ["http://m.example.com"]})
