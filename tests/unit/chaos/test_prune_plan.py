# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The random plans of the campaign of prunes with faults."""

from __future__ import annotations

from typing import Any

import pytest
from chaos.faults import PRUNE_FAULTS
from chaos.prunes.plan import CONCURRENT_REPOSITORY, Phase, Plan, Protection, clean_plan, draw_plan
from chaos.prunes.pool import Image, draw_images


@pytest.fixture(scope="module")
def images() -> tuple[Image, ...]:
    return draw_images(1, 200)


@pytest.fixture(scope="module")
def plans(images: tuple[Image, ...]) -> list[Plan]:
    return [draw_plan(1, number, images) for number in range(200)]


def parameters(plan: Plan) -> list[Any]:
    """Return the parts of a plan that can be compared; faults have only their attributes."""
    faults = [(moment, type(fault), vars(fault)) for moment, fault in plan.faults]
    return [
        plan.latest,
        plan.patterns,
        plan.protections,
        plan.latest_used,
        plan.last,
        plan.orphaned,
        plan.pushes,
        faults,
    ]


def test_images_share_layers_and_have_all_kinds(images: tuple[Image, ...]) -> None:
    used = [layer for image in images for layer in image.content.layers]

    assert len({image.repository for image in images}) == 40
    assert len(set(used)) < len(used) / 2
    assert {len(image.tags) for image in images} == {0, 1, 2}
    assert {len(image.content.platforms) for image in images} == {1, 2}
    assert sum(image.content.has_referrer for image in images) == 40


def test_plan_depends_only_on_seed_and_number(images: tuple[Image, ...], plans: list[Plan]) -> None:
    repeated = draw_plan(1, 117, images)

    assert parameters(repeated) == parameters(plans[117])
    assert parameters(draw_plan(2, 117, images)) != parameters(plans[117])
    assert parameters(draw_plan(1, 118, images)) != parameters(plans[117])


def test_plans_have_all_faults_phases_and_protections(plans: list[Plan]) -> None:
    faults = [(moment, fault) for plan in plans for moment, fault in plan.faults]

    assert {type(fault) for _moment, fault in faults} == set(PRUNE_FAULTS)
    assert {moment.phase for moment, _fault in faults} == set(Phase)
    assert {protection for plan in plans for protection in plan.protections.values()} == set(Protection)
    assert sum(plan.disk_full is not None for plan in plans) >= 10
    assert sum(plan.undisturbed for plan in plans) >= 10
    assert sum(bool(plan.orphaned) for plan in plans) >= 10


def test_plans_protect_images_without_tag_only_by_digest(images: tuple[Image, ...], plans: list[Plan]) -> None:
    untagged = {image.number for image in images if not image.tags}

    assert not any(
        protection == Protection.TAG_USED and number in untagged
        for plan in plans
        for number, protection in plan.protections.items()
    )


def test_plans_use_one_connection_for_all_faults(plans: list[Plan]) -> None:
    for plan in plans:
        assert {fault.connection for _moment, fault in plan.faults} <= {"direct", plan.connection}


def test_plans_push_nothing_while_disk_is_full(plans: list[Plan]) -> None:
    assert not any(plan.pushes for plan in plans if plan.disk_full)
    assert sum(len(plan.pushes) for plan in plans) > 100
    assert all(plan.patterns[0] == CONCURRENT_REPOSITORY for plan in plans)


def test_clean_plan_keeps_rules_and_drops_disturbances(plans: list[Plan]) -> None:
    disturbed = next(plan for plan in plans if plan.faults and plan.pushes)

    clean = clean_plan(disturbed)

    assert clean.undisturbed
    assert parameters(clean)[:6] == parameters(disturbed)[:6]
