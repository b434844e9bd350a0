# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a Pod that pulls an image, from its status and its events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..oci.decimal import parse_decimal
from ..oci.json_object import json_object, json_objects
from .preheat_pods import CONTAINER
from .readiness import condition_of

_STARTING = frozenset(("", "ContainerCreating", "PodInitializing"))
_PULL_REASONS = frozenset(
    (
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    )
)
"""The reasons of containers whose images are not pulled (Kubernetes, ``pkg/kubelet/images/types.go``)."""
_PRESENT = "already present on machine"
_DURATION = re.compile(r"Successfully pulled image .* in ((?:[0-9.]+(?:h|ms|m|s|µs|us|ns))+)")
_DURATION_PART = re.compile(r"([0-9.]+)(h|ms|m|s|µs|us|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class PullState:
    """The state of a Pod that pulls an image.

    Attributes:
        step: ``scheduling``, ``pulling``, ``failing`` (the kubelet will retry), ``failed`` or ``pulled``.
        message: The message of the scheduler or of the kubelet; empty if there is none.
    """

    step: str
    message: str = ""


@dataclass(frozen=True)
class PullEvent:
    """The event of a kubelet that has an image.

    Attributes:
        is_present: Whether the image existed on the node.
        seconds: The seconds of the pull; 0 if the kubelet does not report them.
    """

    is_present: bool
    seconds: float


def pull_state(pod: Mapping[str, Any]) -> PullState:
    """Return the state of a Pod that :func:`.preheat_pods.pull_pod` defines."""
    status = json_object(pod.get("status"))
    container = next(json_objects(status.get("containerStatuses")), {})
    state = json_object(container.get("state"))
    if "terminated" in state or "running" in state or status.get("phase") == "Succeeded":
        return PullState("pulled")
    if status.get("phase") == "Failed":
        return PullState("failed", _joined(status.get("reason"), status.get("message")))
    scheduled = condition_of(status, "PodScheduled")
    if scheduled.get("status") != "True":
        return PullState("scheduling", str(scheduled.get("message") or ""))
    waiting = json_object(state.get("waiting"))
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _PULL_REASONS:
        return PullState("failing", message or reason)
    # The kubelet creates a container after it has pulled all images, so any other error follows the pull.
    return PullState("pulling", message) if reason in _STARTING else PullState("pulled")


def pull_event(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]], is_volume: bool) -> PullEvent | None:
    """Return the event that the image of a Pod was pulled or existed; None if there is none yet.

    Args:
        events: Events with the reason ``Pulled``.
        is_volume: Whether the image is that of a volume, and not that of the container.
    """
    uid, field = json_object(pod.get("metadata")).get("uid"), "" if is_volume else f"spec.containers{{{CONTAINER}}}"
    found = None
    for event in events:
        subject = json_object(event.get("involvedObject"))
        if subject.get("uid") != uid or (subject.get("fieldPath") or "") != field:
            continue
        message = str(event.get("message"))
        if _PRESENT not in message:
            return PullEvent(False, _seconds(message))
        found = PullEvent(True, 0.0)
    return found


def _joined(*parts: Any) -> str:
    return ": ".join(str(part) for part in parts if part)


def _seconds(message: str) -> float:
    """Return the duration in the message of an event, in the notation of Go, such as ``1m2.5s``."""
    match = _DURATION.search(message)
    parts = _DURATION_PART.findall(match[1]) if match else []
    return sum((_number(number) * _UNITS[unit] for number, unit in parts), 0.0)


def _number(text: str) -> float:
    whole, _point, fraction = text.partition(".")
    digits = parse_decimal(whole + fraction)
    return (digits or 0) / 10.0 ** len(fraction)
