# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.pull_state import (
    PullEvent,
    PullState,
    pull_event,
    pull_state,
)

POD = {"metadata": {"uid": "u1"}}


def pod(phase: str = "Pending", state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    containers = [{"state": state}] if state else []
    return {"status": {"phase": phase, "conditions": scheduled, "containerStatuses": containers, **status}}


def event(message: str, uid: str = "u1", field: str | None = None) -> dict[str, Any]:
    return {"involvedObject": {"uid": uid, "fieldPath": field}, "message": message}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod(state={"waiting": {"reason": reason, "message": message}})


@pytest.mark.parametrize("item", [pod("Succeeded"), pod("Failed", {"terminated": {"reason": "StartError"}})])
def test_pull_state_is_pulled_if_container_ended(item: dict[str, Any]) -> None:
    assert pull_state(item) == PullState("pulled")


@pytest.mark.parametrize("reason", ["CreateContainerError", "RunContainerError"])
def test_pull_state_is_pulled_if_runtime_cannot_create_container(reason: str) -> None:
    assert pull_state(waiting(reason)) == PullState("pulled")


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable"])
def test_pull_state_is_failing_with_message_of_kubelet(reason: str) -> None:
    assert pull_state(waiting(reason, "not found")) == PullState("failing", "not found")


def test_pull_state_is_pulling_while_container_is_created() -> None:
    assert pull_state(waiting("ContainerCreating")) == PullState("pulling")


def test_pull_state_is_failed_if_node_evicted_pod() -> None:
    evicted = pod("Failed", reason="Evicted", message="The node had condition: [DiskPressure].")

    assert pull_state(evicted) == PullState("failed", "Evicted: The node had condition: [DiskPressure].")


def test_pull_state_has_message_of_scheduler() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 1 Too many pods"}

    assert pull_state(pod(conditions=[condition])) == PullState("scheduling", condition["message"])


def test_pull_state_of_new_pod_is_scheduling() -> None:
    assert pull_state({}) == PullState("scheduling")


@pytest.mark.parametrize(
    ("duration", "seconds"), [("240ms (250ms including waiting)", 0.24), ("1m2.5s (2m including waiting)", 62.5)]
)
def test_pull_event_has_seconds_without_waiting(duration: str, seconds: float) -> None:
    found = pull_event(POD, [event(f'Successfully pulled image "a:1" in {duration}. Image size: 9 bytes.')], True)

    assert found is not None
    assert found.seconds == pytest.approx(seconds)


def test_pull_event_has_no_seconds_if_message_is_different() -> None:
    assert pull_event(POD, [event("Pulled")], True) == PullEvent(False, 0.0)


def test_pull_event_is_present_for_existing_image() -> None:
    message = 'Container image "a:1" already present on machine and can be accessed by the pod'

    assert pull_event(POD, [event(message)], True) == PullEvent(True, 0.0)


def test_pull_event_is_that_of_first_attempt_if_kubelet_reports_image_again() -> None:
    events = [event('Container image "a:1" already present on machine'), event('Successfully pulled image "a:1" in 2s')]

    assert pull_event(POD, events, True) == PullEvent(False, 2.0)


@pytest.mark.parametrize("is_volume", [False, True])
def test_pull_event_is_that_of_volume_or_of_container(is_volume: bool) -> None:
    volume, container = event('Successfully pulled image "a:1" in 1s'), event("already present on machine")
    container["involvedObject"]["fieldPath"] = "spec.containers{pull}"

    found = pull_event(POD, [volume, container], is_volume)

    assert found == (PullEvent(False, 1.0) if is_volume else PullEvent(True, 0.0))


def test_pull_event_of_other_pod_is_ignored() -> None:
    assert pull_event(POD, [event("already present on machine", uid="u2")], True) is None
