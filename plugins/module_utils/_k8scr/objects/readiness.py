# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an object is ready, and what the cluster says when it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ApiServerError
from .client import ObjectClient

_MAX_REASONS = 4
_REQUESTED = re.compile(r"(\buri=\"?)[^\s\"]+")


@dataclass(frozen=True)
class State:
    """How far an object is.

    Attributes:
        ready: Whether it does what it is there for.
        progress: In words, for when it is not.
        hopeless: Whether it will not get ready by waiting.
    """

    ready: bool
    progress: str = ""
    hopeless: bool = False


def state_of(item: Mapping[str, Any]) -> State:
    """Judge an object by its own status; kinds without one are ready when they exist."""
    judge = _JUDGES.get(item.get("kind", ""))
    if judge is None:
        return State(True)
    return judge(item.get("spec") or {}, item.get("status") or {}, item.get("metadata") or {})


def _replicas(spec: Mapping[str, Any]) -> int:
    wanted = spec.get("replicas")
    return 1 if wanted is None else int(wanted)


def _seen(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    return int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0)


def _rollout(wanted: int, updated: int, ready: int, total: int, seen: bool) -> State:
    if seen and updated >= wanted and ready >= wanted and total <= wanted:
        return State(True)
    return State(False, f"{min(ready, updated)} of {wanted} Pods are ready")


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    wanted = _replicas(spec)
    updated, available = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
    return _rollout(wanted, updated, available, int(status.get("replicas") or 0), _seen(status, metadata))


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    wanted = _replicas(spec)
    strategy = spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    updated = int(status.get("updatedReplicas") or 0) + min(partition, wanted)
    # Once all Pods are of the new revision, the controller counts them as current and no longer as updated.
    if strategy.get("type") == "OnDelete" or status.get("currentRevision") == status.get("updateRevision"):
        updated = wanted
    ready = int(status.get("readyReplicas") or 0)
    return _rollout(wanted, updated, ready, int(status.get("replicas") or 0), _seen(status, metadata))


def _daemon_set(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated = int(status.get("updatedNumberScheduled") or 0)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = wanted
    return _rollout(wanted, updated, int(status.get("numberAvailable") or 0), wanted, _seen(status, metadata))


def _pod(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    phase = status.get("phase", "Pending")
    if phase == "Succeeded" or _condition(status, "Ready").get("status") == "True":
        return State(True)
    return State(False, f"its phase is {phase}", hopeless=phase == "Failed")


def _job(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    if _condition(status, "Complete").get("status") == "True":
        return State(True)
    failed = _condition(status, "Failed")
    if failed.get("status") == "True":
        return State(False, f"it failed: {failed.get('message') or failed.get('reason')}", hopeless=True)
    return State(False, f"{int(status.get('succeeded') or 0)} of {spec.get('completions') or 1} completions")


def _volume_claim(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    phase = status.get("phase", "Pending")
    return State(phase == "Bound", f"its phase is {phase}", hopeless=phase == "Lost")


def _namespace(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    phase = status.get("phase", "Active")
    return State(phase == "Active", f"its phase is {phase}")


def _definition(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> State:
    established = _condition(status, "Established")
    return State(established.get("status") == "True", established.get("message") or "it is not established yet")


_JUDGES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], State]] = {
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _volume_claim,
    "Pod": _pod,
    "StatefulSet": _stateful_set,
}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for condition in status.get("conditions") or []:
        if condition.get("type") == kind:
            return dict(condition)
    return {}


class Explainer:
    """Collects what the cluster says about an object that does not get ready.

    It asks as far as the user's rights reach; what it may not read it leaves out.

    Args:
        client: Whom to ask.
    """

    def __init__(self, client: ObjectClient) -> None:
        self._client = client

    def why(self, item: Mapping[str, Any]) -> str:
        """The reasons, in the cluster's own words; empty when it says nothing."""
        reasons: list[str] = []
        namespace = item["metadata"].get("namespace")
        if item.get("kind") == "Pod":
            reasons += self._pod(item)
        elif namespace and (item.get("spec") or {}).get("selector"):
            for pod in self._pods(namespace, item):
                reasons += self._pod(pod)
        reasons += self._volumes(namespace, item)
        if not reasons:
            reasons += _bad_conditions(item.get("status") or {})
            reasons += self._events(namespace, item)
        unique = list(dict.fromkeys(" ".join(reason.split()).rstrip(".") for reason in reasons if reason))
        return "; ".join(unique[:_MAX_REASONS])

    def _pods(self, namespace: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        labels = item["spec"]["selector"].get("matchLabels") or {}
        if not labels:
            return []
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = self._list("v1", "Pod", namespace, label_selector=selector)
        # Of two Pods of a rollout the younger one tells what is wrong with it.
        pods.sort(key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
        return [pod for pod in pods if not state_of({**pod, "kind": "Pod"}).ready]

    def _pod(self, pod: Mapping[str, Any]) -> list[str]:
        metadata, status = pod["metadata"], pod.get("status") or {}
        who = f"Pod {metadata['name']}"
        reasons = []
        scheduled = _condition(status, "PodScheduled")
        if scheduled.get("status") == "False":
            reasons.append(f"{who} cannot be placed on a node: {scheduled.get('message') or scheduled.get('reason')}")
        containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
        for container in containers:
            said = self._container(metadata, container)
            if said:
                reasons.append(f"{who}, container {container['name']}: {said}")
        if not reasons and status.get("message"):
            reasons.append(f"{who}: {status['message']}")
        if not reasons or any("not ready" in reason for reason in reasons):
            reasons += self._events(metadata.get("namespace"), {**pod, "kind": "Pod"})
        return reasons

    def _container(self, metadata: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
        state, last = container.get("state") or {}, container.get("lastState") or {}
        waiting, ended = state.get("waiting"), state.get("terminated") or last.get("terminated")
        if ended and ended.get("exitCode"):
            said = f"exited with {ended['exitCode']} ({ended.get('reason') or 'Error'})"
            line = ended.get("message") or self._log(metadata, container["name"], previous="terminated" in last)
            return f"{said}, its last words: {line}" if line else said
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            return f"{waiting.get('reason')}: {waiting.get('message')}" if waiting.get("message") else waiting["reason"]
        if "running" in state and not container.get("ready") and container.get("started") is not None:
            return "runs but is not ready"
        return None

    def _log(self, metadata: Mapping[str, Any], container: str, previous: bool) -> str:
        try:
            said = self._client.log(metadata["namespace"], metadata["name"], container, previous)
            # The path of a request to a registry may be its secret write path.
            return _REQUESTED.sub(r"\1********", said)
        except ApiServerError:
            return ""

    def _volumes(self, namespace: str | None, item: Mapping[str, Any]) -> list[str]:
        """Claims that a StatefulSet's Pods wait for; the Pod itself only says that they are not bound."""
        if not namespace or item.get("kind") != "StatefulSet":
            return []
        templates = {template["metadata"]["name"] for template in item["spec"].get("volumeClaimTemplates") or []}
        reasons = []
        for claim in self._list("v1", "PersistentVolumeClaim", namespace) if templates else []:
            name = claim["metadata"]["name"]
            ours = any(name.startswith(f"{template}-{item['metadata']['name']}-") for template in templates)
            if ours and (claim.get("status") or {}).get("phase") != "Bound":
                said = self._events(namespace, {**claim, "kind": "PersistentVolumeClaim"}, normal=True)
                reasons += said or [f"PersistentVolumeClaim {name} is not bound"]
        return reasons

    def _events(self, namespace: str | None, item: Mapping[str, Any], normal: bool = False) -> list[str]:
        metadata = item["metadata"]
        selector = f"involvedObject.kind={item['kind']},involvedObject.name={metadata['name']}"
        events = self._list("v1", "Event", namespace or "default", field_selector=selector)
        if item["kind"] == "Deployment":
            for replica_set in self._list("v1", "Event", namespace or "default"):
                about = replica_set.get("involvedObject") or {}
                if about.get("kind") == "ReplicaSet" and str(about.get("name")).startswith(f"{metadata['name']}-"):
                    events.append(replica_set)
        mine = [event for event in events if _about(event, item) and (normal or event.get("type") == "Warning")]
        mine.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), reverse=True)
        return [f"{event.get('reason')}: {event.get('message')}" for event in mine[:2]]

    def _list(self, api_version: str, kind: str, namespace: str, **selectors: str) -> list[dict[str, Any]]:
        try:
            found = self._client.kind(api_version, kind)
            return self._client.find(found, namespace, **selectors) if found is not None else []
        except ApiServerError:
            return []


def _about(event: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Whether an event is about this very object, not about one of the same name that is gone."""
    about, uid = event.get("involvedObject") or {}, item["metadata"].get("uid")
    return about.get("kind") != item["kind"] or not uid or about.get("uid") in (None, uid)


def _bad_conditions(status: Mapping[str, Any]) -> list[str]:
    bad = []
    for condition in status.get("conditions") or []:
        kind, value = condition.get("type", ""), condition.get("status")
        wrong = value == "True" if "Fail" in kind else value == "False"
        if wrong and condition.get("message"):
            bad.append(str(condition["message"]))
    return bad
