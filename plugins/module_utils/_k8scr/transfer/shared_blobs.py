# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Share blobs between the plans of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from types import MappingProxyType

from ..errors import K8scrError
from ..oci.interfaces import ImageDestination
from .plan import Action, BlobStep, ImagePlan, StepId, can_be_mounted

NO_PARENTS: Mapping[int, Set[int]] = MappingProxyType({})
BlobKey = tuple[int, str, int, bool]
"""A store, a digest, a size, and whether the blob is still to be compressed."""


def share_blobs(plans: Sequence[ImagePlan], parents: Mapping[int, Set[int]] = NO_PARENTS) -> list[ImagePlan]:
    """Copy each blob once to a store, and mount it in its other repositories. The plans are executed in this order.

    Args:
        parents: The plans that precede a referrer. Such a referrer may start before other plans, so it shares blobs
            only with its parent and with other referrers of the same parents.
    """
    known: dict[Set[int], _KnownBlobs] = {}
    shared = []
    for image, plan in enumerate(plans):
        destination = plan.job.copy.destination if plan.job.copy else None
        if destination is None:
            shared.append(plan)
            continue
        before = parents.get(image, frozenset())
        group = before if all(plans[parent].changes for parent in before) else frozenset()
        if group not in known:
            known[group] = _KnownBlobs()
            for parent in group if len(group) == 1 else ():
                known[group].add_all(parent, shared[parent], destination)
        shared.append(known[group].add_all(image, plan, destination))
    return shared


class _KnownBlobs:
    """The first steps for blobs, in each store and in each repository."""

    def __init__(self) -> None:
        self._in_store: dict[BlobKey, StepId] = {}
        self._in_repository: dict[tuple[BlobKey, str], StepId] = {}

    def add_all(self, image: int, plan: ImagePlan, destination: ImageDestination) -> ImagePlan:
        """Add the steps of a plan, and return the plan with steps that wait for earlier steps.

        The returned plan has an error if a sparse source omits a blob that no store and no earlier step has.
        """
        error = next(filter(None, (self._omission(plan, step, destination) for step in plan.steps)), None)
        if error:
            return ImagePlan(plan.job, before=plan.before, error=error)
        steps = []
        for number, step in enumerate(plan.steps):
            key = _key(step, destination)
            this = StepId(image, number)
            same = self._in_repository.setdefault((key, destination.repository), this)
            steps.append(_share(step, this, same, self._in_store.setdefault(key, this)))
        return replace(plan, steps=tuple(steps))

    def _omission(self, plan: ImagePlan, step: BlobStep, destination: ImageDestination) -> K8scrError | None:
        sparse = plan.image.sparse if plan.image else None
        if sparse is None or step.action is not Action.SENT or _key(step, destination) in self._in_store:
            return None
        return sparse.omission(step.at_source)


def _key(step: BlobStep, destination: ImageDestination) -> BlobKey:
    # A layer and its compressed form are different blobs. If a digest has two sizes, one of them is wrong, and only the
    # blob's content shows which.
    return id(destination.store), step.descriptor.digest, step.descriptor.size, step.unknown


def _share(step: BlobStep, this: StepId, same: StepId, origin: StepId) -> BlobStep:
    if step.action is Action.PRESENT:
        return step
    if same != this:
        return replace(step, action=Action.PRESENT, waits_for=same)
    if origin != this and not step.mount_from and can_be_mounted(step.descriptor):
        return replace(step, action=Action.MOUNTED, waits_for=origin)
    return step
