# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Execute plans: copy blobs, then manifests, then tags, for many images at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count

from ..errors import (
    DestinationError,
    DigestMismatchError,
    ErrorResponseError,
    K8scrError,
    MissingContentError,
    RegistryError,
    SourceError,
)
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import verified
from ..oci.interfaces import DestinationStore
from .job import ImageCopy, ImageJob
from .listener import Listener
from .plan import IMAGES_PER_CONNECTION, Action, BlobResult, BlobStep, ImagePlan, StepId, plan_again, plan_images
from .report import ImageResult
from .slots import Slots

_MOST_NEW_PLANS = 3
"""New plans for one image whose content vanishes from the destination during the copy."""


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
        plans = plan_images(jobs, self.connections, self.check_mode)
        for plan in plans:
            listener.image_planned(plan)
        results = [ImageResult(plan, plan.root, plan.blobs, plan.error) for plan in plans]
        changing = [number for number, plan in enumerate(plans) if plan.changes]
        if self.fail_fast and any(plan.error for plan in plans):
            _fail(results, changing, _because_of(results))
            changing = []
        elif changing and self.before_copy:
            try:
                self.before_copy(plans)
            except K8scrError as error:
                _fail(results, changing, error)
                changing = []
        if not self.check_mode:
            _Execution(plans, results, self, listener).run(changing)
        return results


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


class _Execution:
    """The execution of the plans of a task. It replaces the planned results with the final results."""

    def __init__(
        self, plans: Sequence[ImagePlan], results: list[ImageResult], transfer: Transfer, listener: Listener
    ) -> None:
        self._plans = plans
        self._copies = {number: plan.job.copy for number, plan in enumerate(plans) if plan.job.copy}
        self._results = results
        self._transfer = transfer
        self._listener = listener
        self._slots = Slots(transfer.connections)
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
        waiting, running, ending = deque(numbers), dict[Future[bool], int](), set[Future[bool]]()
        connections = self._transfer.connections
        with ThreadPoolExecutor(connections) as blobs, ThreadPoolExecutor(connections) as images:
            self._workers = blobs
            try:
                while waiting or running or ending:
                    # Start an image when another image ends.
                    while waiting and len(running) + len(ending) < connections * IMAGES_PER_CONNECTION:
                        number = waiting.popleft()
                        self._start_steps(number)
                        running[images.submit(self._finish, number)] = number
                    finished = wait({*running, *ending}, return_when=FIRST_COMPLETED).done
                    succeeded = [finish.result() for finish in finished]
                    if self._transfer.fail_fast and not all(succeeded):
                        break
                    ending -= finished
                    for number in sorted(running.pop(finish) for finish in finished if finish in running):
                        ending.add(images.submit(self._end, number))
            finally:
                # After a failure or an interrupt, start nothing more.
                blobs.shutdown(wait=False, cancel_futures=True)
                images.shutdown(wait=False, cancel_futures=True)
        left = [number for finish, number in running.items() if finish.cancelled() or not finish.result()]
        if left or waiting:
            _fail(self._results, [*left, *waiting], _because_of(self._results))

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
            result = self._copy_blob(plan, copy, step, origin)
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

    def _copy_blob(
        self, plan: ImagePlan, copy: ImageCopy, step: BlobStep, origin: tuple[Descriptor, str] | None
    ) -> BlobResult:
        descriptor, mount_from = origin or (step.descriptor, step.mount_from)
        content = _Content(plan, copy, step.at_source, self._listener)
        sparse = plan.image.sparse if plan.image else None
        if sparse and not mount_from and not sparse.has_part(step.at_source):
            # The other blobs are copied, so that a later run needs only the missing medium.
            raise sparse.absence(step.at_source) or SourceError(f"{content.what} is missing")
        self._listener.blob_started(plan, step.at_source)
        try:
            with self._slots:
                if step.layer is None or copy.compressor is None:
                    mounted = copy.destination.put_blob(descriptor, content, mount_from)
                else:
                    descriptor, mounted = copy.compressor.put(step.layer, descriptor, content, mount_from)
        except DigestMismatchError as error:
            if copy.destination.capabilities.verifies_digests:
                raise _find_fault(copy, step.at_source, error) from error
            raise
        return BlobResult(descriptor, descriptor.size, Action.MOUNTED if mounted else Action.SENT, step.layer)

    def _finish(self, image: int) -> bool:
        """Wait for the steps of an image and store its manifests; return whether that succeeded."""
        try:
            self._store_manifests(image)
            succeeded = True
        except K8scrError as error:
            self._results[image] = replace(self._results[image], error=error)
            succeeded = False
        except CancelledError:
            # With fail_fast, the failure of another image cancels this one.
            return False
        self._plans[image].job.unload()
        if not self._copies[image].destination.capabilities.commits:
            self._report(image)
        return succeeded

    def _report(self, image: int) -> None:
        self._waiting.discard(image)
        self._listener.image_done(self._results[image])

    def _store_manifests(self, image: int) -> None:
        plan, copy = self._plans[image], self._copies[image]
        steps = self._steps_of(image)
        for step in steps:
            if step in self._futures:
                self._futures[step].result()
        blobs = all_blobs = tuple(self._done[step] for step in steps)
        for attempt in count(1):
            root = plan.root_manifest(blobs)
            try:
                with self._slots:
                    for manifest in plan.manifests[:-1]:
                        copy.destination.put_manifest(manifest)
                    copy.destination.publish(root, copy.tag_to_set)
                break
            except MissingContentError as error:
                if attempt > _MOST_NEW_PLANS:
                    raise
                self._listener.retried(f"image {plan.job.name}", error.message)
            plan, blobs = self._copy_again(plan, copy)
            all_blobs = _merged(all_blobs, blobs)
        self._results[image] = ImageResult(plan, root.descriptor.digest, all_blobs)
        for step in steps:
            # A future takes more memory than the result.
            self._futures.pop(step, None)

    def _copy_again(self, plan: ImagePlan, copy: ImageCopy) -> tuple[ImagePlan, tuple[BlobResult, ...]]:
        """Copy the blobs of an image that vanished from the destination; return the new plan and its results."""
        with self._slots:
            again = plan_again(plan)
        self._listener.image_planned(again)
        try:
            futures = {
                number: self._workers.submit(self._copy_blob, again, copy, step, None)
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

    def _steps_of(self, image: int) -> list[StepId]:
        return [StepId(image, number) for number in range(len(self._plans[image].steps))]

    def _commit(self, each: _Store) -> bool:
        """Commit a store, unless one of its images failed; return whether its images are in it."""
        store, images = each.store, each.images
        errors = [error for error in (self._results[number].error for number in images) if error]
        # A server that rejects a request may accept it in the next run, for example with other credentials.
        resumable = all(error.transient or isinstance(error, ErrorResponseError) for error in errors)
        if errors and store.abandon(resumable):
            _fail(self._results, images, _because_of(self._results[number] for number in images))
            return False
        try:
            store.commit()
            return True
        except K8scrError as error:
            # After a failure of the operating system, such as a full disk, free the space. After another failure, keep
            # the data, so that the next run does not fetch the blobs again.
            store.abandon(resumable=not isinstance(error.__cause__, OSError))
            _fail(self._results, images, error)
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


class _Content:
    """Opens a blob's content at its source; see :class:`BlobContent`."""

    def __init__(self, plan: ImagePlan, copy: ImageCopy, blob: Descriptor, listener: Listener) -> None:
        self.what = f"blob {blob.digest} from {copy.source.description}"
        self._plan = plan
        self._copy = copy
        self._blob = blob
        self._listener = listener

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        with self._copy.source.open_blob(self._blob, offset) as blocks:
            yield self._watch(blocks, offset)

    def end(self, offset: int) -> int:
        """See :class:`PartialContent`."""
        sparse = self._plan.image.sparse if self._plan.image else None
        return sparse.end(self._blob, offset) if sparse else self._blob.size

    def _watch(self, blocks: Blocks, offset: int) -> Blocks:
        for block in blocks:
            self._listener.bytes_moved(self._plan, self._blob, offset, len(block))
            offset += len(block)
            yield block


def _find_fault(copy: ImageCopy, blob: Descriptor, mismatch: DigestMismatchError) -> K8scrError:
    """Return the error that names the damaged side, after a destination received content with another digest."""
    what = f"blob {blob.digest} in {copy.source.description}"
    try:
        with copy.source.open_blob(blob) as blocks:
            for _block in verified(blocks, blob.digest, blob.size, what):
                pass
    except DigestMismatchError as error:
        return SourceError(error.message, "Create or copy it again")
    return RegistryError(
        f"{mismatch.message}, although {copy.source.description} has it undamaged",
        "The registry or a proxy before it changed the content: run again, and check both if the error persists",
    )


def _because_of(results: Iterable[ImageResult]) -> DestinationError:
    failed = next(result.plan.job.name for result in results if result.error)
    return DestinationError(f"not copied, because {failed} failed")


def _fail(results: list[ImageResult], numbers: Iterable[int], error: K8scrError) -> None:
    for number in numbers:
        results[number] = replace(results[number], error=results[number].error or error)
