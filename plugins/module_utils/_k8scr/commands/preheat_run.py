# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull images on nodes by Pods: a limited number at once, each until its result is known."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiServerError
from ..objects.client import KubernetesClient
from ..objects.nodes import Node, list_nodes
from ..objects.preheat_pods import RUN_LABEL, pull_pod
from ..objects.pull_failures import pull_failure
from ..objects.pull_state import PullEvent, PullState, pull_event, pull_state
from ..transfer.progress import Progress
from ..transfer.texts import counted, whole_seconds_text
from .preheat_report import FAILED, PRESENT, PULLED, PreheatRow

_INTERVAL = 1.0
"""Seconds between two lists of the Pods."""
_EVENT_SECONDS = 5.0
"""Seconds to wait for the event of a pull after the Pod's status shows its end; kubelets send both separately."""
_FAILING_SECONDS = 35.0
"""Seconds for which a kubelet may retry a failed pull; it makes three attempts, after 0, 10 and 30 seconds."""
_SCHEDULING_SECONDS = 30.0
"""Seconds to wait for resources of a node."""
_NODES_SECONDS = 30.0
"""Seconds between two lists of the nodes. A node is not ready 50 seconds after its last status by default."""
_POD_SECONDS = 60
"""Seconds that a Pod exists longer than the timeout of its pull, if nothing deletes it."""
_CLEANUP_SECONDS = 5.0
"""Seconds to retry the deletion of Pods."""


@dataclass(frozen=True)
class PullSettings:
    """How to pull.

    Attributes:
        namespace: The namespace of the Pods.
        own_image: The image of the Pods' containers, for nodes with image volumes; None for none of them.
        parallel: The number of images at once on a node.
        parallel_nodes: The number of nodes at once.
        timeout: Seconds for one image.
    """

    namespace: str
    own_image: str | None
    tolerations: Sequence[Mapping[str, Any]]
    parallel: int
    parallel_nodes: int
    timeout: int


@dataclass
class _Pull:
    """A Pod that pulls an image.

    Attributes:
        state: The last known state.
        since: The time of the first state with the same step.
    """

    node: Node
    image: str
    name: str
    is_volume: bool
    began: float
    state: PullState = field(default_factory=lambda: PullState("scheduling"))
    since: float = 0.0
    pod: Mapping[str, Any] = field(default_factory=dict)

    def update(self, pod: Mapping[str, Any], now: float) -> None:
        """Set the state of the Pod."""
        self.pod = pod
        state = pull_state(pod)
        if self.state.step == "failing" and state.step == "pulling":
            # Some kubelets report a new attempt as a new container.
            return
        if state.step != self.state.step:
            self.since = now
        self.state = state

    def seconds(self, now: float) -> float:
        """Return the seconds since the Pod was created."""
        return now - self.began


class PreheatRun:
    """Pulls images on nodes.

    Args:
        pulls: The images of each node, the first one first. The nodes are ready.
    """

    def __init__(
        self,
        client: KubernetesClient,
        settings: PullSettings,
        pulls: Mapping[Node, Sequence[str]],
        progress: Progress,
    ) -> None:
        self.id = secrets.token_hex(4)
        self._client = client
        self._settings = settings
        self._progress = progress
        self._pending = {node: deque(images) for node, images in pulls.items() if images}
        self._total = sum(map(len, pulls.values()))
        self._pulls: list[_Pull] = []
        self._pods, self._events = client.find_kind("v1", "Pod"), client.find_kind("v1", "Event")
        self._next_nodes = time.monotonic() + _NODES_SECONDS
        self._count = 0
        self.rows: list[PreheatRow] = []

    def run(self) -> None:
        """Pull all images; :attr:`rows` has the results. If an exception ends it, call :meth:`clean_up`.

        Raises:
            ClusterError: The API server is not available.
        """
        with self._progress.status(self.status):
            while self._pending or self._pulls:
                self._start_pulls()
                self._poll()
                self._end_unready_nodes()
                if self._pulls:
                    time.sleep(_INTERVAL)

    def clean_up(self) -> None:
        """Delete the Pods of an interrupted run."""
        delete_pods(self._client, self._settings.namespace, f"{RUN_LABEL}={self.id}")

    def status(self) -> str | None:
        """Return the progress in words."""
        pulls = list(self._pulls)
        failed = sum(row.result == FAILED for row in list(self.rows))
        text = f"{len(self.rows)} of {counted(self._total, 'pull')} ended"
        text += f", {failed} failed" if failed else ""
        if pulls:
            longest = min(pulls, key=lambda pull: pull.began)
            seconds = whole_seconds_text(longest.seconds(time.monotonic()))
            text += f"; {longest.image} on {longest.node.name} since {seconds}"
            text += f": {self._progress.shortened(longest.state.message, 200)}" if longest.state.message else ""
        return text

    def _start_pulls(self) -> None:
        for node in list(self._startable_nodes()):
            running = sum(pull.node is node for pull in self._pulls)
            while running < self._settings.parallel and self._pending[node]:
                running += self._start(node, self._pending[node].popleft())
            if not self._pending[node]:
                del self._pending[node]

    def _startable_nodes(self) -> Iterator[Node]:
        """Yield the nodes that may begin a pull; a node that has begun finishes before others begin."""
        active = {pull.node.name for pull in self._pulls}
        for node in sorted(self._pending, key=lambda node: node.name not in active):
            if node.name in active or len(active) < self._settings.parallel_nodes:
                active.add(node.name)
                yield node

    def _start(self, node: Node, image: str) -> bool:
        """Create a Pod and return whether it was created."""
        settings = self._settings
        own_image = settings.own_image if node.has_image_volumes else None
        self._count += 1
        name = f"k8scr-preheat-{self.id}-{self._count}"
        seconds = settings.timeout + _POD_SECONDS
        pod = pull_pod(name, self.id, node.name, image, own_image, settings.tolerations, seconds)
        now = time.monotonic()
        # It is in the list before it exists, so that an interruption deletes it.
        pull = _Pull(node, image, name, own_image is not None, now, since=now)
        self._pulls.append(pull)
        try:
            self._client.create(self._pods, pod, settings.namespace, dry_run=False)
        except ApiServerError as error:
            self._end(pull, FAILED, 0.0, str(error))
            return False
        return True

    def _poll(self) -> None:
        """Read the states of all Pods, and end those whose results are known."""
        if not self._pulls:
            return
        found = self._client.list_objects(self._pods, self._settings.namespace, label_selector=f"{RUN_LABEL}={self.id}")
        pods = {pod["metadata"]["name"]: pod for pod in found}
        now = time.monotonic()
        for pull in self._pulls:
            if pull.name in pods:
                pull.update(pods[pull.name], now)
            else:
                pull.state = PullState("failed", f"Pod {pull.name} was deleted before the image was pulled")
        # The events of a namespace are many, so they are listed only if a Pod needs them.
        if any(pull.state.step in ("pulled", "failing") for pull in self._pulls):
            events = self._client.list_objects(
                self._events, self._settings.namespace, field_selector="involvedObject.kind=Pod,reason=Pulled"
            )
        else:
            events = []
        for pull in list(self._pulls):
            self._end_if_known(pull, pull_event(pull.pod, events, pull.is_volume), now)

    def _end_unready_nodes(self) -> None:
        """End the pulls of nodes that are no longer ready, each of which would reach its timeout."""
        now = time.monotonic()
        if not self._pulls or now < self._next_nodes:
            return
        self._next_nodes = now + _NODES_SECONDS
        unready = {node.name: node for node in list_nodes(self._client, {}) if node.unready}
        for pull in [pull for pull in self._pulls if pull.node.name in unready]:
            row = PreheatRow.of_unready(unready[pull.node.name], pull.image, pull.seconds(now))
            self._add(row, pull)
        for node in [node for node in self._pending if node.name in unready]:
            self.rows += [PreheatRow.of_unready(unready[node.name], image) for image in self._pending.pop(node)]

    def _end_if_known(self, pull: _Pull, event: PullEvent | None, now: float) -> None:
        step, message, elapsed = pull.state.step, pull.state.message, now - pull.since
        if event is not None:
            self._end(pull, PRESENT if event.is_present else PULLED, event.seconds)
        elif step == "pulled":
            if elapsed >= _EVENT_SECONDS:
                self._end(pull, PULLED, pull.since - pull.began)
        elif step == "failed":
            self._end(pull, FAILED, pull.seconds(now), pull_failure(message, pull.node.platform).reason)
        elif step == "failing":
            failure = pull_failure(message, pull.node.platform)
            if failure.is_permanent or elapsed >= _FAILING_SECONDS or pull.seconds(now) >= self._settings.timeout:
                self._end(pull, FAILED, pull.seconds(now), failure.reason)
        elif step == "scheduling" and elapsed >= min(_SCHEDULING_SECONDS, self._settings.timeout):
            reason = message or "the scheduler gives no reason"
            self._end(pull, FAILED, pull.seconds(now), f"the Pod cannot be scheduled to the node: {reason}")
        elif pull.seconds(now) >= self._settings.timeout:
            last = message or self._last_event(pull) or "none"
            self._end(
                pull,
                FAILED,
                pull.seconds(now),
                f"the pull did not end within {self._settings.timeout} s; the last message of the kubelet: {last}",
            )

    def _last_event(self, pull: _Pull) -> str:
        """Return the message of the last event of a Pod; empty if there is none."""
        selector = f"involvedObject.kind=Pod,involvedObject.name={pull.name}"
        events = self._client.list_objects(self._events, self._settings.namespace, field_selector=selector)
        events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return str(events[-1].get("message")) if events else ""

    def _end(self, pull: _Pull, result: str, seconds: float, reason: str = "") -> None:
        self._add(PreheatRow(pull.node.name, pull.image, result, seconds, reason).on(pull.node), pull)

    def _add(self, row: PreheatRow, pull: _Pull) -> None:
        """Add the row of a pull, and delete its Pod, which may exist although its creation failed."""
        self.rows.append(row)
        if row.result != PRESENT:
            self._progress.line(row.line)
        self._client.delete(self._pods, pull.name, self._settings.namespace, dry_run=False)
        self._pulls.remove(pull)


def delete_pods(client: KubernetesClient, namespace: str, label_selector: str) -> None:
    """Delete the Pods with a label."""
    brief = client.limited_to(_CLEANUP_SECONDS)
    brief.delete_all(brief.find_kind("v1", "Pod"), namespace, label_selector)
