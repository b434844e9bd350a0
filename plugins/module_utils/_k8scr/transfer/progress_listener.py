# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a transfer for the user: its status, and a line for each image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..oci.descriptor import Descriptor
from .current_retries import CurrentRetries
from .job import ImageJob
from .listener import Listener, Listeners
from .meter import Meter
from .plan import Action, BlobResult, ImagePlan
from .progress import Progress
from .report import ImageResult
from .result_lines import Verb, closing_lines, image_line
from .texts import counted, whole_seconds_text

_SHORTEST_PHASE = 5.0
"""Seconds after which a phase without a copy is shown."""
_LONGEST_WAIT = 5.0
"""Seconds without data after which the end of the images is shown, if all data was copied."""
_FLOWING = 1.0
"""Seconds after a retry: data that flows later shows that the retry succeeds."""
_SHOWN_DIGEST = len("sha256:") + 12
"""Characters of a digest."""


@contextmanager
def shown(progress: Progress, verb: Verb, *listeners: Listener) -> Iterator[Listener]:
    """Yield a listener that forwards events to others, and shows them to the user during a block.

    Args:
        verb: What the module does with layers.
    """
    if not progress.is_shown:
        yield Listeners(*listeners)
        return
    transfer = TransferProgress(progress, verb)
    with progress.status(transfer.status):
        yield Listeners(transfer, *listeners)
    transfer.close()


@dataclass(frozen=True)
class _Phase:
    """Work before or after a copy, with its data if it reads any."""

    description: str
    started: float
    meter: Meter


@dataclass
class _Image:
    """A changing image that is not finished.

    Attributes:
        commits: Whether it is finished only when its store is committed, with all other images.
        pending: The number of its blobs that are not copied yet.
        remaining: The bytes of the total that are not copied yet.
        counted: The digests of the blobs that are part of the total; ``None`` until the first blob starts.
        started: The time when the first blob started.
        copied_at: The time when the last blob was copied.
    """

    is_referrer: bool
    commits: bool
    pending: int = 0
    remaining: int = 0
    counted: set[str] | None = None
    started: float | None = None
    copied_at: float | None = None

    @property
    def is_copied(self) -> bool:
        """Whether it counts as copied; an archive of many images is committed after all of them."""
        return self.commits and self.pending <= 0


@dataclass
class _Blob:
    """A blob that is being copied.

    Attributes:
        copied: The bytes from its beginning that were copied.
        position: The end of its last data; less than ``copied`` while bytes are copied again after a failure.
        moved_at: The time of its last data.
        is_counted: Whether its size is part of the total.
    """

    image: str
    digest: str
    size: int
    moved_at: float
    is_counted: bool
    copied: int = 0
    position: int = 0


class TransferProgress(Listener):
    """Shows the progress of transfers. Its memory does not grow with the number of finished blobs.

    Args:
        progress: Receives the lines about the images.
        verb: What the module does with layers.
        clock: Returns the seconds since any fixed time.

    Attributes:
        meter: Measures the data.
    """

    def __init__(
        self, progress: Progress, verb: Verb = Verb.UPLOAD, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._verb = verb
        self._clock = clock
        self._begin = clock()
        self._results: list[ImageResult] = []
        self._check_mode = False
        self.meter = Meter(clock)
        self._lock = threading.Lock()
        self._phase: _Phase | None = None
        self._is_copying = False
        self._images: dict[ImageJob, _Image] = {}
        self._blobs: dict[tuple[ImageJob, str], _Blob] = {}
        self._retries = CurrentRetries(progress.shortened)
        self._planned = {False: 0, True: 0}
        """The number of changing images, and that of changing referrers under ``True``."""
        self._failed = 0
        self._failed_roots = set[str | None]()
        """The digests of the manifests of failed images and referrers."""
        self._finished_at = 0.0
        """The time when the last blob or image was finished."""

    def phase_started(self, description: str, size: int = 0) -> None:
        with self._lock:
            self._phase = _Phase(description, self._clock(), Meter(self._clock))
            self._phase.meter.expect(size)
            self._phase.meter.begin()

    def phase_advanced(self, count: int) -> None:
        with self._lock:
            if self._phase:
                self._phase.meter.add(count)

    def image_planned(self, plan: ImagePlan) -> None:
        if plan.error or not plan.changes:
            return
        size = sum(step.at_source.size for step in plan.steps if step.action is Action.SENT)
        with self._lock:
            image = self._images.get(plan.job)
            if image is None:
                commits = plan.job.copy is not None and plan.job.copy.destination.capabilities.commits
                image = self._images[plan.job] = _Image(plan.job.subject is not None, commits)
                self._planned[image.is_referrer] += 1
            image.pending += sum(step.is_pending for step in plan.steps)
            image.remaining += size
            image.counted = None
            self.meter.expect(size)

    def copy_started(self) -> None:
        with self._lock:
            self._phase = None
            self._is_copying = True
            self.meter.begin()

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        with self._lock:
            image, now = self._images.get(plan.job), self._clock()
            if image is None:
                return
            if image.counted is None:
                image.counted = {step.at_source.digest for step in plan.steps if step.action is Action.SENT}
            if image.started is None:
                image.started = now
            is_counted = blob.digest in image.counted
            new = _Blob(plan.job.name, blob.digest, blob.size, now, is_counted)
            self._blobs.setdefault((plan.job, blob.digest), new)

    def bytes_moved(self, plan: ImagePlan, blob: Descriptor, offset: int, count: int) -> None:
        with self._lock:
            each, image = self._blobs.get((plan.job, blob.digest)), self._images.get(plan.job)
            if each is None or image is None:
                self.meter.add(0, count)
                return
            each.moved_at = self._clock()
            if not each.is_counted:
                # It was planned to be mounted.
                each.is_counted = True
                image.remaining += each.size
                self.meter.expect(each.size)
            begin = min(max(offset, each.copied), each.size)
            end = max(min(offset + count, each.size), begin)
            if begin > each.copied:
                self.meter.skip(begin - each.copied)
            self.meter.add(end - begin, count - (end - begin))
            image.remaining -= end - each.copied
            each.copied, each.position = end, offset + count

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        at_source = result.at_source
        with self._lock:
            image = self._images.get(plan.job)
            each = self._blobs.pop((plan.job, at_source.digest), None) if at_source else None
            self._finished_at = self._clock()
            if image:
                image.pending -= 1
                image.copied_at = self._finished_at
            if image is None or each is None or not each.is_counted:
                return
            # The blob may have been mounted, or complete at the destination.
            rest = each.size - each.copied
            image.remaining -= rest
            if result.action is Action.SENT:
                self.meter.skip(rest)
            else:
                self.meter.expect(-rest)

    def image_done(self, result: ImageResult) -> None:
        job = result.plan.job
        with self._lock:
            self._finished_at = now = self._clock()
            image = self._images.pop(job, None)
            if image:
                self.meter.expect(-image.remaining)
                self._failed += result.error is not None and not image.is_referrer
                for key in [key for key in self._blobs if key[0] is job]:
                    del self._blobs[key]
                self._is_copying = self._is_copying and bool(self._images)
            is_shown = result.changed and not job.subject
            if result.error:
                # A referrer of a failed image has no line of its own.
                is_shown = job.subject not in self._failed_roots
                manifests = (manifest.descriptor.digest for manifest in result.plan.manifests)
                self._failed_roots.update([result.plan.root, *manifests])
        if is_shown:
            seconds = None
            if image and image.started is not None:
                seconds = (image.copied_at if image.commits and image.copied_at else now) - image.started
            self._progress.line(image_line(result, seconds, verb=self._verb))

    def transfer_done(self, results: Sequence[ImageResult], check_mode: bool) -> None:
        self._results += results
        self._check_mode = check_mode

    def retried(self, action: str, reason: str) -> None:
        with self._lock:
            self._retries.add(action, reason, self._clock())

    def recovered(self, action: str) -> None:
        with self._lock:
            self._retries.remove(action)

    def close(self) -> None:
        """Show the last lines of the task."""
        for line in closing_lines(self._results, self._clock() - self._begin, self._check_mode, self._verb):
            self._progress.line(line)

    def status(self) -> str | None:
        """Return the current status; ``None`` if nothing is copied and no other work takes long."""
        with self._lock:
            now = self._clock()
            if self._is_copying:
                return self._copy_status(now)
            if self._phase is None or now - self._phase.started < _SHORTEST_PHASE:
                return None
            details = ", ".join(self._phase.meter.texts()) or whole_seconds_text(now - self._phase.started)
            return _joined(f"{self._phase.description} ({details})", self._retries.text(now))

    def _copy_status(self, now: float) -> str:
        kinds = [(False, "images"), (True, "referrers")]
        # Referrers alone are copied if the images exist.
        is_referrer, kind = kinds[0] if self._planned[False] else kinds[1]
        unfinished = sum(image.is_referrer is is_referrer and not image.is_copied for image in self._images.values())
        planned = self._planned[is_referrer]
        parts = [f"{planned - unfinished}/{planned} {kind}"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        repeated = sum(max(blob.copied - blob.position, 0) for blob in self._blobs.values())
        parts += self.meter.texts(repeated)
        if self.meter.stall(repeated):
            retries = self._retries.text(now)
            return ", ".join([*parts, *filter(None, [retries or self._wait_status()])])
        idle = now - self.meter.last
        if self.meter.done == self.meter.total and not repeated and idle >= _LONGEST_WAIT:
            parts.append(self._end_status(idle))
        return _joined(", ".join(parts), self._retries.text(now, self._is_failing))

    def _end_status(self, idle: float) -> str:
        """Return the status of images whose data was copied.

        Args:
            idle: The seconds since the last data.
        """
        stall = self.meter.stall_since(max(self.meter.last, self._finished_at))
        if not stall or self._verb is not Verb.UPLOAD:
            return f"finishing {counted(len(self._images), 'image')} ({whole_seconds_text(idle)})"
        first = next(iter(self._images)).name
        more = f" and {len(self._images) - 1} more" if len(self._images) > 1 else ""
        return f"waiting {stall} for the registry to store {first}{more}"

    def _wait_status(self) -> str | None:
        if not self._blobs:
            return None
        longest = min(self._blobs.values(), key=lambda blob: blob.moved_at)
        more = f" and {len(self._blobs) - 1} more" if len(self._blobs) > 1 else ""
        return f"waiting for blob {longest.digest[:_SHOWN_DIGEST]} of {longest.image}{more}"

    def _is_failing(self, action: str, failed_at: float) -> bool:
        """Return whether no data of a retried action flows again since its last failure."""
        return not any(blob.digest in action and blob.moved_at > failed_at + _FLOWING for blob in self._blobs.values())


def _joined(text: str, more: str | None) -> str:
    return f"{text}; {more}" if more else text
