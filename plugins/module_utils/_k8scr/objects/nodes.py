# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes, and their properties that matter for pulling images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..oci.decimal import parse_decimal
from ..oci.json_object import json_object, json_objects
from .client import KubernetesClient, label_selector
from .readiness import condition_of

_IMAGE_VOLUMES_SINCE = (1, 35)
"""The first version of the kubelet that has image volumes by default (Kubernetes, feature gate ``ImageVolume``)."""
_VERSION = re.compile(r"v(\d+)\.(\d+)\.")
DAEMON_TOLERATIONS: Sequence[Mapping[str, str]] = (
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
)
"""The tolerations that the controller of DaemonSets adds to its Pods."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the cluster.

    Attributes:
        platform: Its operating system and architecture, such as ``linux/amd64``.
        is_cordoned: Whether it accepts no new Pods (``kubectl cordon``).
        unready: Why it is not ready; empty if it is.
        has_image_volumes: Whether its kubelet has image volumes by default.
        images: The sizes in bytes of images in its runtime, by their names. A kubelet reports 50 images by default.
    """

    name: str
    platform: str
    is_cordoned: bool
    unready: str
    has_image_volumes: bool
    taints: Sequence[Mapping[str, Any]]
    images: Mapping[str, int]

    @property
    def is_windows(self) -> bool:
        """Whether it runs Windows."""
        return self.platform.startswith("windows/")

    @classmethod
    def from_object(cls, item: Mapping[str, Any]) -> Node:
        """Return the properties of an object of kind Node."""
        spec, status = json_object(item.get("spec")), json_object(item.get("status"))
        information = json_object(status.get("nodeInfo"))
        platform = f"{information.get('operatingSystem') or 'linux'}/{information.get('architecture') or 'unknown'}"
        return cls(
            str(json_object(item.get("metadata")).get("name") or ""),
            platform,
            spec.get("unschedulable") is True,
            _unreadiness(status),
            _version(str(information.get("kubeletVersion"))) >= _IMAGE_VOLUMES_SINCE,
            tuple(json_objects(spec.get("taints"))),
            dict(_images(status)),
        )

    def rejects(self, tolerations: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether a taint of the node keeps Pods of a DaemonSet with these tolerations away."""
        given = [*DAEMON_TOLERATIONS, *tolerations]
        taints = (taint for taint in self.taints if taint.get("effect") in ("NoSchedule", "NoExecute"))
        return not all(any(_tolerates(toleration, taint) for toleration in given) for taint in taints)


def _unreadiness(status: Mapping[str, Any]) -> str:
    ready = condition_of(status, "Ready")
    if ready.get("status") == "True":
        return ""
    return str(ready.get("message") or ready.get("reason") or "its kubelet has not reported yet").rstrip(".")


def _version(text: str) -> tuple[int, int]:
    match = _VERSION.match(text)
    return (parse_decimal(match[1]) or 0, parse_decimal(match[2]) or 0) if match else (0, 0)


def _images(status: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    for image in json_objects(status.get("images")):
        size, names = image.get("sizeBytes"), image.get("names")
        for name in names if isinstance(names, list) else ():
            yield str(name), size if isinstance(size, int) else 0


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Return whether a toleration matches a taint (Kubernetes API, ``v1.Toleration``)."""
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") not in (None, "", taint.get("key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def list_nodes(client: KubernetesClient, labels: Mapping[str, str]) -> list[Node]:
    """Return the nodes with all of these labels.

    Raises:
        ClusterError: The API server cannot be reached.
        ApiServerError: The user may not list nodes.
    """
    found = client.list_objects(client.find_kind("v1", "Node"), None, label_selector=label_selector(labels))
    return [Node.from_object(item) for item in found]


def named_nodes(nodes: Sequence[Node], names: Sequence[str]) -> Sequence[Node]:
    """Return the nodes with these names, or all nodes without names.

    Raises:
        InputError: A node does not exist.
    """
    missing = sorted({*names} - {node.name for node in nodes})
    if missing:
        raise InputError(
            f"the cluster has no node {', '.join(missing)} with the labels in node_selector",
            "Name the nodes as in `kubectl get nodes`",
        )
    return [node for node in nodes if node.name in names] if names else nodes
