# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of a transfer, for progress, counters and records."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import K8scrError
from ..oci.descriptor import Descriptor
from .plan import BlobResult, ImagePlan
from .report import ImageResult


class Listener:
    """Receives the events of a transfer and ignores them; subclasses override what they need.

    Several threads may call a method at once. A method must return quickly and must not raise.
    """

    def phase_started(self, description: str, size: int = 0) -> None:
        """Receive the description of work before or after the copy, and the bytes that it reads, if they are known."""

    def phase_advanced(self, count: int) -> None:
        """Receive the bytes that the current phase read."""

    def image_planned(self, plan: ImagePlan) -> None:
        """Receive the plan for an image; it may hold an error.

        An image has another plan if its content vanishes from the destination during the copy.
        """

    def copy_started(self) -> None:
        """Receive the begin of the copy of all planned images that change."""

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        """Receive the blob at the source when its copy begins."""

    def bytes_moved(self, plan: ImagePlan, blob: Descriptor, offset: int, count: int) -> None:
        """Receive the ``count`` of bytes that the source returned at ``offset``, a few times a second.

        A resume may read bytes again.
        """

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        """Receive the result for a blob that was copied or mounted."""

    def image_done(self, result: ImageResult) -> None:
        """Receive the final result for an image: copied, unchanged or failed."""

    def transfer_done(self, results: Sequence[ImageResult], check_mode: bool) -> None:
        """Receive the results for all images of a transfer; in check mode, the planned results."""

    def retried(self, action: str, reason: str) -> None:
        """Receive an action before its retry, with the reason of its failure; the clients of registries call this."""

    def recovered(self, action: str) -> None:
        """Receive an action that was retried when it succeeds, makes progress or fails for good."""


class Listeners(Listener):
    """Forwards the events to several listeners, in this order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def phase_started(self, description: str, size: int = 0) -> None:
        for each in self._listeners:
            each.phase_started(description, size)

    def phase_advanced(self, count: int) -> None:
        for each in self._listeners:
            each.phase_advanced(count)

    def image_planned(self, plan: ImagePlan) -> None:
        for each in self._listeners:
            each.image_planned(plan)

    def copy_started(self) -> None:
        for each in self._listeners:
            each.copy_started()

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        for each in self._listeners:
            each.blob_started(plan, blob)

    def bytes_moved(self, plan: ImagePlan, blob: Descriptor, offset: int, count: int) -> None:
        for each in self._listeners:
            each.bytes_moved(plan, blob, offset, count)

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        for each in self._listeners:
            each.blob_done(plan, result)

    def image_done(self, result: ImageResult) -> None:
        for each in self._listeners:
            each.image_done(result)

    def transfer_done(self, results: Sequence[ImageResult], check_mode: bool) -> None:
        for each in self._listeners:
            each.transfer_done(results, check_mode)

    def retried(self, action: str, reason: str) -> None:
        for each in self._listeners:
            each.retried(action, reason)

    def recovered(self, action: str) -> None:
        for each in self._listeners:
            each.recovered(action)


class RetryLog(Listener):
    """Counts retries, for a module's result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def retried(self, action: str, reason: str) -> None:
        with self._lock:
            self._counts[action, reason] += 1

    @contextmanager
    def in_errors(self) -> Iterator[None]:
        """Add the retries to the values of an error that ends the module."""
        try:
            yield
        except K8scrError as error:
            error.values = {**error.values, "retries": self.entries}
            raise

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The retried actions, each with the reason and the number of retries."""
        with self._lock:
            return [{"what": action, "why": reason, "times": times} for (action, reason), times in self._counts.items()]
