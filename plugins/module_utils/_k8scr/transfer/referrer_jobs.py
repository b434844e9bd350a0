# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The jobs for the referrers that a search found, merged over all images of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ..errors import InputError, K8scrError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination, ImageSource, SourceImage
from ..oci.reference import parse_reference
from .job import ImageCopy, ImageJob, ReferrersMode, WantedReferrers, stays_behind
from .plan import ImagePlan
from .referrer_lists import ReferrerList
from .referrers import Attached, ReferrerSearch

StoredManifest = tuple[int, str, str]
"""A store, a repository and a digest."""


@dataclass
class ReferrerJob:
    """A job for a referrer, or for the list of the referrers of one manifest.

    Attributes:
        required: Whether the task fails if it cannot be copied.
        counts: The number of referrers that it copies, by the images that have them. The results list the job after
            the first of these.
        referrers: The list, if it is one.
    """

    job: ImageJob
    required: bool
    counts: dict[int, int]
    referrers: ReferrerList | None = None

    @property
    def stores(self) -> Iterator[StoredManifest]:
        """The manifests that the job stores."""
        if self.job.copy:
            entries = self.referrers.entries if self.referrers else []
            for digest in (self.job.copy.image.root.digest, *(entry["digest"] for entry in entries)):
                yield stored_manifest(self.job.copy.destination, digest)

    def update(self) -> None:
        """Make the job again after the list changed."""
        if self.referrers and self.job.copy:
            source, root = self.referrers.merged()
            self.job = replace(
                self.job, copy=replace(self.job.copy, source=source, image=replace(self.job.copy.image, root=root))
            )


@dataclass(frozen=True)
class LeftOut:
    """Referrers that stay behind.

    Attributes:
        reason: The reason.
        count: Their number; ``None`` if it is unknown.
    """

    reason: str
    count: int | None = None


@dataclass
class ImageReferrers:
    """The referrers of one image of a task.

    Attributes:
        number: The position of the image in the task.
        subjects: The digests of its manifests.
        search: The search for its referrers; ``None`` if it cannot have any.
        replaced: The search for the referrers of the index of which only a part is copied, if any.
        error: The reason why the task fails: required referrers cannot be copied, or a later task may copy them.
        left_out: Those that stay behind.
    """

    number: int
    plan: ImagePlan
    copy: ImageCopy
    wanted: WantedReferrers
    subjects: list[str] = field(default_factory=list)
    search: ReferrerSearch | None = None
    replaced: ReferrerSearch | None = None
    error: K8scrError | None = None
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def is_required(self) -> bool:
        """Whether the task fails if a referrer cannot be copied."""
        return self.wanted.mode is ReferrersMode.ALWAYS

    def fails_after(self, error: K8scrError) -> bool:
        """Whether the task fails after an error of a referrer."""
        return self.is_required or not stays_behind(error)


class ReferrerJobs:
    """Makes the jobs.

    Args:
        plans: The plans of the task's images.
        images: The images whose referrers were searched for.
        connections: The maximum number of concurrent requests.

    Attributes:
        jobs: The jobs, in the order of the images.

    Raises:
        InputError: Different referrers, which are required, have the same target.
    """

    def __init__(self, plans: Sequence[ImagePlan], images: Sequence[ImageReferrers], connections: int) -> None:
        self.jobs: list[ReferrerJob] = []
        self._lists: dict[StoredManifest, ReferrerList] = {}
        # An image or a referrer with the target, and its digest.
        self._targets: dict[str, tuple[ReferrerJob | None, str]] = {}
        for plan in plans:
            if plan.job.copy and plan.job.target:
                self._targets[plan.job.target] = None, plan.job.copy.image.root.digest
        self._look_up_lists(images, connections)
        for image in images:
            if image.error:
                if image.is_required:
                    self._add_error(image, image.error)
                continue
            for attached in image.search.attached if image.search else ():
                self._add_attached(image, attached)

    def _look_up_lists(self, images: Sequence[ImageReferrers], connections: int) -> None:
        of_images = [(image, found) for image in images if image.search for found in image.search.attached]
        for image, attached in of_images:
            if attached.entries and not image.error:
                self._list_of(image, attached).add(image.wanted.source, attached.entries)
        with ThreadPoolExecutor(connections) as workers:
            list(workers.map(ReferrerList.look_up, self._lists.values()))
        for image, attached in of_images:
            if attached.entries and not image.error:
                error = self._list_of(image, attached).error
                image.error = error if error and image.fails_after(error) else None

    def _list_of(self, image: ImageReferrers, attached: Attached) -> ReferrerList:
        key = stored_manifest(image.copy.destination, attached.subject)
        return self._lists.setdefault(key, ReferrerList(image.copy.destination, attached.subject))

    def _add_attached(self, image: ImageReferrers, attached: Attached) -> None:
        source = image.wanted.source
        for tag, descriptor in attached.tags.items():
            self._add(image, _job(image, attached, source, descriptor, tag), 1)
        if not attached.entries:
            return
        listed = self._list_of(image, attached)
        if listed.error:
            image.left_out.append(LeftOut(str(listed.error), len(attached.entries)))
        elif listed.before is None:
            for entry in attached.entries:
                self._add(image, _job(image, attached, source, Descriptor.from_json(entry), None), 1)
        else:
            try:
                merged = listed.merged()
            except K8scrError as error:
                self._leave_out(image, error, len(attached.entries))
                return
            self._add(image, _job(image, attached, *merged, listed.tag), len(attached.entries), listed)

    def _leave_out(self, image: ImageReferrers, error: K8scrError, count: int) -> None:
        if image.is_required:
            self._add_error(image, error)
        else:
            image.left_out.append(LeftOut(str(error), count))

    def _add(self, image: ImageReferrers, job: ImageJob, count: int, listed: ReferrerList | None = None) -> None:
        """Add a job, unless the task has it. A referrer may belong to several images."""
        new = ReferrerJob(job, image.is_required, {image.number: count}, listed)
        digest = job.copy.image.root.digest if job.copy else ""
        same, known = self._targets.setdefault(str(job.target), (new, digest))
        if same is new:
            self.jobs.append(new)
        elif known != digest:
            reason = f"{job.name} would be written to {job.target}, like another image"
            if image.is_required:
                raise InputError(reason, "Use two destinations")
            image.left_out.append(LeftOut(reason, count))
        elif same:
            same.required = same.required or image.is_required
            same.counts[image.number] = same.counts.get(image.number, 0) + count

    def _add_error(self, image: ImageReferrers, error: K8scrError) -> None:
        job = image.plan.job
        name = f"referrers of {job.name}"
        failed = replace(job, name=name, copy=None, target=None, error=error, locked_as=None, referrers=None)
        self.jobs.append(ReferrerJob(failed, True, {image.number: 0}))


def stored_manifest(destination: ImageDestination, digest: str) -> StoredManifest:
    """Return the key of a manifest at a destination."""
    return id(destination.store), destination.repository, digest


def _job(
    image: ImageReferrers, attached: Attached, source: ImageSource, descriptor: Descriptor, tag: str | None
) -> ImageJob:
    job, copy = image.plan.job, image.copy
    name = replace(parse_reference(job.name), tag=tag, digest=None if tag else descriptor.digest)
    target = image.wanted.target_of(tag or descriptor.digest)
    found = SourceImage(descriptor, sparse=copy.image.sparse)
    referrer = ImageCopy(source, found, copy.destination, tag, copy.neighbors)
    return ImageJob(str(name), referrer, target, job.source, {**job.facts, "tag": tag}, attached.subject)
