# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster for k8scr_preheat, in place of the client of objects, whose clock only sleeps advance."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError

SCHEDULED = {"type": "PodScheduled", "status": "True"}
Status = Callable[[float], dict[str, Any]]
"""Returns the status of a Pod so many seconds after its creation."""


class Cluster:
    """A cluster whose clock only sleeps advance. Its Pods have the status that :attr:`statuses` has for their image."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pods: dict[str, dict[str, Any]] = {}
        self.created: list[tuple[str, str]] = []
        self.statuses: dict[str, Status] = {}
        self.events: dict[str, str] = {"a": 'Successfully pulled image "a" in 2s'}
        self.most: dict[str, int] = {}
        self.errors: dict[str, ApiServerError] = {}
        self.commands: list[list[str]] = []
        self.unanswered: set[str] = set()
        """Images whose Pods the cluster creates before it returns their error."""
        self.lost: set[str] = set()
        self.unready: set[str] = set()
        self.nodes: list[dict[str, Any]] = []
        self.has_image_volumes = True
        self.dry_run_error: ApiServerError | None = None

    def clock(self) -> Any:
        """Return the clock of the cluster in place of the module ``time``."""
        return SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep, time=lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def find_kind(self, _version: str, kind: str) -> str:
        return kind

    def limited_to(self, _seconds: float) -> Cluster:
        return self

    def create(self, _kind: str, body: dict[str, Any], _namespace: str, dry_run: bool) -> dict[str, Any]:
        if dry_run:
            if self.dry_run_error:
                raise self.dry_run_error
            return body if self.has_image_volumes else {"spec": {"volumes": [{"emptyDir": {}}]}}
        node, image = node_of(body), image_of(body)
        self.created.append((node, image))
        if image in self.errors and image not in self.unanswered:
            raise self.errors[image]
        self.commands.append(body["spec"]["containers"][0]["command"])
        if image in self.lost:
            return body
        name = body["metadata"]["name"]
        self.pods[name] = {**body, "metadata": {**body["metadata"], "uid": name}, "begin": self.now}
        nodes = [node_of(pod) for pod in self.pods.values()]
        self.most[node] = max(self.most.get(node, 0), nodes.count(node))
        self.most[""] = max(self.most.get("", 0), len(set(nodes)))
        if image in self.errors:
            raise self.errors[image]
        return body

    def list_objects(self, kind: str, _namespace: str | None, **_selectors: str) -> list[dict[str, Any]]:
        if kind == "Node":
            return [*self.nodes, *({"metadata": {"name": name}} for name in self.unready)]
        if kind == "Pod":
            return [{**pod, "status": self.status(pod)} for pod in self.pods.values()]
        return [
            {"involvedObject": {"uid": name}, "message": self.events[image_of(pod)]}
            for name, pod in self.pods.items()
            if image_of(pod) in self.events and self.status(pod).get("phase") == "Succeeded"
        ]

    def status(self, pod: dict[str, Any]) -> dict[str, Any]:
        return self.statuses.get(image_of(pod), succeeded)(self.now - pod["begin"])

    def delete(self, _kind: str, name: str, _namespace: str, dry_run: bool) -> None:
        assert not dry_run
        self.pods.pop(name, None)

    def delete_all(self, _kind: str, _namespace: str, label_selector: str) -> None:
        key, value = label_selector.split("=")
        self.pods = {name: pod for name, pod in self.pods.items() if pod["metadata"]["labels"].get(key) != value}


def image_of(pod: dict[str, Any]) -> str:
    """Return the image that a Pod pulls."""
    volumes = pod["spec"]["volumes"]
    return str(volumes[0]["image"]["reference"] if volumes else pod["spec"]["containers"][0]["image"])


def node_of(pod: dict[str, Any]) -> str:
    """Return the node that a Pod selects."""
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])


def succeeded(seconds: float) -> dict[str, Any]:
    """Return the status of a Pod that succeeds after three seconds."""
    return {"phase": "Succeeded" if seconds >= 3 else "Pending", "conditions": [SCHEDULED]}
