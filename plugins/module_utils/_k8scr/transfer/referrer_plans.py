# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the copies of the referrers of a task's images, and report those that stay behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from ..errors import InputError, K8scrError, MissingVolumeError
from ..oci.descriptor import Descriptor
from ..oci.graph import walk_digests
from ..oci.interfaces import ImageDestination
from .job import ImageCopy, stays_behind
from .overlay import OverlaySource
from .plan import ImagePlan, plan_images
from .referrer_jobs import ImageReferrers, LeftOut, ReferrerJob, ReferrerJobs, StoredManifest, stored_manifest
from .referrer_lists import ReferrerList
from .referrers import ReferrerSearch, find_referrers
from .report import ImageResult, ReferrersReport
from .schedule import Dependencies
from .texts import counted


@dataclass
class ReferrerPlans:
    """The plans for the referrers of a task's images.

    Attributes:
        plans: The plans of the referrers, which follow the images' plans in the task.
        dependencies: The order of the copies.
        failed: The plans of the images that fail, because only a later task may copy their referrers, by the positions
            of the images.
    """

    plans: list[ImagePlan]
    dependencies: Dependencies
    failed: Mapping[int, ImagePlan]
    _jobs: list[ReferrerJob]
    _images: dict[int, ImageReferrers]

    def collect(
        self,
        results: Sequence[ImageResult],
        left_out: Mapping[int, K8scrError],
        dropped: Set[int],
    ) -> list[ImageResult]:
        """Return the results of a task in the order of its images, each followed by those of its referrers.

        Args:
            results: The results of the images, followed by those of their referrers.
            left_out: The errors of the referrers that stay behind, by the positions of their results.
            dropped: The positions of the referrers that were not copied because their images failed.
        """
        count = len(results) - len(self._jobs)
        copied: dict[int, int] = {}
        listed: dict[int, list[ImageResult]] = {}
        for number, each in enumerate(self._jobs, count):
            if number in left_out:
                self._leave_out(each, left_out[number])
                continue
            if number in dropped and not each.required:
                continue
            if not results[number].error:
                for image, referrers in each.counts.items():
                    copied[image] = copied.get(image, 0) + referrers
            listed.setdefault(next(iter(each.counts)), []).append(results[number])
        ordered = []
        for number, result in enumerate(results[:count]):
            ordered += [self._with_report(number, result, copied.get(number, 0)), *listed.get(number, ())]
        return ordered

    def _with_report(self, number: int, result: ImageResult, copied: int) -> ImageResult:
        left_out = _lines(self._images[number].left_out) if number in self._images else ()
        if result.error or not (copied or left_out):
            return result
        return replace(result, referrers=ReferrersReport(copied, left_out))

    def _leave_out(self, each: ReferrerJob, error: K8scrError) -> None:
        for image, referrers in each.counts.items():
            self._images[image].left_out.append(LeftOut(str(error), referrers))


def plan_referrers(plans: Sequence[ImagePlan], connections: int, check_mode: bool) -> ReferrerPlans:
    """Find and plan the referrers of images, with at most ``connections`` requests at once.

    Raises:
        InputError: Different referrers, which are required, have the same target.
    """
    wanted = [
        ImageReferrers(number, plan, plan.job.copy, plan.job.referrers)
        for number, plan in enumerate(plans)
        if plan.job.copy and plan.job.referrers and plan.wants_referrers
    ]
    with ThreadPoolExecutor(connections) as workers:
        list(workers.map(_prepare, wanted))
    searches = [search for image in wanted for search in (image.search, image.replaced) if search]
    find_referrers(searches, connections)
    for image in wanted:
        _receive(image)
    jobs = ReferrerJobs(plans, wanted, connections).jobs
    images = {image.number: image for image in wanted}
    required = [each for each in jobs if each.required]
    planned = dict(zip(map(id, required), plan_images([each.job for each in required], connections, check_mode)))
    planned.update(_plan_optional([each for each in jobs if not each.required], images, connections, check_mode))
    failed = {
        image.number: _failed(image.plan, image.error) for image in wanted if image.error and not image.is_required
    }
    kept = [each for each in jobs if id(each) in planned and not each.counts.keys() <= failed.keys()]
    dependencies = _dependencies(plans, [image for image in wanted if image.number not in failed], kept)
    return ReferrerPlans([planned[id(each)] for each in kept], dependencies, failed, kept, images)


def _failed(plan: ImagePlan, error: K8scrError) -> ImagePlan:
    """Return the plan of an image that fails together with its referrers."""
    advice = error.advice
    if not isinstance(error, MissingVolumeError):
        again = "Run again. If the error remains, set images[].referrers to false to copy the image without them"
        advice = f"{advice}. {again}" if advice else again
    reason = error.replace(f"its referrers cannot be copied: {error.message}", advice)
    return ImagePlan(plan.job, before=plan.before, error=reason)


def _prepare(image: ImageReferrers) -> None:
    """Prepare the searches for the referrers of an image."""
    wanted, copy = image.wanted, image.copy
    destination = copy.destination
    try:
        if image.is_required and not destination.capabilities.referrers:
            raise InputError(_incapable(destination), "Use oci: or oci-archive: as the destination")
        source = OverlaySource(copy.source)
        for manifest in image.plan.manifests:
            source.add(manifest)
        image.subjects = list(walk_digests(source, copy.image.root))
        image.search = ReferrerSearch(wanted.source, image.subjects)
        if wanted.replaced and not image.is_required:
            image.replaced = ReferrerSearch(wanted.source, [wanted.replaced.digest])
    except K8scrError as error:
        image.error = error


def _receive(image: ImageReferrers) -> None:
    """Take over the results of the searches for the referrers of an image."""
    search, destination = image.search, image.copy.destination
    errors = [image.error] if image.error else []
    errors += search.errors if search else []
    image.error = next(filter(image.fails_after, errors), None)
    if image.error:
        return
    image.left_out += [LeftOut(str(error)) for error in errors]
    if search and not destination.capabilities.referrers:
        image.left_out.append(LeftOut(_incapable(destination), _count(search)))
        search.attached = []
    if image.replaced and image.wanted.replaced:
        reason = f"they refer to {image.wanted.replaced.digest}, of which only the selected platforms are copied"
        image.left_out.append(LeftOut(reason, _count(image.replaced)))


def _incapable(destination: ImageDestination) -> str:
    return f"{destination.description} cannot store referrers"


def _count(search: ReferrerSearch) -> int:
    return sum(attached.count for attached in search.attached)


def _plan_optional(
    jobs: Sequence[ReferrerJob], images: Mapping[int, ImageReferrers], connections: int, check_mode: bool
) -> dict[int, ImagePlan]:
    """Return the plans for referrers, by the ids of their jobs, without those that stay behind.

    The source must have all blobs: the task does not fail without a referrer, but a copy that fails takes time. A
    referrer that a later task may copy fails together with its image, so that this task copies both. If a volume is
    missing, the copy fails after the blobs at hand.
    """
    planned = {}
    plans = plan_images([each.job for each in jobs], connections, check_sources=True)
    for each, first_plan in zip(jobs, plans):
        plan = first_plan
        if _is_lost(plan) and each.referrers and each.job.copy and len(each.referrers.entries) > 1:
            plan = _plan_readable(each, each.referrers, each.job.copy, images, connections) or plan
        if isinstance(plan.error, MissingVolumeError) and not check_mode:
            (plan,) = plan_images([each.job], connections, check_sources=False)
        if plan.error is None:
            planned[id(each)] = plan
            continue
        for image, count in each.counts.items():
            if stays_behind(plan.error):
                images[image].left_out.append(LeftOut(str(plan.error), count))
            else:
                images[image].error = images[image].error or plan.error
    return planned


def _is_lost(plan: ImagePlan) -> bool:
    """Whether a referrer stays behind."""
    return plan.error is not None and stays_behind(plan.error)


def _plan_readable(
    each: ReferrerJob, listed: ReferrerList, copy: ImageCopy, images: Mapping[int, ImageReferrers], connections: int
) -> ImagePlan | None:
    """Return the plan for a list without the referrers that cannot be copied; ``None`` if none can be copied."""
    jobs = [
        replace(each.job, copy=replace(copy, image=replace(copy.image, root=Descriptor.from_json(entry)), tag=None))
        for entry in listed.entries
    ]
    errors = {
        job.copy.image.root.digest: plan.error
        for job, plan in zip(jobs, plan_images(jobs, connections, check_sources=True))
        if job.copy and plan.error and _is_lost(plan)
    }
    if len(errors) in (0, len(jobs)):
        return None
    listed.leave_out(errors.keys())
    each.update()
    for image in each.counts:
        each.counts[image] = max(each.counts[image] - len(errors), 0)
        images[image].left_out += [LeftOut(str(error), 1) for error in errors.values()]
    return plan_images([each.job], connections, check_sources=True)[0]


def _dependencies(
    plans: Sequence[ImagePlan], images: Sequence[ImageReferrers], jobs: Sequence[ReferrerJob]
) -> Dependencies:
    """Return the order of the copies. In stores that are committed, referrers may precede their subjects."""
    stored: dict[StoredManifest, set[int]] = {}
    for image in images:
        for digest in image.subjects:
            stored.setdefault(stored_manifest(image.copy.destination, digest), set()).add(image.number)
    for number, each in enumerate(jobs, len(plans)):
        for key in each.stores:
            stored.setdefault(key, set()).add(number)
    parents, owners = {}, {}
    for number, each in enumerate(jobs, len(plans)):
        copy = each.job.copy
        if copy and each.job.subject:
            owners[number] = tuple(each.counts)
            if not copy.destination.capabilities.commits:
                subject = stored_manifest(copy.destination, each.job.subject)
                parents[number] = frozenset(stored.get(subject, ())) - {number}
    optional = frozenset(number for number, each in enumerate(jobs, len(plans)) if not each.required)
    return Dependencies(parents, owners, optional)


def _lines(left_out: Sequence[LeftOut]) -> tuple[str, ...]:
    """Return a line for each reason, with the number of referrers where it is known."""
    counts: dict[str, int] = {}
    for each in left_out:
        counts[each.reason] = counts.get(each.reason, 0) + (each.count or 0)
    known = {each.reason for each in left_out if each.count is not None}
    return tuple(
        f"{counted(count, 'referrer')}: {reason}" if count else reason
        for reason, count in counts.items()
        if count or reason not in known
    )
