# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Share blobs between the plans of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .plan import Action, BlobStep, ImagePlan, StepId, can_be_mounted


def share_blobs(plans: Sequence[ImagePlan]) -> list[ImagePlan]:
    """Copy each blob once to a store, and mount it in its other repositories. The plans are executed in this order."""
    first_in_store: dict[tuple[int, str, int, bool], StepId] = {}
    first_in_repository: dict[tuple[int, str, int, bool, str], StepId] = {}
    shared = []
    for image, plan in enumerate(plans):
        destination = plan.job.copy.destination if plan.job.copy else None
        if destination is None:
            shared.append(plan)
            continue
        steps = []
        for number, step in enumerate(plan.steps):
            # A layer and its compressed form are different blobs. If a digest has two sizes, one of them is wrong,
            # and only the blob's content shows which.
            key = (id(destination.store), step.descriptor.digest, step.descriptor.size, step.unknown)
            this = StepId(image, number)
            same = first_in_repository.setdefault((*key, destination.repository), this)
            steps.append(_share(step, this, same, first_in_store.setdefault(key, this)))
        shared.append(replace(plan, steps=tuple(steps)))
    return shared


def _share(step: BlobStep, this: StepId, same: StepId, origin: StepId) -> BlobStep:
    if step.action is Action.PRESENT:
        return step
    if same != this:
        return replace(step, action=Action.PRESENT, waits_for=same)
    if origin != this and not step.mount_from and can_be_mounted(step.descriptor):
        return replace(step, action=Action.MOUNTED, waits_for=origin)
    return step
