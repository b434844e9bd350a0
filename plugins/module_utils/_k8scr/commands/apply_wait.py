# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for applied and deleted objects, and show the user what the module waits for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiServerError, ClusterError, K8scrError
from ..objects.client import KubernetesClient
from ..objects.diagnostics import Diagnostics
from ..objects.readiness import readiness_of
from ..transfer.progress import Progress
from ..transfer.retry_status import RetryStatus
from ..transfer.texts import counted, seconds_text, whole_seconds_text
from .apply_outcome import Outcome

_POLL_INTERVAL = 1.0
"""Seconds between two requests for the state of an object."""
_FIRST_REASONS = 5.0
"""Seconds of waiting after which the reasons of the cluster are shown. They take several requests."""
_LONGEST_REASONS = 300
"""Characters of the reasons in the status; the message of a failure has all of them."""
_REASONS_INTERVAL = 10.0
"""Seconds between two requests for the reasons."""


def wait_for_objects(
    client: KubernetesClient, outcomes: Sequence[Outcome], seconds: float, progress: Progress, retries: RetryStatus
) -> list[K8scrError]:
    """Wait until applied objects are ready, and deleted objects no longer exist.

    Args:
        seconds: The maximum seconds for all objects together.
        retries: Shows what the module waits for.

    Returns:
        The errors of objects that do not become ready, or still exist at the end, with the reasons of the cluster.
    """
    wait = _Wait(client, Poll(seconds), progress, list(outcomes))
    with retries.status(wait.status):
        wait.run()
    return wait.errors


@dataclass
class _Wait:
    """The wait for the objects of a task.

    Attributes:
        waiting: The objects to wait for.
        errors: The errors of objects that did not become ready.
    """

    client: KubernetesClient
    poll: Poll
    progress: Progress
    waiting: list[Outcome]
    errors: list[K8scrError] = field(default_factory=list)
    _begin: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))
    _state: tuple[str, str, int] | None = None
    """The name of the first object, what it waits for, and the number of the others."""
    _reasons: tuple[str, str] = ("", "")
    """The name of an object, and the reasons of the cluster why it is not ready."""
    _next_update: float = _FIRST_REASONS
    """The time of the next request for reasons, in seconds since the begin."""

    def run(self) -> None:
        """Poll all objects until none is left, one fails for good or the time is over."""
        while True:
            is_last = self.poll.expired
            states = [(outcome, self._state_or_error(outcome, is_last)) for outcome in self.waiting]
            pending = [(outcome, state) for outcome, state in states if state]
            for outcome, state in states:
                if state is None and self._state and not self.errors:
                    self._show_end(outcome)
            self.waiting = [outcome for outcome, _state in pending]
            if not pending or self.errors or is_last:
                return
            outcome, state = pending[0]
            self._state = outcome.name, state, len(pending) - 1
            self._update_reasons(outcome)
            self.poll.pause()

    def status(self) -> str | None:
        """Return what the module waits for; ``None`` if everything is ready."""
        if self._state is None:
            return None
        name, state, others = self._state
        more = f" and {counted(others, 'more object')}" if others else ""
        explained, reasons = self._reasons
        why = f". The cluster reports: {reasons}" if reasons and explained == name else ""
        return f"waiting for {name}{more} since {self._begin} ({whole_seconds_text(self.poll.elapsed)}): {state}{why}"

    def _show_end(self, outcome: Outcome) -> None:
        end = "no longer exists" if outcome.action == "deleted" else "is ready"
        self.progress.line(f"{outcome.name} {end} ({seconds_text(self.poll.elapsed)})")

    def _state_or_error(self, outcome: Outcome, is_last: bool) -> str | None:
        """Return what an object waits for; ``None`` if it is ready or failed."""
        try:
            deleted = outcome.action == "deleted"
            return self._deletion(outcome, is_last) if deleted else self._readiness(outcome, is_last)
        except K8scrError as error:
            self.errors.append(error)
            return None

    def _readiness(self, outcome: Outcome, is_last: bool) -> str | None:
        item = self._read(outcome)
        if item is None:
            raise ClusterError(f"{outcome.name} was deleted before it was ready")
        state = readiness_of(item)
        if state.ready or self._binds_later(item):
            return None
        if state.terminal or is_last:
            reasons = self._reasons_of(item)
            within = "" if state.terminal else f" within {self.poll.seconds:g} s"
            explanation = f". The cluster reports: {reasons}" if reasons else ""
            raise ClusterError(f"{outcome.name} did not become ready{within}: {state.progress}{explanation}")
        return state.progress

    def _deletion(self, outcome: Outcome, is_last: bool) -> str | None:
        item = self._read(outcome)
        if item is None or item["metadata"].get("uid") != outcome.before["metadata"].get("uid"):
            return None
        finalizers = ", ".join(item["metadata"].get("finalizers") or [])
        because = f"it waits for the finalizers {finalizers}" if finalizers else ""
        if is_last:
            raise ClusterError(
                f"{outcome.name} still exists after {self.poll.seconds:g} s{f'; {because}' if because else ''}"
            )
        return because or "it still exists"

    def _read(self, outcome: Outcome) -> dict[str, Any] | None:
        client = self.client.limited_to(self.poll.remaining)
        kind = client.find_kind(outcome.definition["apiVersion"], outcome.definition["kind"])
        if kind is None:
            return None
        return client.get(kind, outcome.definition["metadata"]["name"], outcome.namespace)

    def _update_reasons(self, outcome: Outcome) -> None:
        elapsed = self.poll.elapsed
        if not self.progress.is_shown or elapsed < self._next_update:
            return
        self._next_update = elapsed + _REASONS_INTERVAL
        # The task does not fail because its status has no reasons.
        with suppress(K8scrError):
            item = None if outcome.action == "deleted" else self._read(outcome)
            reasons = self._reasons_of(item) if item else ""
            self._reasons = outcome.name, self.progress.shortened(reasons, _LONGEST_REASONS)

    def _reasons_of(self, item: Mapping[str, Any]) -> str:
        return Diagnostics(self.client.limited_to(0.0)).reasons(item)

    def _binds_later(self, item: Mapping[str, Any]) -> bool:
        """Whether this is a PersistentVolumeClaim that is bound when the first Pod uses it."""
        storage_class = (item.get("spec") or {}).get("storageClassName")
        if item.get("kind") != "PersistentVolumeClaim" or not storage_class:
            return False
        kind = self.client.find_kind("storage.k8s.io/v1", "StorageClass")
        try:
            found = self.client.get(kind, storage_class, None)
        except ApiServerError:
            return False
        return (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


class Poll:
    """The time limit of a poll, and the pauses between its requests.

    Args:
        seconds: Seconds until the deadline; the time starts now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begin = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 if it has passed."""
        return max(self.seconds - self.elapsed, 0.0)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return not self.remaining

    def pause(self) -> None:
        """Wait until the next request."""
        time.sleep(_POLL_INTERVAL)
