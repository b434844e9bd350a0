# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By default, new images are copied together with their referrers, with few requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout
from unit.plugins.module_utils.support.referrer_pushes import Run, push_all, push_one
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import settings, source

from .test_referrer_jobs import entries, put_referrers, referrers_index, referrers_tag, sbom_of, serve_referrers


def test_push_copies_referrers_by_default(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, sbom: Image
) -> None:
    result = push_all(push, upstream)

    assert [each.get("subject") for each in result["images"]] == [None, signed.digest, signed.digest]
    assert result["images"][0]["referrers"] == {"copied": 2, "left_out": []}
    assert server.digest_of("team/app", referrers_tag(signed, ".sig")) == upstream.digest_of(
        "team/app", referrers_tag(signed, ".sig")
    )
    assert [entry["digest"] for entry in entries(server, signed)] == [sbom.digest]
    assert "warnings" not in result


def test_push_in_check_mode_lists_referrers_as_push_copies_them(
    push: Run, server: RegistryServer, upstream: RegistryServer, sbom: Image
) -> None:
    planned = push_all(push, upstream, check_mode=True)
    stored = dict(server.manifests)

    assert planned == push_all(push, upstream)
    assert len(planned["images"]) == 3
    assert stored == {}


@pytest.mark.parametrize("mode", ["auto", False])
def test_push_of_unchanged_image_sends_two_requests(
    push: Run, server: RegistryServer, upstream: RegistryServer, sbom: Image, mode: str | bool
) -> None:
    push_all(push, upstream)
    for each in (server, upstream):
        each.requests.clear()

    result = push_one(push, upstream, referrers=mode)

    assert not result["changed"]
    assert server.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]
    assert upstream.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]
    assert "referrers" not in result["images"][0]


@pytest.mark.parametrize(("has_api", "count"), [(True, 4), (False, 5)])
def test_push_of_new_image_sends_few_requests_for_missing_referrers(
    push: Run, upstream: RegistryServer, image: Image, has_api: bool, count: int
) -> None:
    upstream.fill("team/app", "1", image)
    if has_api:
        serve_referrers(upstream, {})
    push_one(push, upstream, check_mode=True, referrers=False)
    without = Counter(upstream.received("HEAD", "GET"))

    result = push_one(push, upstream, check_mode=True)

    more = Counter(upstream.received("HEAD", "GET")) - without
    assert more.total() == count
    assert set(more.values()) == {1}
    assert "referrers" not in result["images"][0]


def test_push_sends_no_request_to_cluster_for_missing_referrers(
    push: Run, server: RegistryServer, upstream: RegistryServer, multi: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    push_one(push, upstream, check_mode=True, referrers=False)
    without = Counter(map(str, server.requests))
    server.requests.clear()

    push_one(push, upstream, check_mode=True)

    assert Counter(map(str, server.requests)) == without


def test_push_requests_missing_referrers_api_of_repository_once(
    push: Run, upstream: RegistryServer, multi: Image
) -> None:
    upstream.fill("team/app", "1", multi)

    push_all(push, upstream, connections=1)

    requests = upstream.received("GET", "HEAD")
    assert sum("/referrers/" in request for request in requests) == 1
    assert sum("manifests/sha256-" in request for request in requests) == 3 * 4


def test_push_looks_up_referrers_of_common_digest_once(push: Run, upstream: RegistryServer, signed: Image) -> None:
    upstream.fill("team/app", "2", signed)

    result = push_all(push, upstream, "1", "2")

    assert set(Counter(each for each in upstream.received("HEAD") if "sha256-" in each).values()) <= {1, 2}
    assert [each["tag"] for each in result["images"]] == ["1", referrers_tag(signed, ".sig"), "2"]
    assert [each["referrers"]["copied"] for each in result["images"] if "referrers" in each] == [1, 1]


def test_push_looks_up_referrers_of_images_in_parallel(push: Run, upstream: RegistryServer) -> None:
    both = threading.Barrier(2, timeout=10)

    def wait(response: Response) -> Response:
        both.wait()
        return response

    for number in "12":
        image = make_image(layer("bin/app", number.encode()))
        upstream.fill("team/app", number, image)
        upstream.fail("HEAD", referrers_tag(image, ".sig"), wait)

    assert push_all(push, upstream, "1", "2", connections=2)["changed"]


def test_push_copies_referrers_of_unchanged_image_only_on_request(
    push: Run, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    push_all(push, upstream)
    upstream.fill("team/app", referrers_tag(image, ".sig"), other_image)

    assert not push_all(push, upstream)["changed"]
    assert push_one(push, upstream, referrers=True)["changed"]


def test_push_merges_lists_of_referrers_from_two_registries(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    first, second = sbom_of(image, b"first"), sbom_of(image, b"second")
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, first)
    with RegistryServer().running() as other:
        other.fill("team/app", "2", image)
        put_referrers(other, "team/app", image, second)
        result = push(source(upstream), source(other, "team/app:2"), upstreams=[*settings(upstream), *settings(other)])

    assert not result.get("failed"), result.get("msg")
    assert [entry["digest"] for entry in entries(server, image)] == [first.digest, second.digest]
    assert [each["referrers"]["copied"] for each in result["images"] if "referrers" in each] == [1, 1]


def test_push_of_layout_copies_its_referrers_by_default(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path, {"team/app:1": image, "sbom": sbom_of(image), referrers_tag(image, ".sig"): other_image})

    result = push(f"oci:{tmp_path}:team/app:1")

    assert result["images"][0]["referrers"] == {"copied": 2, "left_out": []}
    assert [entry["digest"] for entry in entries(server, image)] == [sbom_of(image).digest]


def test_cycle_of_referrers_that_registry_lists_is_copied(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    first, second = sbom_of(image, b"first"), sbom_of(image, b"second")
    for each in (first, second):
        upstream.fill("team/app", None, each)
    upstream.fill("team/app", "1", image)
    serve_referrers(
        upstream,
        {
            image.digest: referrers_index(first),
            first.digest: referrers_index(second),
            second.digest: referrers_index(first),
        },
    )

    result = push_all(push, upstream)

    assert not result.get("failed"), result.get("msg")
    assert {first.digest, second.digest} <= set(server.manifests["team/app"])


def test_push_in_check_mode_predicts_mounts_of_referrers_that_share_blobs(
    push: Run, server: RegistryServer, upstream: RegistryServer, other_image: Image
) -> None:
    names = [f"team/app-{number}" for number in range(6)]
    for number, name in enumerate(names):
        # The signature of an image shares a layer with it, and all signatures share their blobs.
        image = make_image(*other_image.files[:1], layer("etc/number", b"%d" % number))
        upstream.fill(name, "1", image)
        upstream.fill(name, referrers_tag(image, ".sig"), other_image)

    def wait(response: Response) -> Response:
        time.sleep(0.2)
        return response

    # The first image is the last one whose manifest is stored.
    server.fail("PUT", "/team/app-0/manifests/", wait, times=1)
    sources = [source(upstream, f"{name}:1") for name in names]

    planned = push(*sources, upstreams=settings(upstream), connections=4, check_mode=True)

    assert planned == push(*sources, upstreams=settings(upstream), connections=4)
