# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images of a registry are used by Pods whose images an admission policy rewrote."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import match_usage
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.inventories import stored, use, used_tags

REWRITTEN = "localhost:30501/team/api:1"


def rewritten(original: str | None, name: str = "app") -> ImageUse:
    """Return the use by a Pod that an admission policy rewrote."""
    return replace(use(REWRITTEN, name=name), original=original)


def test_missing_image_of_rewritten_pod_has_original_name() -> None:
    usage = match_usage([rewritten("quay.io/team/api:1")], Inventory())

    (missing,) = usage.missing
    assert missing.image == "quay.io/team/api:1"
    assert missing.reason == "the registry does not have team/api:1"
    assert missing.references == (("team/api", "1"), ("quay.io/team/api", "1"))


def test_template_and_its_rewritten_pods_are_one_missing_image() -> None:
    uses = [use("quay.io/team/api:1"), rewritten("quay.io/team/api:1", "pod"), use("docker.io/team/api:1")]

    usage = match_usage(uses, Inventory())

    assert [(each.image, [user.name for user in each.uses]) for each in usage.missing] == [
        ("docker.io/team/api:1", ["app"]),
        ("quay.io/team/api:1", ["app", "pod"]),
    ]
    assert usage.missing[1].reason == "the registry does not have team/api:1 or quay.io/team/api:1"


def test_rewritten_pod_misses_image_that_registry_has_under_other_repository() -> None:
    inventory = Inventory(images=(stored("quay.io/team/api", "api", "1"),))

    usage = match_usage([use("quay.io/team/api:1"), rewritten("quay.io/team/api:1")], inventory)

    assert [each.reason for each in usage.missing] == ["the registry does not have team/api:1"]


@given(st.lists(st.sampled_from([None, "team/api:1", "quay.io/team/api:1", "evil.example/team/api:1"]), max_size=4))
def test_annotations_do_not_change_which_images_are_used(originals: list[str | None]) -> None:
    images = (
        stored("team/api", "delivered api", "1"),
        stored("quay.io/team/api", "api", "1"),
        stored("team/web", "web", "1"),
    )
    uses = [rewritten(original) for original in originals]

    usage = match_usage(uses, Inventory(images=images))

    assert used_tags(usage, Inventory(images=images)) == ({"team/api:1"} if originals else set())
    assert usage.missing == ()
