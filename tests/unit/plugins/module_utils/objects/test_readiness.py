# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an object is ready."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.readiness import Explainer, State, state_of


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
    "a Deployment of none": item("Deployment", {"replicas": 0}, {"observedGeneration": 1}),
    "a StatefulSet that is rolled out": item("StatefulSet", {"replicas": 2}, rolled_out()),
    "a StatefulSet whose Pods are all of one revision": item(
        "StatefulSet",
        {"replicas": 2},
        rolled_out(updatedReplicas=None, currentRevision="r", updateRevision="r"),
    ),
    "a StatefulSet that updates only some": item(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        rolled_out(updatedReplicas=1, currentRevision="a", updateRevision="b"),
    ),
    "a StatefulSet that updates on deletion": item(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
        rolled_out(updatedReplicas=0, currentRevision="a", updateRevision="b"),
    ),
    "a DaemonSet on every node": item(
        "DaemonSet",
        {},
        {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2},
    ),
    "a DaemonSet that updates on deletion": item(
        "DaemonSet",
        {"updateStrategy": {"type": "OnDelete"}},
        {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 2},
    ),
    "a Pod that is ready": item("Pod", {}, {"phase": "Running", **condition("Ready")}),
    "a Pod that is done": item("Pod", {}, {"phase": "Succeeded"}),
    "a Job that is complete": item("Job", {}, condition("Complete")),
    "a volume claim that is bound": item("PersistentVolumeClaim", {}, {"phase": "Bound"}),
    "a Namespace": item("Namespace", {}, {"phase": "Active"}),
    "a definition that is established": item("CustomResourceDefinition", {}, condition("Established")),
}


@pytest.mark.parametrize("found", READY.values(), ids=READY)
def test_is_ready(found: dict[str, Any]) -> None:
    assert state_of(found).ready


NOT_READY = {
    "a Deployment that nobody has seen": (item("Deployment", {}, None), "0 of 1 Pods are ready"),
    "a Deployment whose change nobody has seen": (
        item("Deployment", {"replicas": 2}, rolled_out(), generation=2),
        "2 of 2 Pods are ready",
    ),
    "a Deployment with a Pod of the old kind left": (
        item("Deployment", {"replicas": 2}, rolled_out(replicas=3)),
        "2 of 2 Pods are ready",
    ),
    "a Deployment with one Pod": (
        item("Deployment", {"replicas": 2}, rolled_out(availableReplicas=1)),
        "1 of 2 Pods are ready",
    ),
    "a Deployment whose ready Pods are the old ones": (
        item("Deployment", {"replicas": 2}, rolled_out(updatedReplicas=0)),
        "0 of 2 Pods are ready",
    ),
    "a StatefulSet that is being updated": (
        item(
            "StatefulSet",
            {"replicas": 2},
            rolled_out(updatedReplicas=1, currentRevision="a", updateRevision="b"),
        ),
        "1 of 2 Pods are ready",
    ),
    "a DaemonSet that nobody has seen": (item("DaemonSet"), "0 of 0 Pods are ready"),
    "a Pod without a status": (item("Pod"), "its phase is Pending"),
    "a Pod that runs and is not ready": (
        item("Pod", {}, {"phase": "Running", **condition("Ready", "False")}),
        "its phase is Running",
    ),
    "a Job at work": (item("Job", {"completions": 3}, {"succeeded": 1}), "1 of 3 completions"),
    "a volume claim that waits": (item("PersistentVolumeClaim"), "its phase is Pending"),
    "a Namespace that is on its way out": (
        item("Namespace", {}, {"phase": "Terminating"}),
        "its phase is Terminating",
    ),
    "a definition that is new": (item("CustomResourceDefinition"), "it is not established yet"),
    "a definition with a conflict": (
        item("CustomResourceDefinition", {}, condition("Established", "False", message="the name is taken")),
        "the name is taken",
    ),
}


@pytest.mark.parametrize(("found", "progress"), NOT_READY.values(), ids=NOT_READY)
def test_is_not_ready_yet(found: dict[str, Any], progress: str) -> None:
    assert state_of(found) == State(False, progress)


HOPELESS = {
    "a Pod that failed": (item("Pod", {}, {"phase": "Failed"}), "its phase is Failed"),
    "a Job that failed": (item("Job", {}, condition("Failed", message="too often")), "it failed: too often"),
    "a volume claim that lost its volume": (
        item("PersistentVolumeClaim", {}, {"phase": "Lost"}),
        "its phase is Lost",
    ),
}


@pytest.mark.parametrize(("found", "progress"), HOPELESS.values(), ids=HOPELESS)
def test_will_not_get_ready_by_waiting(found: dict[str, Any], progress: str) -> None:
    assert state_of(found) == State(False, progress, hopeless=True)


@pytest.mark.parametrize("uri", ["/canary/v2/a/blobs/1", '"/canary/v2/a/blobs/1?x=y z"'])
def test_reason_does_not_show_path_of_request_in_log_of_container(uri: str) -> None:
    client = Mock()
    client.log.return_value = f'level=error msg="response completed" http.request.uri={uri} http.response.status=500'
    ended = {"name": "registry", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "status": {"containerStatuses": [ended]}}

    reason = Explainer(client).why(pod)

    assert "OOMKilled" in reason
    assert "http.request.uri=" in reason
    assert "canary" not in reason
