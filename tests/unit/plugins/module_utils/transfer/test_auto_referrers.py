# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By default, new images are copied together with their referrers, and the task reports those that stay behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from unit.plugins.module_utils.support.engine_server import EngineServer
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    layer,
    make_image,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.upstream_servers import settings, source

from .test_referrer_jobs import entries, put_referrers, referrers_index, referrers_tag, sbom_of, serve_referrers

Run = Callable[..., dict[str, Any]]


def push_all(push: Run, upstream: RegistryServer, *tags: str, **options: Any) -> dict[str, Any]:
    """Push images of a registry, by default the tag 1, and return the result."""
    images = [source(upstream, f"team/app:{tag}") for tag in tags or ("1",)]
    return push(*images, upstreams=settings(upstream), **options)


def push_one(push: Run, upstream: RegistryServer, check_mode: bool = False, **entry: Any) -> dict[str, Any]:
    """Push an image of a registry with properties of its entry, and return the result."""
    return push({"source": source(upstream), **entry}, upstreams=settings(upstream), check_mode=check_mode)


def manifest_puts(server: RegistryServer, repository: str = "team/app") -> list[str]:
    """Return the tags and digests under which manifests were stored, in order."""
    prefix = f"PUT /v2/{repository}/manifests/"
    return [request[len(prefix) :] for request in server.received("PUT") if request.startswith(prefix)]


@pytest.fixture
def signed(upstream: RegistryServer, image: Image, other_image: Image) -> Image:
    """An image of ``upstream`` with a signature under a tag of cosign."""
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", referrers_tag(image, ".sig"), other_image)
    return image


@pytest.fixture
def sbom(upstream: RegistryServer, signed: Image) -> Image:
    """An SBOM of ``signed`` in the list under its fallback tag."""
    sbom = sbom_of(signed)
    put_referrers(upstream, "team/app", signed, sbom)
    return sbom


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


def test_push_asks_api_of_repository_once_if_it_is_missing(push: Run, upstream: RegistryServer, multi: Image) -> None:
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


def test_push_stores_subject_then_referrers_then_tag(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, sbom: Image
) -> None:
    push_all(push, upstream)

    subject, *referrers, tag = manifest_puts(server)

    assert (subject, tag) == (signed.digest, "1")
    assert sorted(referrers) == sorted([sbom.digest, referrers_tag(signed), referrers_tag(signed, ".sig")])


def test_push_stores_referrer_before_its_own_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    sbom = sbom_of(image)
    signature = sbom_of(sbom, b"its signature")
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom)
    put_referrers(upstream, "team/app", sbom, signature)

    push_all(push, upstream, connections=8)

    order = manifest_puts(server)
    assert order.index(image.digest) < order.index(sbom.digest) < order.index(signature.digest) < order.index("1")


@pytest.mark.parametrize("mode", ["auto", True])
def test_push_sets_no_tag_before_last_referrer_of_many(
    push: Run, server: RegistryServer, upstream: RegistryServer, mode: str | bool
) -> None:
    images = [make_image(layer("bin/app", b"%d" % number)) for number in range(40)]
    for number, image in enumerate(images):
        upstream.fill("team/app", str(number), image)
        put_referrers(upstream, "team/app", image, sbom_of(image))
    entries = [{"source": source(upstream, f"team/app:{number}"), "referrers": mode} for number in range(40)]

    result = push(*entries, upstreams=settings(upstream), connections=2)

    order = manifest_puts(server)
    assert not result.get("failed"), result.get("msg")
    assert [each.get("tag") for each in result["images"] if not each.get("subject")] == list(map(str, range(40)))
    for number, image in enumerate(images):
        assert order.index(image.digest) < order.index(referrers_tag(image)) < order.index(str(number))


@pytest.mark.parametrize("check_mode", [True, False])
def test_push_leaves_out_referrer_with_missing_blob(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, other_image: Image, check_mode: bool
) -> None:
    del upstream.blobs["team/app"][other_image.layers[1]]

    result = push_all(push, upstream, check_mode=check_mode)

    (entry,) = result["images"]
    assert entry["changed"]
    assert entry["referrers"]["copied"] == 0
    assert entry["referrers"]["left_out"][0].startswith("1 referrer: ")
    assert other_image.layers[1] in entry["referrers"]["left_out"][0]
    assert [f"of 1 of 1 images are not copied. {entry['name']}: " in each for each in result["warnings"]] == [True]
    assert (server.digest_of("team/app", "1") == signed.digest) is not check_mode


def test_push_leaves_out_unreadable_referrer_of_list(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    good, bad = sbom_of(image, b"good"), sbom_of(image, b"bad")
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, bad, good)
    del upstream.manifests["team/app"][bad.digest]

    planned = push_all(push, upstream, check_mode=True)
    result = push_all(push, upstream)

    assert planned == result
    assert [entry["digest"] for entry in entries(server, image)] == [good.digest]
    assert result["images"][0]["referrers"]["copied"] == 1
    assert bad.digest in result["images"][0]["referrers"]["left_out"][0]


def test_push_leaves_out_referrer_that_registry_rejects(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push_all(push, upstream)

    assert not result.get("failed")
    assert server.digest_of("team/app", "1") == signed.digest
    assert len(result["images"]) == 1
    assert result["images"][0]["referrers"]["left_out"][0].startswith("1 referrer: manifest")
    assert len(result["warnings"]) == 1


def test_push_leaves_out_referrers_that_registry_does_not_list(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    upstream.fail("GET", "/referrers/", Response(422))

    result = push_all(push, upstream)

    assert server.digest_of("team/app", "1") == signed.digest
    assert "the referrers of" in result["images"][0]["referrers"]["left_out"][0]


@pytest.mark.parametrize("mode", ["auto", True])
def test_push_retries_referrer_in_next_task_after_transient_failure(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, mode: str | bool
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), Response(503), times=20)

    failed = push_one(push, upstream, referrers=mode)
    server.faults.clear()
    again = push_one(push, upstream, referrers=mode)

    assert failed["failed"]
    assert [bool(each.get("error")) for each in failed["images"]] == [mode == "auto", True]
    assert not again.get("failed")
    assert server.digest_of("team/app", referrers_tag(signed, ".sig"))
    assert server.digest_of("team/app", "1") == signed.digest


def test_push_lists_no_referrers_of_failed_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", f"manifests/{signed.digest}", error_response(403, "DENIED"))

    result = push_all(push, upstream)

    (entry,) = result["images"]
    assert "error" in entry
    assert "referrers" not in entry
    assert "warnings" not in result
    assert server.digest_of("team/app", referrers_tag(signed, ".sig")) is None


def test_push_with_required_referrers_reports_them_after_failed_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", f"manifests/{signed.digest}", error_response(403, "DENIED"))

    result = push_one(push, upstream, referrers=True)

    assert [bool(each.get("error")) for each in result["images"]] == [True, True]
    assert "the image to which it refers failed" in result["images"][1]["error"]


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


def test_push_reports_signature_of_reduced_index(
    push: Run, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    upstream.fill("team/app", referrers_tag(multi, ".sig"), image)

    result = push_one(push, upstream, platforms=["linux/arm64"])

    assert result["images"][0]["referrers"] == {
        "copied": 0,
        "left_out": [f"1 referrer: they refer to {multi.digest}, of which only the selected platforms are copied"],
    }


@pytest.mark.parametrize("listed", [True, False])
def test_push_of_docker_archive_reports_no_referrers(push: Run, tmp_path: Path, image: Image, listed: bool) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])

    result = push({"source": f"docker-archive:{tmp_path}/app.tar"} if listed else str(tmp_path / "app.tar"))

    assert result["changed"]
    assert "referrers" not in result["images"][0]
    assert "warnings" not in result


def test_push_of_layout_copies_its_referrers_by_default(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path, {"team/app:1": image, "sbom": sbom_of(image), referrers_tag(image, ".sig"): other_image})

    result = push(f"oci:{tmp_path}:team/app:1")

    assert result["images"][0]["referrers"] == {"copied": 2, "left_out": []}
    assert [entry["digest"] for entry in entries(server, image)] == [sbom_of(image).digest]


def test_push_prefers_image_to_different_referrer_with_its_target(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, multi: Image, tmp_path: Path
) -> None:
    tag = referrers_tag(signed, ".sig")
    write_layout(tmp_path, {f"example.com/team/app:{tag}": multi})

    result = push(source(upstream), f"oci:{tmp_path}:example.com/team/app:{tag}", upstreams=settings(upstream))

    assert not result.get("failed")
    assert server.digest_of("team/app", tag) == multi.digest
    assert "like another image" in result["images"][0]["referrers"]["left_out"][0]


@pytest.mark.parametrize("dest", ["docker-archive:{}/app.tar", "docker-daemon:"])
def test_pull_reports_referrers_that_destination_cannot_store(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, dest: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)
    put_referrers(server, "team/app", image, sbom_of(image))

    with EngineServer(tmp_path).running() as engine:
        entry = {"name": "team/app:1", "dest": dest.format(tmp_path)}
        planned = pull(entry, docker_host=engine.host, check_mode=True)
        result = pull(entry, docker_host=engine.host)
        server.requests.clear()
        again = pull(entry, docker_host=engine.host)

    assert planned == result
    assert not result.get("failed")
    (left_out,) = result["images"][0]["referrers"]["left_out"]
    assert left_out.startswith("2 referrers: ")
    assert left_out.endswith("cannot store referrers")
    (warning,) = result["warnings"]
    assert warning.startswith("Referrers, such as signatures, of 1 of 1 images are not copied. docker.io/team/app:1: ")
    assert not again["changed"]
    assert "warnings" not in again
    assert not any("sha256-" in request or "/referrers/" in request for request in server.received("HEAD", "GET"))


def test_pull_without_referrers_to_archive_of_docker_warns_about_nothing(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)

    result = pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert "warnings" not in result
    assert "referrers" not in result["images"][0]


def test_pull_leaves_out_different_referrer_with_same_target(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), signature)
    dest = f"oci:{tmp_path}/app"

    result = pull({"name": "team/one:1", "dest": dest}, {"name": "team/two:1", "dest": dest})

    assert not result.get("failed"), result.get("msg")
    assert [each["referrers"]["copied"] for each in result["images"] if "referrers" in each] == [1, 0]
    assert "like another image" in result["images"][2]["referrers"]["left_out"][0]


def test_pull_rejects_different_referrer_with_same_target_if_it_is_required(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), signature)
    dest = f"oci:{tmp_path}/app"

    with pytest.raises(InputError, match="like another image"):
        pull({"name": "team/one:1", "dest": dest}, {"name": "team/two:1", "dest": dest, "referrers": True})


def test_pull_commits_layout_without_referrer_that_is_damaged(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)
    server.blobs["team/app"][other_image.layers[1]] = b"x" * len(server.blobs["team/app"][other_image.layers[1]])

    result = pull({"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"})

    assert not result.get("failed"), result.get("msg")
    assert [each["digest"] for each in result["images"]] == [image.digest]
    assert result["images"][0]["referrers"]["copied"] == 0
    assert (tmp_path / "app.tar").exists()


def test_warning_has_one_period_after_reasons(
    push: Run, upstream: RegistryServer, signed: Image, other_image: Image
) -> None:
    del upstream.blobs["team/app"][other_image.layers[1]]

    (warning,) = push_all(push, upstream)["warnings"]

    assert ". images[].referrers.left_out" in warning
    assert ".." not in warning


def test_warning_names_few_images_of_many(
    pull: Run, server: RegistryServer, tmp_path: Path, other_image: Image
) -> None:
    names = [f"team/app-{number}:1" for number in range(9)]
    for number, name in enumerate(names):
        image = make_image(layer("bin/app", b"%d" % number))
        repository = name.partition(":")[0]
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), other_image)

    result = pull(*({"name": name, "dest": f"docker-archive:{tmp_path}/app.tar"} for name in names))

    (warning,) = result["warnings"]
    assert "of 9 of 9 images are not copied" in warning
    assert "team/app-4:1 and 4 more: 1 referrer: " in warning


def test_push_with_fail_fast_looks_for_no_referrers_after_failed_plan(
    push: Run, upstream: RegistryServer, signed: Image
) -> None:
    push_all(push, upstream, "missing", "1", fail_fast=True)

    assert not any("sha256-" in request for request in upstream.received("HEAD"))


def test_push_with_fail_fast_goes_on_without_optional_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push_all(push, upstream, fail_fast=True)

    assert not result.get("failed")
    assert server.digest_of("team/app", "1") == signed.digest


def test_push_with_fail_fast_sets_no_tag_after_failed_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push({"source": source(upstream), "referrers": True}, upstreams=settings(upstream), fail_fast=True)

    assert [bool(each.get("error")) for each in result["images"]] == [True, True]
    assert server.digest_of("team/app", "1") is None


def test_push_copies_blobs_that_vanish_before_tag_again(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    def collect(response: Response) -> Response:
        server.manifests["team/app"].pop(signed.digest, None)
        server.blobs["team/app"].clear()
        return response

    server.fail("PUT", referrers_tag(signed, ".sig"), collect, times=1)

    result = push_all(push, upstream)

    assert not result.get("failed"), result.get("msg")
    assert server.digest_of("team/app", "1") == signed.digest
    assert set(signed.layers) <= set(server.blobs["team/app"])


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


@pytest.mark.parametrize("check_mode", [True, False])
def test_push_leaves_out_list_of_referrers_that_is_too_large(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image, check_mode: bool
) -> None:
    upstream.fill("team/app", "1", image)
    for number, registry in enumerate((upstream, server)):
        large = make_image(subject=image.root.to_json(), annotations={"number": str(number) * 3_000_000})
        put_referrers(registry, "team/app", image, large)

    result = push_all(push, upstream, check_mode=check_mode)

    assert not result.get("failed"), result["msg"]
    assert "more than" in result["images"][0]["referrers"]["left_out"][0]


def test_push_leaves_out_list_of_referrers_whose_tag_has_an_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))
    server.fill("team/app", referrers_tag(image), other_image)

    result = push_all(push, upstream)

    assert server.digest_of("team/app", referrers_tag(image)) == other_image.digest
    assert not result.get("failed")
    assert "has an image, not a list of referrers" in result["images"][0]["referrers"]["left_out"][0]


def test_push_keeps_existing_entries_with_unknown_media_types(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    existing = {"mediaType": "text/plain", "digest": digest_of(b"notes"), "size": 5}
    index = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [existing]})
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))
    server.fill(
        "team/app",
        referrers_tag(image),
        Image(Descriptor(OCI_INDEX, digest_of(index), len(index)), {digest_of(index): index}),
    )
    server.blobs["team/app"] = {digest_of(b"notes"): b"notes"}

    result = push_all(push, upstream)

    # The registry accepts no such list again.
    assert entries(server, image) == [existing]
    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["referrers"]["copied"] == 0
