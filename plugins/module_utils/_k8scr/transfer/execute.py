# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the images of a task: plan the images and their referrers, and execute the plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import K8scrError
from .execution import Execution
from .job import ImageJob
from .listener import Listener
from .plan import ImagePlan, plan_images
from .report import ImageResult, because_of, fail
from .schedule import Dependencies
from .shared_blobs import share_blobs
from .texts import counted

if TYPE_CHECKING:
    from .referrer_plans import ReferrerPlans


@dataclass(frozen=True)
class Transfer:
    """How to copy the images of a task.

    Attributes:
        connections: The maximum number of concurrent requests to a registry; at least 1.
        check_mode: Whether to stop after planning.
        fail_fast: Whether the first failure ends the task.
        before_copy: Called with all plans, also in check mode; an error that it raises fails the images to copy.
    """

    connections: int
    check_mode: bool = False
    fail_fast: bool = False
    before_copy: Callable[[Sequence[ImagePlan]], None] | None = None

    def run(self, jobs: Sequence[ImageJob], listener: Listener | None = None) -> list[ImageResult]:
        """Copy images and return their results, in the order of the jobs; failures are results too."""
        listener = listener or Listener()
        listener.phase_started(f"checking {counted(len(jobs), 'image')}")
        images = plan_images(jobs, self.connections, self.check_mode)
        plans = share_blobs(images)
        referrers = self._plan_referrers(plans, listener)
        dependencies = referrers.dependencies if referrers else Dependencies()
        if referrers:
            images = [referrers.failed.get(number, plan) for number, plan in enumerate(images)]
            plans = share_blobs([*images, *referrers.plans], dependencies.parents)
        for plan in plans:
            listener.image_planned(plan)
        results = [ImageResult(plan, plan.root, plan.blobs, plan.error) for plan in plans]
        changing = [number for number, plan in enumerate(plans) if plan.changes]
        failed = next((plan for plan in plans if plan.error), None)
        if self.fail_fast and failed:
            fail(results, changing, because_of(failed))
            changing = []
        elif changing and self.before_copy:
            listener.phase_started("preparing the copy")
            try:
                self.before_copy(plans)
            except K8scrError as error:
                fail(results, changing, error)
                changing = []
        execution = Execution(plans, results, dependencies, self.connections, self.fail_fast, listener)
        if not self.check_mode:
            if changing:
                listener.copy_started()
            execution.run(changing)
        if referrers:
            results = referrers.collect(results, execution.left_out, execution.dropped)
        listener.transfer_done(results, self.check_mode)
        return results

    def _plan_referrers(self, images: Sequence[ImagePlan], listener: Listener) -> ReferrerPlans | None:
        """Find and plan the referrers of the images; ``None`` if none are wanted."""
        ends = self.fail_fast and any(plan.error for plan in images)
        count = sum(plan.wants_referrers for plan in images)
        if ends or not count:
            return None
        listener.phase_started(f"looking for referrers of {counted(count, 'image')}")
        from .referrer_plans import plan_referrers

        return plan_referrers(images, self.connections, self.check_mode)
