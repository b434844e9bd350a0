# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The execution of plans: blobs are copied first, then manifests, then tags, for many images at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from ..errors import (
    DestinationError,
    ErrorResponseError,
    K8scrError,
    MissingContentError,
    MissingVolumeError,
)
from ..oci.descriptor import Descriptor
from ..oci.interfaces import DestinationStore
from ..oci.manifest import Manifest
from .blob_copy import copy_blob
from .job import ImageCopy, stays_behind
from .listener import Listener
from .plan import IMAGES_PER_CONNECTION, Action, BlobResult, BlobStep, ImagePlan, StepId, plan_again
from .report import ImageResult, ReferrersReport, because_of, fail
from .schedule import Dependencies, Schedule
from .slots import Slots

_MOST_NEW_PLANS = 3
"""New plans for one image whose content vanishes from the destination during the copy."""


@dataclass
class _Store:
    """A store of the task, with its images that the task copies.

    Attributes:
        unfinished: The images that are not copied yet.
        ended: Whether the store was committed or abandoned.
    """

    store: DestinationStore
    images: list[int] = field(default_factory=list)
    unfinished: set[int] = field(default_factory=set)
    ended: bool = False

    def add(self, image: int) -> None:
        self.images.append(image)
        self.unfinished.add(image)


class Execution:
    """The execution of the plans of a task. It replaces the planned results with the final results.

    Attributes:
        left_out: The errors of the referrers that stay behind, by their numbers.
        dropped: The referrers that were not copied because their images failed.
    """

    def __init__(
        self,
        plans: Sequence[ImagePlan],
        results: list[ImageResult],
        dependencies: Dependencies,
        connections: int,
        fail_fast: bool,
        listener: Listener,
    ) -> None:
        self._plans = plans
        self._copies = {number: plan.job.copy for number, plan in enumerate(plans) if plan.job.copy}
        self._results = results
        self._dependencies = dependencies
        self._connections = connections
        self._fail_fast = fail_fast
        self._listener = listener
        self.left_out: dict[int, K8scrError] = {}
        self.dropped = set[int]()
        self._failed_referrers: dict[int, int] = {}
        """A failed optional referrer of each image that gets no tag because of it."""
        self._slots = Slots(connections)
        """A copy of a blob and the storing of manifests each use one. Threads that wait for other threads use none."""
        self._workers: ThreadPoolExecutor
        """Copies the blobs."""
        self._futures: dict[StepId, Future[BlobResult]] = {}
        self._done: dict[StepId, BlobResult] = {}
        self._waiting = set(range(len(plans)))
        """The images whose results the listener has not received."""
        self._stores: dict[int, _Store] = {}
        self._lock = threading.Lock()

    def run(self, numbers: Sequence[int]) -> None:
        """Execute the plans with these numbers, commit the stores, and report the results to the listener."""
        for number in numbers:
            store = self._copies[number].destination.store
            self._stores.setdefault(id(store), _Store(store)).add(number)
        try:
            self._copy_images(numbers)
        except BaseException:
            for each in self._stores.values():
                if not each.ended:
                    each.store.abandon(resumable=True)
            raise
        for each in self._stores.values():
            if not each.ended:
                self._commit(each)
        for number in sorted(self._waiting):
            self._report(number)

    def _copy_images(self, numbers: Sequence[int]) -> None:
        self._schedule = schedule = Schedule(numbers, self._dependencies)
        running, tagging, ending = dict[Future[bool], int](), dict[Future[bool], int](), set[Future[bool]]()
        connections = self._connections
        with ThreadPoolExecutor(connections) as blobs, ThreadPoolExecutor(connections) as images:
            self._workers = blobs
            try:
                while True:
                    # Start an image when another image ends.
                    while len(running) + len(tagging) + len(ending) < connections * IMAGES_PER_CONNECTION:
                        number = schedule.start(is_idle=not running)
                        if number is None:
                            break
                        self._start_steps(number)
                        running[images.submit(self._finish, number)] = number
                    if not (running or tagging or ending):
                        break
                    finished = wait({*running, *tagging, *ending}, return_when=FIRST_COMPLETED).done
                    succeeded = [finish.result() for finish in finished]
                    if self._fail_fast and not all(succeeded):
                        break
                    ending -= finished
                    ended = [tagging.pop(finish) for finish in finished if finish in tagging]
                    for number, finish in sorted((running.pop(each), each) for each in finished if each in running):
                        if self._continue(number, finish.result()):
                            ended.append(number)
                    ended += self._drop(schedule.take_dropped())
                    for number in sorted(ended):
                        ending.add(images.submit(self._end, number))
                    for number in schedule.take_to_tag():
                        tagging[images.submit(self._set_tag, number)] = number
            finally:
                # After a failure or an interrupt, start nothing more.
                blobs.shutdown(wait=False, cancel_futures=True)
                images.shutdown(wait=False, cancel_futures=True)
        unfinished = [*running.items(), *tagging.items()]
        left = [number for finish, number in unfinished if finish.cancelled() or not finish.result()]
        left += [*schedule.deferred & set(running.values()), *schedule.left]
        if left:
            fail(self._results, left, self._because_of(range(len(self._results))))

    def _continue(self, number: int, succeeded: bool) -> bool:
        """Continue after the manifests of an image were stored or failed. Return whether the image has ended."""
        if succeeded and number not in self.left_out:
            self._schedule.stored(number)
            return number not in self._schedule.deferred
        if number in self._dependencies.optional and not succeeded:
            # The next task copies the referrer together with its image.
            self._failed_referrers.update(dict.fromkeys(self._dependencies.owners.get(number, ()), number))
        self._schedule.failed(number)
        return True

    def _drop(self, referrers: Sequence[int]) -> Sequence[int]:
        """Give up the referrers of images that failed."""
        for number in referrers:
            self.dropped.add(number)
        fail(self._results, referrers, DestinationError("not copied, because the image to which it refers failed"))
        return referrers

    def _end(self, image: int) -> bool:
        """Commit the store of an image if it was the last one for it; return whether that succeeded.

        A store that is committed early closes its files: a task may write more archives than it may have open files.
        """
        each = self._stores[id(self._copies[image].destination.store)]
        # After a failure, other blobs of the image may still be written.
        for future in filter(None, map(self._futures.get, self._steps_of(image))):
            with suppress(CancelledError):
                future.exception()
        with self._lock:
            each.unfinished.discard(image)
            if each.unfinished:
                return True
            each.ended = True
        committed = self._commit(each)
        for number in each.images:
            if number in self._waiting:
                self._report(number)
        return committed

    def _start_steps(self, image: int) -> None:
        """Start the steps of an image; the steps that these wait for have been started before."""
        for number, step in enumerate(self._plans[image].steps):
            this = StepId(image, number)
            if step.is_pending:
                self._futures[this] = self._workers.submit(self._run_step, this, step)
            else:
                self._done[this] = step.result

    def _run_step(self, this: StepId, step: BlobStep) -> BlobResult:
        plan, copy = self._plans[this.image], self._copies[this.image]
        origin = self._wait_for(step.waits_for)
        if origin is None or step.action is not Action.PRESENT:
            result = copy_blob(plan, copy, step, origin, self._slots, self._listener)
        else:
            result = BlobResult(origin[0], origin[0].size, Action.PRESENT, step.layer)
        self._done[this] = result
        self._listener.blob_done(plan, result)
        return result

    def _wait_for(self, origin: StepId | None) -> tuple[Descriptor, str] | None:
        """Return the blob that another step copied, and its repository; ``None`` if that step failed."""
        if origin is None:
            return None
        future = self._futures.get(origin)
        if future:
            # The step's own image reports its error.
            future.exception()
        result = self._done.get(origin)
        if result is None or result.descriptor is None:
            return None
        return result.descriptor, self._copies[origin.image].destination.repository

    def _finish(self, image: int) -> bool:
        """Wait for the steps of an image and store its manifests; return whether the task can succeed."""
        tags = image not in self._schedule.deferred
        succeeded = self._succeeds(image, partial(self._store_manifests, image, tags))
        if succeeded is not None:
            self._plans[image].job.unload()
            if tags or not succeeded:
                self._report_published(image)
        return bool(succeeded)

    def _set_tag(self, image: int) -> bool:
        """Set the tag of an image whose manifests were stored; return whether that succeeded."""
        if image in self._failed_referrers:
            fail(self._results, [image], because_of(self._plans[self._failed_referrers[image]]))
        result = self._results[image]
        succeeded = not result.error and self._succeeds(image, partial(self._publish, image, result))
        if succeeded is not None:
            self._report_published(image)
        return bool(succeeded)

    def _succeeds(self, image: int, store: Callable[[], None]) -> bool | None:
        """Store an image. Return whether the task can succeed; ``None`` if another failure cancelled it."""
        try:
            store()
        except K8scrError as error:
            self._results[image] = replace(self._results[image], error=error)
            if image not in self._dependencies.optional or not stays_behind(error):
                return False
            self.left_out[image] = error
        except CancelledError:
            # With fail_fast, the failure of another image cancels this one.
            return None
        return True

    def _report_published(self, image: int) -> None:
        """Report the result of an image, unless it becomes visible only when its store is committed."""
        if not self._copies[image].destination.capabilities.commits:
            self._report(image)

    def _report(self, image: int) -> None:
        self._waiting.discard(image)
        result, referrers = self._results[image], self._dependencies.referrers.get(image, ())
        copied = sum(not self._results[number].error for number in referrers)
        self._listener.image_done(replace(result, referrers=ReferrersReport(copied)) if copied else result)

    def _store_manifests(self, image: int, tags: bool) -> None:
        plan, copy = self._plans[image], self._copies[image]
        steps = self._steps_of(image)
        self._wait_for_steps(steps)
        blobs = tuple(self._done[step] for step in steps)

        def store(plan: ImagePlan, root: Manifest) -> None:
            for manifest in plan.manifests[:-1]:
                copy.destination.put_manifest(manifest)
            if tags:
                copy.destination.publish(root, copy.tag_to_set)
            else:
                copy.destination.put_manifest(root)

        self._store(image, plan, blobs, store)
        for step in steps:
            # A future takes more memory than the result.
            self._futures.pop(step, None)

    def _wait_for_steps(self, steps: Sequence[StepId]) -> None:
        """Wait for the steps of an image. A missing volume is raised last: another error needs more than a volume."""
        missing: K8scrError | None = None
        for step in filter(self._futures.__contains__, steps):
            try:
                self._futures[step].result()
            except MissingVolumeError as error:
                missing = missing or error
        if missing:
            raise missing

    def _publish(self, image: int, stored: ImageResult) -> None:
        copy = self._copies[image]

        def publish(plan: ImagePlan, root: Manifest) -> None:
            for manifest in plan.manifests[:-1] if plan is not stored.plan else ():
                copy.destination.put_manifest(manifest)
            copy.destination.publish(root, copy.tag_to_set)

        self._store(image, stored.plan, stored.blobs, publish)

    def _store(
        self,
        image: int,
        plan: ImagePlan,
        blobs: tuple[BlobResult, ...],
        store: Callable[[ImagePlan, Manifest], None],
    ) -> None:
        """Store the manifests of an image. Blobs that vanished from the destination are copied again."""
        copy, all_blobs, action = self._copies[image], blobs, f"image {plan.job.name}"
        for attempt in count(1):
            root = plan.root_manifest(blobs)
            try:
                with self._slots:
                    store(plan, root)
                break
            except MissingContentError as error:
                if attempt > _MOST_NEW_PLANS:
                    raise
                self._listener.retried(action, error.message)
            try:
                plan, blobs = self._copy_again(plan, copy)
            finally:
                self._listener.recovered(action)
            all_blobs = _merged(all_blobs, blobs)
        self._results[image] = ImageResult(plan, root.descriptor.digest, all_blobs)

    def _copy_again(self, plan: ImagePlan, copy: ImageCopy) -> tuple[ImagePlan, tuple[BlobResult, ...]]:
        """Copy the blobs of an image that vanished from the destination; return the new plan and its results."""
        with self._slots:
            again = plan_again(plan)
        self._listener.image_planned(again)
        try:
            futures = {
                number: self._workers.submit(copy_blob, again, copy, step, None, self._slots, self._listener)
                for number, step in enumerate(again.steps)
                if step.is_pending
            }
        except RuntimeError as error:
            # After a failure or an interrupt, the workers accept nothing more.
            raise CancelledError from error
        for future in futures.values():
            # ``wait`` would never return for a future that the shutdown of the workers cancels.
            with suppress(CancelledError):
                future.exception()
        results = [futures[n].result() if n in futures else step.result for n, step in enumerate(again.steps)]
        for number in futures:
            self._listener.blob_done(again, results[number])
        return again, tuple(results)

    def _because_of(self, numbers: Iterable[int]) -> DestinationError:
        failed = next(number for number in numbers if self._results[number].error and number not in self.left_out)
        return because_of(self._plans[failed])

    def _steps_of(self, image: int) -> list[StepId]:
        return [StepId(image, number) for number in range(len(self._plans[image].steps))]

    def _commit(self, each: _Store) -> bool:
        """Commit a store, unless one of its images failed; return whether its images are in it."""
        store, images = each.store, each.images
        failed = [number for number in images if number not in self.left_out]
        errors = [error for error in (self._results[number].error for number in failed) if error]
        # A server that rejects a request may accept it in the next run, for example with other credentials.
        resumable = all(error.transient or isinstance(error, ErrorResponseError) for error in errors)
        if errors and store.abandon(resumable):
            fail(self._results, images, self._because_of(failed))
            return False
        try:
            store.commit()
            return True
        except K8scrError as error:
            # After a failure of the operating system, such as a full disk, free the space. After another failure, keep
            # the data, so that the next run does not fetch the blobs again.
            store.abandon(resumable=not isinstance(error.__cause__, OSError))
            fail(self._results, images, error)
            return False


def _merged(before: Iterable[BlobResult], again: Iterable[BlobResult]) -> tuple[BlobResult, ...]:
    """Return the results of an image that was copied again: an uploaded blob stays uploaded if it did not vanish."""
    order = list(Action)
    merged = {blob.at_source: blob for blob in before}
    for blob in again:
        known = merged.get(blob.at_source)
        if order.index(blob.action) > (order.index(known.action) if known else 0):
            merged[blob.at_source] = blob
    return tuple(merged.values())
