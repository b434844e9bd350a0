# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Used images that a registry does not list, and the use of images in results."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse, Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory, take_inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import match_usage, with_used_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage_report import (
    report_usage,
    report_users,
)
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer


def use(image: str, running: str | None = None, kind: str = "Deployment", rollback: bool = False) -> ImageUse:
    """Return the use of an image by the workload ``web``; ``running`` is the digest that the runtime reports."""
    return ImageUse(image, running, kind, "apps", "web", rollback)


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

    assert server.received("HEAD") == [f"HEAD /v2/{'a' * 250}/manifests/1"]


def test_workload_with_several_uses_is_reported_once() -> None:
    uses = [
        use("web:1", kind="ReplicaSet", rollback=True),
        use("web:1", running="sha256:5a", kind="ReplicaSet"),
        use("web:1"),
    ]

    assert report_users(uses) == [
        {"kind": "ReplicaSet", "namespace": "apps", "name": "web", "rollback": False},
        {"kind": "Deployment", "namespace": "apps", "name": "web", "rollback": False},
    ]


def test_report_has_missing_and_unused_images(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/api", "1", image)
    uses = [use("team/api:2", kind="ReplicaSet", rollback=True)]
    inventory = inventory_with(registry, *uses)

    report = report_usage(match_usage(uses, inventory), inventory.images)

    assert report == {
        "missing": [
            {
                "image": "team/api:2",
                "reason": "the registry does not have team/api:2 or docker.io/team/api:2",
                "used_by": [{"kind": "ReplicaSet", "namespace": "apps", "name": "web", "rollback": True}],
            }
        ],
        "unused": [{"repository": "team/api", "tags": ["1"], "digest": image.digest}],
        "unseen": [],
    }


def test_report_has_no_unused_images_while_kind_is_unseen(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/api", "1", image)
    inventory = inventory_with(registry)

    report = report_usage(match_usage([], inventory, (Unseen("Job", "forbidden"),)), inventory.images)

    assert report == {"missing": [], "unused": [], "unseen": [{"kind": "Job", "reason": "forbidden"}]}
