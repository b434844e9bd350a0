# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The readiness of each kind of object."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.readiness import Readiness, readiness_of


def item(kind: str, spec: Any = None, status: Any = None, generation: int = 1) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": generation}, "spec": spec, "status": status}


def condition(kind: str, value: str = "True", **rest: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Other", "status": "Unknown"}, {"type": kind, "status": value, **rest}]}


def rolled_out(**changes: Any) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        **changes,
    }


READY = {
    "a kind without a status": item("ConfigMap"),
    "a Deployment that is rolled out": item("Deployment", {"replicas": 2}, rolled_out()),
    "a Deployment without replicas": item("Deployment", {"replicas": 0}, {"observedGeneration": 1}),
    "a StatefulSet that is rolled out": item("StatefulSet", {"replicas": 2}, rolled_out()),
    "a StatefulSet with Pods of one revision": item(
        "StatefulSet",
        {"replicas": 2},
        rolled_out(updatedReplicas=None, currentRevision="r", updateRevision="r"),
    ),
    "a StatefulSet with a partition": item(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        rolled_out(updatedReplicas=1, currentRevision="a", updateRevision="b"),
    ),
    "a StatefulSet with OnDelete": item(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
        rolled_out(updatedReplicas=0, currentRevision="a", updateRevision="b"),
    ),
    "a DaemonSet on every node": item(
        "DaemonSet",
        {},
        {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2},
    ),
    "a DaemonSet with OnDelete": item(
        "DaemonSet",
        {"updateStrategy": {"type": "OnDelete"}},
        {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 2},
    ),
    "a Pod that is ready": item("Pod", {}, {"phase": "Running", **condition("Ready")}),
    "a Pod that succeeded": item("Pod", {}, {"phase": "Succeeded"}),
    "a Job that is complete": item("Job", {}, condition("Complete")),
    "a volume claim that is bound": item("PersistentVolumeClaim", {}, {"phase": "Bound"}),
    "a Namespace": item("Namespace", {}, {"phase": "Active"}),
    "a definition that is established": item("CustomResourceDefinition", {}, condition("Established")),
}


@pytest.mark.parametrize("found", READY.values(), ids=READY)
def test_readiness_is_true_for_ready_object(found: dict[str, Any]) -> None:
    assert readiness_of(found).ready


NOT_READY = {
    "a Deployment without a status": (item("Deployment", {}, None), "0 of 1 Pods are ready"),
    "a Deployment with an unobserved change": (
        item("Deployment", {"replicas": 2}, rolled_out(), generation=2),
        "2 of 2 Pods are ready",
    ),
    "a Deployment with an old Pod": (
        item("Deployment", {"replicas": 2}, rolled_out(replicas=3)),
        "2 of 2 Pods are ready",
    ),
    "a Deployment with one available Pod": (
        item("Deployment", {"replicas": 2}, rolled_out(availableReplicas=1)),
        "1 of 2 Pods are ready",
    ),
    "a Deployment with old ready Pods only": (
        item("Deployment", {"replicas": 2}, rolled_out(updatedReplicas=0)),
        "0 of 2 Pods are ready",
    ),
    "a StatefulSet during an update": (
        item(
            "StatefulSet",
            {"replicas": 2},
            rolled_out(updatedReplicas=1, currentRevision="a", updateRevision="b"),
        ),
        "1 of 2 Pods are ready",
    ),
    "a DaemonSet without a status": (item("DaemonSet"), "0 of 0 Pods are ready"),
    "a Pod without a status": (item("Pod"), "its phase is Pending"),
    "a running Pod that is not ready": (
        item("Pod", {}, {"phase": "Running", **condition("Ready", "False")}),
        "its phase is Running",
    ),
    "an active Job": (item("Job", {"completions": 3}, {"succeeded": 1}), "1 of 3 completions"),
    "a pending volume claim": (item("PersistentVolumeClaim"), "its phase is Pending"),
    "a terminating Namespace": (
        item("Namespace", {}, {"phase": "Terminating"}),
        "its phase is Terminating",
    ),
    "a new definition": (item("CustomResourceDefinition"), "it is not established yet"),
    "a definition with a conflict": (
        item("CustomResourceDefinition", {}, condition("Established", "False", message="the name is taken")),
        "the name is taken",
    ),
}


@pytest.mark.parametrize(("found", "progress"), NOT_READY.values(), ids=NOT_READY)
def test_readiness_has_progress_of_object_that_is_not_ready(found: dict[str, Any], progress: str) -> None:
    assert readiness_of(found) == Readiness(False, progress)


FAILED = {
    "a Pod that failed": (item("Pod", {}, {"phase": "Failed"}), "its phase is Failed"),
    "a Job that failed": (item("Job", {}, condition("Failed", message="too often")), "it failed: too often"),
    "a lost volume claim": (
        item("PersistentVolumeClaim", {}, {"phase": "Lost"}),
        "its phase is Lost",
    ),
}


@pytest.mark.parametrize(("found", "progress"), FAILED.values(), ids=FAILED)
def test_readiness_is_terminal_for_failed_object(found: dict[str, Any], progress: str) -> None:
    assert readiness_of(found) == Readiness(False, progress, terminal=True)
