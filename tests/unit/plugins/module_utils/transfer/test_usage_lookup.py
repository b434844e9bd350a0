# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Used images that a registry does not list, and the use of images in results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse, Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import Reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory_reader import take_inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.presence import WantedImage, missing_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import (
    Usage,
    match_usage,
    with_used_images,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage_report import (
    report_missing,
    report_unused,
    report_users,
)
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.inventories import use
from unit.plugins.module_utils.support.registry_server import RegistryServer

OTHER = f"sha256:{'5a' * 32}"


def inventory_with(registry: Registry, *uses: ImageUse) -> Inventory:
    """Return the inventory of a registry, including the used images that it does not list."""

    def read(references: Sequence[tuple[str, str]]) -> Inventory:
        return take_inventory(registry, 4, repositories=(), references=references)

    return with_used_images(take_inventory(registry, 4), uses, read)


def test_used_image_without_tag_is_found(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/api", "1", other_image)
    server.fill("team/api", None, image)

    inventory = inventory_with(registry, use("team/api:1", running=image.digest))

    assert {found.root.digest: found.tags for found in inventory.images} == {
        image.digest: (),
        other_image.digest: ("1",),
    }
    assert all(found.complete and found.manifests for found in inventory.images)
    assert inventory.unreadable == ()


def test_child_and_config_of_listed_image_are_no_further_images(
    server: RegistryServer, registry: Registry, multi: Image
) -> None:
    server.fill("team/api", "1", multi)
    child = multi.manifest["manifests"][0]["digest"]

    inventory = inventory_with(registry, use(f"team/api@{child}"), use("team/api:1", running=child))

    assert [found.root.digest for found in inventory.images] == [multi.digest]


def test_unknown_digest_is_missing(server: RegistryServer, registry: Registry, image: Image, multi: Image) -> None:
    server.fill("team/api", "1", image)
    uses = [use(f"team/api@{multi.digest}")]

    usage = match_usage(uses, inventory_with(registry, *uses))

    assert [missing.image for missing in usage.missing] == [f"team/api@{multi.digest}"]


def test_too_long_repository_is_not_requested(server: RegistryServer, registry: Registry) -> None:
    name = f"registry.example.com/{'a' * 250}:1"

    inventory_with(registry, use(name))

    assert set(server.received("HEAD")) == {f"HEAD /v2/{'a' * 250}/manifests/1"}


def test_workload_with_several_uses_is_reported_once() -> None:
    uses = [
        use("web:1", kind="ReplicaSet", rollback=True),
        use("web:1", running="sha256:5a", kind="ReplicaSet"),
        use("web:1"),
    ]

    assert report_users(uses) == [
        {"kind": "ReplicaSet", "namespace": "team", "name": "app", "rollback": False},
        {"kind": "Deployment", "namespace": "team", "name": "app", "rollback": False},
    ]


def reported(
    inventory: Inventory, usage: Usage | None, qualify: bool = False, select: Callable[[str], bool] | None = None
) -> list[dict[str, Any]]:
    """Return the entries of missing images, of which the task names team/api:2 and team/api:1 with another digest."""
    wanted = [
        WantedImage(Reference("quay.io", "team/api", "2"), "team/api"),
        WantedImage(Reference("quay.io", "team/api", "1"), "team/api", OTHER),
    ]
    return report_missing(missing_images(wanted, inventory), usage, qualify, select)


def test_image_that_task_and_workload_name_is_missing_once(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/api", "1", image)
    uses = [use("team/api:2", kind="ReplicaSet", rollback=True), use("team/api:1")]
    inventory = inventory_with(registry, *uses)

    assert reported(inventory, match_usage(uses, inventory)) == [
        {
            "name": "quay.io/team/api:2",
            "repository": "team/api",
            "digest": None,
            "stored": None,
            "reason": "the registry does not have team/api:2",
            "used_by": [{"kind": "ReplicaSet", "namespace": "team", "name": "app", "rollback": True}],
        },
        {
            "name": "quay.io/team/api:1",
            "repository": "team/api",
            "digest": OTHER,
            "stored": image.digest,
            "reason": f"the registry has {image.digest} under this name",
            "used_by": [{"kind": "Deployment", "namespace": "team", "name": "app", "rollback": False}],
        },
    ]


@pytest.mark.parametrize(("qualify", "repository"), [(False, "library/db"), (True, "docker.io/library/db")])
def test_missing_image_of_workload_has_repository_and_digest(qualify: bool, repository: str) -> None:
    usage = match_usage([use(f"db@{OTHER}")], Inventory())

    entry = reported(Inventory(), usage, qualify)[-1]

    assert entry["name"] == f"db@{OTHER}"
    assert entry["repository"] == repository
    assert entry["digest"] == OTHER
    assert entry["reason"] == f"the registry does not have library/db@{OTHER} or docker.io/library/db@{OTHER}"


def test_invalid_name_of_workload_has_no_repository() -> None:
    entry = reported(Inventory(), match_usage([use("Not valid")], Inventory()))[-1]

    assert (entry["name"], entry["repository"], entry["digest"]) == ("Not valid", None, None)
    assert "is not a valid image name" in entry["reason"]


def test_missing_images_of_workloads_are_those_of_selected_repositories() -> None:
    usage = match_usage([use("quay.io/other/db:1"), use("other/db:2"), use("Not valid")], Inventory())

    entries = reported(Inventory(), usage, select=lambda repository: repository == "quay.io/other/db")

    assert [entry["name"] for entry in entries] == ["quay.io/team/api:2", "quay.io/team/api:1", "quay.io/other/db:1"]


def test_missing_images_without_usage_are_those_of_task() -> None:
    assert [(entry["name"], entry["used_by"]) for entry in reported(Inventory(), None)] == [
        ("quay.io/team/api:2", []),
        ("quay.io/team/api:1", []),
    ]


def test_unused_images_are_reported(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/api", "1", image)
    inventory = inventory_with(registry)

    assert report_unused(match_usage([], inventory), inventory.images) == {
        "unused": [{"repository": "team/api", "tags": ["1"], "digest": image.digest}],
        "unseen": [],
    }


def test_no_image_is_reported_as_unused_while_kind_is_unseen(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/api", "1", image)
    inventory = inventory_with(registry)

    report = report_unused(match_usage([], inventory, (Unseen("Job", "forbidden"),)), inventory.images)

    assert report == {"unused": [], "unseen": [{"kind": "Job", "reason": "forbidden"}]}
