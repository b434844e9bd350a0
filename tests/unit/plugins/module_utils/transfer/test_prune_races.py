# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prunes during pushes, new workloads and failures: every image that stays is whole, and the result is true."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import cosign_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.inventories import use
from unit.plugins.module_utils.support.prunes import Workloads, prune_registry, tags_in
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response

BEFORE, AFTER = 0, 1
"""The lists of workloads: before tags are deleted, and afterwards."""


@pytest.fixture
def server(server: RegistryServer, image: Image, other_image: Image) -> RegistryServer:
    """A registry with the images ``new`` and ``old``, which deletes as distribution 3 does."""
    server.delete = registry_deletion.by_tag
    server.fill("api", "new", image)
    server.fill("api", "old", other_image)
    return server


def is_whole(server: RegistryServer, image: Image) -> bool:
    """Return whether the repository has all of an image."""
    stored = {**server.blobs["api"], **{name: content for name, (_type, content) in server.manifests["api"].items()}}
    return all(stored.get(digest) == content for digest, content in image.contents.items())


def reasons(result: dict[str, Any]) -> dict[str, list[str]]:
    """Return the reasons of the names that stay."""
    return {entry["image"]: entry["reasons"] for entry in result["kept"]}


def test_image_is_restored_if_workload_starts_during_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, other_image: Image
) -> None:
    [signature] = [tag for tag in cosign_tags(other_image.digest) if tag.endswith(".sig")]
    server.fill("api", signature, make_image(layer("sig", b"signed")))
    workloads = Workloads([], [use("example.com/api:old")])

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert tags_in(server, "api") == {"new", "old", signature}
    assert is_whole(server, other_image)
    assert reasons(result)["api:old"] == ["used by Deployment team/app"]
    assert result["images"] == []
    assert result["images_space_reclaimed"] == 0


def test_image_without_tag_is_protected_if_workload_starts_during_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector
) -> None:
    untagged = make_image(layer("bin/app", b"by digest"))
    server.fill("api", None, untagged)

    result = prune_registry(
        registry, collector, Workloads([], [use(f"example.com/api@{untagged.digest}")]), keep=["*:new"]
    )

    assert result["protected"] == [f"api:{digest_tag(untagged.digest)}"]
    assert is_whole(server, untagged)


def test_unreadable_image_without_tag_prevents_collection_if_workload_starts_during_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector
) -> None:
    untagged = make_image(layer("bin/app", b"by digest"))
    server.fill("api", None, untagged)
    server.fail("HEAD", f"manifests/{untagged.digest}", error_response(500, "UNKNOWN"))
    workloads = Workloads([], [use(f"example.com/api@{untagged.digest}")])

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert result["failed"] is True
    assert (
        f"cannot be read, and a garbage collection would fail or delete their content: api@{untagged.digest}"
        in (result["msg"])
    )
    assert "Garbage was not collected. Push these images again" in result["msg"]
    assert collector.runs == 0
    assert is_whole(server, untagged)


def test_restored_tag_does_not_replace_newer_push(
    server: RegistryServer, registry: Registry, collector: FakeCollector
) -> None:
    pushed = make_image(layer("bin/app", b"pushed meanwhile"))
    workloads = Workloads([], [use("example.com/api:old")])
    workloads.listed = lambda number: server.fill("api", "old", pushed) if number == AFTER else None

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert result["failed"] is True
    assert "Another client moved the tag" in result["msg"]
    assert server.digest_of("api", "old") == pushed.digest
    assert collector.runs == 0


def test_prune_names_tag_in_use_that_cannot_be_restored(
    server: RegistryServer, registry: Registry, collector: FakeCollector
) -> None:
    workloads = Workloads([], [use("example.com/api:old")])
    full = error_response(507, "UNKNOWN", "no space left on device")
    workloads.listed = lambda number: server.fail("PUT", "manifests/old", full) if number == AFTER else None

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert result["failed"] is True
    assert "api:old was deleted, it is used by Deployment team/app since then, and cannot be restored" in result["msg"]
    assert "no space left on device" in result["msg"]
    assert collector.runs == 0


def test_prune_restores_other_tags_if_one_cannot_be_restored(
    server: RegistryServer, registry: Registry, collector: FakeCollector, other_image: Image
) -> None:
    server.fill("api", "older", other_image)
    workloads = Workloads([], [use("example.com/api:old"), use("example.com/api:older")])
    full = error_response(507, "UNKNOWN", "no space left on device")
    workloads.listed = lambda number: server.fail("PUT", "manifests/old", full, times=1) if number == AFTER else None

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    deleted = {entry["image"] for entry in result["images"]}
    assert len(result["errors"]) == len(deleted) == 1
    assert set(server.manifests["api"]) & {"old", "older"} == {"old", "older"} - {
        name.removeprefix("api:") for name in deleted
    }
    assert collector.runs == 0


def test_image_deleted_by_digest_is_reported_if_workload_starts_during_deletion(
    server: RegistryServer, registry: Registry
) -> None:
    collector = FakeCollector(server, "distribution 2.8")

    result = prune_registry(registry, collector, Workloads([], [use("example.com/api:old")]), keep=["*:new"])

    assert result["failed"] is True
    assert "api:old was deleted, and it is used by Deployment team/app since then. Push api:old again" in result["msg"]
    assert collector.runs == 0


@pytest.mark.parametrize("kind", ["distribution 3", "distribution 2.8"])
def test_tag_that_moves_during_prune_stays(server: RegistryServer, registry: Registry, kind: str) -> None:
    collector = FakeCollector(server, kind)
    pushed = make_image(layer("bin/app", b"pushed meanwhile"))
    workloads = Workloads()
    workloads.listed = lambda number: server.fill("api", "old", pushed) if number == BEFORE else None

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert is_whole(server, pushed)
    assert server.digest_of("api", "old") == pushed.digest
    assert result["images"] == []
    assert reasons(result)["api:old"] == ["its tag was moved to another image meanwhile"]


@pytest.mark.parametrize("kind", ["distribution 3", "distribution 2.8"])
def test_image_that_is_pushed_again_during_prune_stays(
    server: RegistryServer, registry: Registry, other_image: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    workloads = Workloads()
    workloads.listed = lambda number: server.fill("api", "again", other_image) if number == BEFORE else None

    prune_registry(registry, collector, workloads, keep=["*:new"])

    assert server.digest_of("api", "again") == other_image.digest
    assert is_whole(server, other_image)


def test_signature_of_image_that_is_pushed_during_prune_stays(
    server: RegistryServer, registry: Registry, collector: FakeCollector
) -> None:
    pushed = make_image(layer("bin/app", b"pushed meanwhile"))
    [signature] = [tag for tag in cosign_tags(pushed.digest) if tag.endswith(".sig")]
    # A list of several pages can have the signature and lack the image.
    server.fill("api", signature, make_image(layer("sig", b"signed")))
    workloads = Workloads()
    workloads.listed = lambda number: server.fill("api", "pushed", pushed) if number == BEFORE else None

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert tags_in(server, "api") == {"new", "pushed", signature}
    assert reasons(result)[f"api:{signature}"][0].startswith("images were pushed to the repository meanwhile")


def test_failed_deletion_ends_prune_and_reports_deleted_images(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    for number in range(10):
        server.fill("api", f"old{number}", other_image)
    server.fail("DELETE", "manifests/old7$", error_response(500, "UNKNOWN"))

    result = prune_registry(registry, collector, keep=["*:new"])

    left = tags_in(server, "api")
    assert result["failed"] is True
    assert "tag old7" in result["msg"]
    assert {entry["image"] for entry in result["images"]} == {f"api:{tag}" for tag in {*OLD, "old"} - left}
    assert set(reasons(result)) == {f"api:{tag}" for tag in left}
    assert "old7" in left
    assert collector.runs == 0
    assert is_whole(server, image)


OLD = {f"old{number}" for number in range(10)}


def test_failed_list_of_workloads_after_deletion_prevents_collection(
    server: RegistryServer, registry: Registry, collector: FakeCollector, other_image: Image
) -> None:
    workloads = Workloads()

    def hide(number: int) -> None:
        workloads.unseen = (Unseen("Pod", "pods is forbidden"),) if number == AFTER else ()

    workloads.listed = hide

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert result["failed"] is True
    assert [entry["image"] for entry in result["images"]] == ["api:old"]
    assert collector.runs == 0
    assert is_whole(server, other_image)


def test_failed_collection_is_reported_with_deleted_images(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image
) -> None:
    collector.error = RegistryError("garbage collection failed: no space left")

    result = prune_registry(registry, collector, keep=["*:new"])

    assert result["msg"].splitlines() == [
        "garbage collection failed: no space left",
        "Tags deleted before: 1. All images that the rules kept at the start are unchanged.",
    ]
    assert result["changed"] is True
    assert result["collected"] == {}
    assert [entry["image"] for entry in result["images"]] == ["api:old"]
    collector.error = None
    again = prune_registry(registry, collector, keep=["*:new"])
    assert again["collected"]["after"] == image.size


def test_prune_that_was_interrupted_continues_on_distribution_2(
    server: RegistryServer, registry: Registry, multi: Image, image: Image
) -> None:
    collector = FakeCollector(server, "distribution 2.8")
    server.fill("api", "multi", multi)
    server.fail("DELETE", multi.digest, error_response(500, "UNKNOWN"), times=3)

    first = prune_registry(registry, collector, keep=["*:new"])
    second = prune_registry(registry, collector, keep=["*:new"])

    assert first["failed"] is True
    assert "failed" not in second
    assert collector.stored_bytes() == image.size


def test_taken_tag_of_collection_is_not_moved(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image
) -> None:
    untagged = make_image(layer("bin/app", b"by digest"))
    server.fill("api", None, untagged)
    server.fill("api", digest_tag(untagged.digest), image)
    workloads = Workloads([use(f"example.com/api@{untagged.digest}")])

    result = prune_registry(registry, collector, workloads, keep=["*:new", "*:k8scr-*"])

    assert result["failed"] is True
    assert f"because {image.digest} has it" in result["msg"]
    assert server.digest_of("api", digest_tag(untagged.digest)) == image.digest
    assert collector.runs == 0
    assert is_whole(server, untagged)


@pytest.mark.parametrize("kind", ["distribution 3", "distribution 2.8"])
def test_prune_deletes_before_it_writes_because_disk_may_be_full(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    untagged = make_image(layer("bin/app", b"by digest"))
    server.fill("api", None, untagged)
    server.fill("api", "alias", image)
    workloads = Workloads([use(f"example.com/api@{untagged.digest}")])

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    paths = [str(request) for request in server.requests]
    deletion = {f"DELETE /v2/api/manifests/{reference}" for reference in ("old", other_image.digest)}
    first = next(number for number, path in enumerate(paths) if path in deletion)
    assert first < min(number for number, path in enumerate(paths) if path.startswith("PUT"))
    assert result["protected"] == [f"api:{digest_tag(untagged.digest)}"]
