# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_bundle``: images in a folder or an archive, again, and after changes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_check import check_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from unit.plugins.module_utils.support.bundle_tasks import blobs, bundle_to, check_sums, description, tree
from unit.plugins.module_utils.support.images import Image, make_image, write_docker_archive, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.signed_images import attach
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")


@pytest.fixture
def other_upstream(other_image: Image) -> Any:
    """A second upstream registry, with an image that shares a layer with ``image``."""
    with RegistryServer().running() as running:
        running.fill("team/web", "1", other_image)
        yield running


@pytest.fixture
def upstream(upstream: RegistryServer, image: Image) -> RegistryServer:
    """An upstream registry with one image."""
    upstream.fill("team/app", "1", image)
    return upstream


def test_bundle_has_image_of_registry_under_its_full_name(
    upstream: RegistryServer, image: Image, tmp_path: Path
) -> None:
    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))

    name = f"{host(upstream)}/team/app:1"
    assert result["changed"] is True
    assert [(each["name"], each["digest"]) for each in result["images"]] == [(name, image.digest)]
    assert description(tmp_path / "out")["images"] == [{"name": name, "digest": image.digest, "size": image.root.size}]
    assert blobs(tmp_path / "out") == set(image.contents)
    check_sums(tmp_path / "out")


def test_second_bundle_sends_one_request_for_each_image_and_changes_no_file(
    upstream: RegistryServer, multi: Image, tmp_path: Path
) -> None:
    upstream.fill("team/multi", "1", multi)
    images = [source(upstream), source(upstream, "team/multi:1")]
    bundle_to(tmp_path / "out", *images, upstreams=settings(upstream))
    before = tree(tmp_path / "out")
    upstream.requests.clear()

    again = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream))

    assert again["changed"] is False
    assert tree(tmp_path / "out") == before
    assert sorted(upstream.received("GET", "HEAD")) == [
        "HEAD /v2/team/app/manifests/1",
        "HEAD /v2/team/multi/manifests/1",
    ]


def test_bundle_reads_blob_of_two_registries_once(
    upstream: RegistryServer, other_upstream: RegistryServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    images = [source(upstream), source(other_upstream, "team/web:1")]

    bundle_to(tmp_path / "out", *images, upstreams=[*settings(upstream), *settings(other_upstream)])

    (common,) = set(image.layers) & set(other_image.layers)
    received = [*upstream.received("GET"), *other_upstream.received("GET")]
    assert sum(request.endswith(common) for request in received) == 1
    assert blobs(tmp_path / "out") == {*image.contents, *other_image.contents}


def test_check_mode_predicts_bundle_and_writes_nothing(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    options: dict[str, Any] = {"upstreams": settings(upstream)}

    planned = bundle_to(tmp_path / "out", source(upstream), check_mode=True, **options)

    assert not (tmp_path / "out").exists()
    assert not any("/blobs/" in request for request in upstream.received("GET"))
    done = bundle_to(tmp_path / "out", source(upstream), **options)
    assert planned == done


def test_bundle_without_prune_keeps_images_of_earlier_tasks(
    upstream: RegistryServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", {"example.com/team/web:1": other_image})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")

    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))

    assert result["removed"] == []
    assert blobs(tmp_path / "out") == {*image.contents, *other_image.contents}


def test_prune_removes_other_images_and_their_blobs(
    upstream: RegistryServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", {"example.com/team/web:1": other_image})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))

    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), prune=True)

    assert result["changed"] is True
    assert result["removed"] == ["example.com/team/web:1"]
    assert result["diff"][1]["before"] == f"example.com/team/web:1 {other_image.digest}\n"
    assert blobs(tmp_path / "out") == set(image.contents)
    check_sums(tmp_path / "out")


def test_check_mode_of_prune_removes_nothing(image: Image, other_image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image, "example.com/app:2": other_image})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")
    before = tree(tmp_path / "out")

    planned = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout:example.com/app:1", prune=True, check_mode=True)

    assert (planned["changed"], planned["removed"]) == (True, ["example.com/app:2"])
    assert tree(tmp_path / "out") == before


def test_bundle_of_moved_tag_has_no_blob_of_the_old_image(
    upstream: RegistryServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    upstream.fill("team/app", "1", other_image)

    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))

    assert result["images"][0]["digest_before"] == image.digest
    assert blobs(tmp_path / "out") == set(other_image.contents)


def test_failed_image_leaves_incomplete_bundle_that_next_task_completes(
    upstream: RegistryServer, other_image: Image, tmp_path: Path
) -> None:
    upstream.fill("team/web", "1", other_image)
    images = [source(upstream), source(upstream, "team/web:1")]
    upstream.fail("GET", f"/blobs/{other_image.layers[1]}", Response(404, {}), times=1)

    failed = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream))

    assert failed["failed"]
    assert description(tmp_path / "out")["complete"] is False
    again = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream))
    assert again["changed"] is True
    bundle_to(tmp_path / "other", *images, upstreams=settings(upstream))
    assert tree(tmp_path / "out") == tree(tmp_path / "other")


def test_failure_before_the_first_change_keeps_complete_bundle(upstream: RegistryServer, tmp_path: Path) -> None:
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    before = tree(tmp_path / "out")

    failed = bundle_to(tmp_path / "out", source(upstream, "team/missing:1"), upstreams=settings(upstream))

    assert failed["failed"]
    assert tree(tmp_path / "out") == before


def test_bundle_in_archive_has_same_bytes_in_each_run(upstream: RegistryServer, multi: Image, tmp_path: Path) -> None:
    upstream.fill("team/multi", "1", multi)
    images = [source(upstream), source(upstream, "team/multi:1")]

    for name in ("one.tar", "two.tar"):
        bundle_to(f"oci-archive:{tmp_path}/{name}", *images, upstreams=settings(upstream))

    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    again = bundle_to(f"oci-archive:{tmp_path}/one.tar", *images, upstreams=settings(upstream))
    assert again["changed"] is False


def test_bundle_selects_platforms_and_keeps_their_digests(
    upstream: RegistryServer, multi: Image, tmp_path: Path
) -> None:
    upstream.fill("team/multi", "1", multi)
    amd64 = multi.manifest["manifests"][0]["digest"]

    result = bundle_to(
        tmp_path / "out",
        {"source": source(upstream, "team/multi:1"), "platforms": ["linux/amd64"]},
        upstreams=settings(upstream),
    )

    assert result["images"][0]["digest"] == amd64
    assert len(blobs(tmp_path / "out")) == 4


def test_bundle_has_image_without_tag_under_its_digest(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    name = f"team/app@{image.digest}"

    bundle_to(tmp_path / "out", source(upstream, name), upstreams=settings(upstream))
    again = bundle_to(tmp_path / "out", source(upstream, name), upstreams=settings(upstream), prune=True)

    assert again["changed"] is False
    assert description(tmp_path / "out")["images"][0]["name"] == f"{host(upstream)}/{name}"


def test_bundle_copies_image_of_docker_archive(image: Image, tmp_path: Path) -> None:
    archive = write_docker_archive(tmp_path / "app.tar", [(["example.com/team/app:1"], image)])

    first = bundle_to(tmp_path / "out", f"docker-archive:{archive}")
    again = bundle_to(tmp_path / "out", f"docker-archive:{archive}")

    assert (first["changed"], again["changed"]) == (True, False)


def test_bundle_rejects_two_images_with_one_name(image: Image, other_image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image, "example.com/app:2": other_image})
    entries = [{"source": f"oci:{tmp_path}/layout:example.com/app:{tag}", "name": "app:3"} for tag in (1, 2)]

    with pytest.raises(InputError, match=r"different images with the same target docker.io/library/app:3"):
        bundle_to(tmp_path / "out", *entries)


def test_bundle_writes_and_enforces_lock(
    upstream: RegistryServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.json"
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), lock=str(lock))
    upstream.fill("team/app", "1", other_image)

    result = bundle_to(tmp_path / "new", source(upstream), upstreams=settings(upstream), lock=str(lock), locked=True)

    assert json.loads(lock.read_bytes()) == {f"{host(upstream)}/team/app:1": image.digest}
    assert result["images"][0]["digest"] == image.digest
    assert (tmp_path / "out/images.lock.json").read_bytes() == lock.read_bytes()


def test_bundle_has_extra_files(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})
    (tmp_path / "app.yml").write_text("kind: List\n")
    options: dict[str, Any] = {"extras": {"files": [str(tmp_path / "app.yml")]}}

    first = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", **options)
    again = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", **options)
    pruned = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", prune=True)

    assert [each["path"] for each in first["extras"]] == ["extras/files/app.yml"]
    assert (first["changed"], again["changed"], pruned["changed"]) == (True, False, True)
    assert not (tmp_path / "out/extras").exists()


def test_bundle_with_image_of_other_size_is_completed_after_interruption(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": make_image()})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")
    stated = description(tmp_path / "out")
    (tmp_path / "out/bundle.json").write_text(json.dumps({**stated, "complete": False}))

    result = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")

    assert result["changed"] is True
    assert description(tmp_path / "out") == stated


def test_bundle_keeps_extra_files_of_earlier_task(image: Image, other_image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image, "example.com/app:2": other_image})
    (tmp_path / "app.yml").write_text("kind: List\n")
    bundle_to(
        tmp_path / "out", f"oci:{tmp_path}/layout:example.com/app:1", extras={"files": [str(tmp_path / "app.yml")]}
    )

    result = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")

    assert [each["path"] for each in result["extras"]] == ["extras/files/app.yml"]
    check_sums(tmp_path / "out")


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out"])
def test_tasks_that_write_one_bundle_at_once_wait_for_each_other(
    image: Image, other_image: Image, multi: Image, dest: str, tmp_path: Path
) -> None:
    images = {"example.com/a:1": image, "example.com/b:1": other_image, "example.com/c:1": multi}
    for number, (name, each) in enumerate(images.items()):
        write_layout(tmp_path / str(number), {name: each})
    target = dest.format(tmp_path)

    with ThreadPoolExecutor(9) as workers:
        sources = [f"oci:{tmp_path}/{number % 3}" for number in range(9)]
        results = list(workers.map(lambda each: bundle_to(target, each), sources))

    assert not any(result.get("failed") for result in results)
    assert [result["changed"] for result in results].count(True) == 3
    with closing(open_bundle(tmp_path / "out")) as bundle:
        assert [each.name for each in bundle.bundle.images] == list(images)
        assert not list(check_bundle(bundle))


def test_diff_names_image_of_referrer(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    signature = make_image(subject=image.root.to_json())
    attach(upstream, "team/app", image, signature)

    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))

    name = f"{host(upstream)}/team/app"
    changes = [line.split(" (")[0] for line in result["diff"]["after"].splitlines()]
    assert changes == [f"{name}:1 {image.digest}", f"{name}@{signature.digest} {signature.digest}"]


def test_check_mode_lists_archive_of_registry_image_without_its_digest(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"upstreams": settings(upstream), "registry_image": source(upstream)}

    planned = bundle_to(tmp_path / "out", source(upstream), check_mode=True, **options)

    assert planned["diff"][1]["after"] == "registry.tar (known after the copy)\n"
