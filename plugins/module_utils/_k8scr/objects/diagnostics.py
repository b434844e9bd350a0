# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reasons why an object is not ready: statuses, events and logs in the cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import K8scrError
from ..redaction import HIDDEN
from .client import KubernetesClient, label_selector
from .readiness import condition_of, readiness_of

_MAX_REASONS = 4
_REQUEST_URI = re.compile(r"(\buri=\"?)[^\s\"]+")


class Diagnostics:
    """Collects the reasons why an object is not ready. Objects that cannot be read are skipped."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    def reasons(self, item: Mapping[str, Any]) -> str:
        """Return the reasons as the cluster gives them; empty if it gives none."""
        reasons: list[str] = []
        namespace = item["metadata"].get("namespace")
        if item.get("kind") == "Pod":
            reasons += self._pod_reasons(item)
        elif namespace and (item.get("spec") or {}).get("selector"):
            for pod in self._unready_pods(namespace, item):
                reasons += self._pod_reasons(pod)
        reasons += self._volume_reasons(namespace, item)
        if not reasons:
            reasons += _condition_messages(item.get("status") or {})
            reasons += self._events(namespace, item)
        unique = list(dict.fromkeys(" ".join(reason.split()).rstrip(".") for reason in reasons if reason))
        return "; ".join(unique[:_MAX_REASONS])

    def _unready_pods(self, namespace: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        labels = item["spec"]["selector"].get("matchLabels") or {}
        if not labels:
            return []
        pods = self._list("v1", "Pod", namespace, label_selector=label_selector(labels))
        # The newest Pods are those of the current rollout.
        pods.sort(key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
        return [pod for pod in pods if not readiness_of({**pod, "kind": "Pod"}).ready]

    def _pod_reasons(self, pod: Mapping[str, Any]) -> list[str]:
        metadata, status = pod["metadata"], pod.get("status") or {}
        name = f"Pod {metadata['name']}"
        reasons = []
        scheduled = condition_of(status, "PodScheduled")
        if scheduled.get("status") == "False":
            reasons.append(f"{name} cannot be scheduled: {scheduled.get('message') or scheduled.get('reason')}")
        containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
        for container in containers:
            reason = self._container_reason(metadata, container)
            if reason:
                reasons.append(f"{name}, container {container['name']}: {reason}")
        if not reasons and status.get("message"):
            reasons.append(f"{name}: {status['message']}")
        if not reasons or any("not ready" in reason for reason in reasons):
            reasons += self._events(metadata.get("namespace"), {**pod, "kind": "Pod"})
        return reasons

    def _container_reason(self, metadata: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
        state, last = container.get("state") or {}, container.get("lastState") or {}
        waiting, terminated = state.get("waiting"), state.get("terminated") or last.get("terminated")
        if terminated and terminated.get("exitCode"):
            status = f"exited with {terminated['exitCode']} ({terminated.get('reason') or 'Error'})"
            line = terminated.get("message") or self._last_log_line(
                metadata, container["name"], previous="terminated" in last
            )
            return f"{status}, last log line: {line}" if line else status
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            return f"{waiting.get('reason')}: {waiting.get('message')}" if waiting.get("message") else waiting["reason"]
        if "running" in state and not container.get("ready") and container.get("started") is not None:
            return "running but not ready"
        return None

    def _last_log_line(self, metadata: Mapping[str, Any], container: str, previous: bool) -> str:
        try:
            line = self._client.last_log_line(metadata["namespace"], metadata["name"], container, previous)
            # The path of a request to a registry may contain its secret write path.
            return _REQUEST_URI.sub(rf"\1{HIDDEN}", line)
        except K8scrError:
            return ""

    def _volume_reasons(self, namespace: str | None, item: Mapping[str, Any]) -> list[str]:
        """Return the reasons why claims of a StatefulSet are not bound; the status of its Pods has no reasons."""
        if not namespace or item.get("kind") != "StatefulSet":
            return []
        templates = {template["metadata"]["name"] for template in item["spec"].get("volumeClaimTemplates") or []}
        reasons = []
        for claim in self._list("v1", "PersistentVolumeClaim", namespace) if templates else []:
            name = claim["metadata"]["name"]
            owned = any(name.startswith(f"{template}-{item['metadata']['name']}-") for template in templates)
            if owned and (claim.get("status") or {}).get("phase") != "Bound":
                events = self._events(namespace, {**claim, "kind": "PersistentVolumeClaim"}, normal=True)
                reasons += events or [f"PersistentVolumeClaim {name} is not bound"]
        return reasons

    def _events(self, namespace: str | None, item: Mapping[str, Any], normal: bool = False) -> list[str]:
        metadata = item["metadata"]
        selector = f"involvedObject.kind={item['kind']},involvedObject.name={metadata['name']}"
        events = self._list("v1", "Event", namespace or "default", field_selector=selector)
        if item["kind"] == "Deployment":
            for event in self._list("v1", "Event", namespace or "default"):
                involved = event.get("involvedObject") or {}
                name = str(involved.get("name"))
                if involved.get("kind") == "ReplicaSet" and name.startswith(f"{metadata['name']}-"):
                    events.append(event)
        events = [event for event in events if _is_current(event, item) and (normal or event.get("type") == "Warning")]
        events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), reverse=True)
        return [f"{event.get('reason')}: {event.get('message')}" for event in events[:2]]

    def _list(self, api_version: str, kind: str, namespace: str, **selectors: str) -> list[dict[str, Any]]:
        try:
            found = self._client.find_kind(api_version, kind)
            return self._client.list_objects(found, namespace, **selectors) if found is not None else []
        except K8scrError:
            return []


def _is_current(event: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Return whether an event refers to this object and not to a deleted one with the same name."""
    involved, uid = event.get("involvedObject") or {}, item["metadata"].get("uid")
    return involved.get("kind") != item["kind"] or not uid or involved.get("uid") in (None, uid)


def _condition_messages(status: Mapping[str, Any]) -> list[str]:
    """Return the messages of conditions that report a problem: failures that are true, and others that are false."""
    conditions = [condition for condition in status.get("conditions") or [] if condition.get("message")]
    return [
        str(condition["message"])
        for condition in conditions
        if condition.get("status") == ("True" if "Fail" in condition.get("type", "") else "False")
    ]
