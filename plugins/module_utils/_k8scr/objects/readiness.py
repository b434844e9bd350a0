# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readiness of Kubernetes objects, by their status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_Section = Mapping[str, Any]


@dataclass(frozen=True)
class Readiness:
    """The readiness of an object.

    Attributes:
        progress: The progress of an object that is not ready, in words.
        terminal: Whether the object cannot become ready.
    """

    ready: bool
    progress: str = ""
    terminal: bool = False


def readiness_of(item: Mapping[str, Any]) -> Readiness:
    """Return the readiness of an object; kinds without a status are ready when they exist."""
    check = _CHECKS.get(item.get("kind", ""))
    if check is None:
        return Readiness(True)
    return check(item.get("spec") or {}, item.get("status") or {}, item.get("metadata") or {})


def count_of(section: _Section, name: str, default: int = 0) -> int:
    """Return a number in a section; the default if it is missing or not a whole number."""
    value = section.get(name)
    return value if isinstance(value, int) else default


def _is_observed(status: _Section, metadata: _Section) -> bool:
    return count_of(status, "observedGeneration") >= count_of(metadata, "generation")


def _rollout(desired: int, updated: int, ready: int, total: int, observed: bool) -> Readiness:
    if observed and updated >= desired and ready >= desired and total <= desired:
        return Readiness(True)
    return Readiness(False, f"{min(ready, updated)} of {desired} Pods are ready")


def _deployment(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    desired = count_of(spec, "replicas", default=1)
    updated, available = count_of(status, "updatedReplicas"), count_of(status, "availableReplicas")
    return _rollout(desired, updated, available, count_of(status, "replicas"), _is_observed(status, metadata))


def _stateful_set(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    desired = count_of(spec, "replicas", default=1)
    strategy = spec.get("updateStrategy") or {}
    partition = count_of(strategy.get("rollingUpdate") or {}, "partition")
    updated = count_of(status, "updatedReplicas") + min(partition, desired)
    # When all Pods have the new revision, the controller counts them as current and no longer as updated.
    if strategy.get("type") == "OnDelete" or status.get("currentRevision") == status.get("updateRevision"):
        updated = desired
    ready = count_of(status, "readyReplicas")
    return _rollout(desired, updated, ready, count_of(status, "replicas"), _is_observed(status, metadata))


def _daemon_set(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    desired = count_of(status, "desiredNumberScheduled")
    updated = count_of(status, "updatedNumberScheduled")
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = desired
    return _rollout(desired, updated, count_of(status, "numberAvailable"), desired, _is_observed(status, metadata))


def _pod(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    phase = status.get("phase", "Pending")
    if phase == "Succeeded" or condition_of(status, "Ready").get("status") == "True":
        return Readiness(True)
    return Readiness(False, f"its phase is {phase}", terminal=phase == "Failed")


def _job(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    if condition_of(status, "Complete").get("status") == "True":
        return Readiness(True)
    failed = condition_of(status, "Failed")
    if failed.get("status") == "True":
        return Readiness(False, f"it failed: {failed.get('message') or failed.get('reason')}", terminal=True)
    succeeded, completions = count_of(status, "succeeded"), count_of(spec, "completions", default=1)
    return Readiness(False, f"{succeeded} of {completions} completions")


def _persistent_volume_claim(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    phase = status.get("phase", "Pending")
    return Readiness(phase == "Bound", f"its phase is {phase}", terminal=phase == "Lost")


def _namespace(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    phase = status.get("phase", "Active")
    return Readiness(phase == "Active", f"its phase is {phase}")


def _custom_resource_definition(spec: _Section, status: _Section, metadata: _Section) -> Readiness:
    established = condition_of(status, "Established")
    return Readiness(established.get("status") == "True", established.get("message") or "it is not established yet")


_CHECKS: dict[str, Callable[[_Section, _Section, _Section], Readiness]] = {
    "CustomResourceDefinition": _custom_resource_definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _persistent_volume_claim,
    "Pod": _pod,
    "StatefulSet": _stateful_set,
}


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of a type in a status; empty if it is missing."""
    for condition in status.get("conditions") or []:
        if condition.get("type") == kind:
            return dict(condition)
    return {}
