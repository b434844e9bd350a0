# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workloads that use images: Pods and templates of other kinds, none of which runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cluster.kubectl import kubectl

from .model import Use
from .pool import HOST

NAMESPACE = "default"
_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod")
_HOSTS = (HOST, "registry.example.com", "")


def image_name(use: Use, number: int) -> str:
    """Return the name of a used image as a workload has it; its host does not matter.

    Args:
        use: The used image.
        number: Selects the host.
    """
    host = _HOSTS[number % len(_HOSTS)]
    name = f"{host}/{use.repository}" if host else use.repository
    return f"{name}:{use.tag}" if use.tag else f"{name}@{use.digest}"


def workloads(campaign: str, name: str, uses: Sequence[Use]) -> list[dict[str, Any]]:
    """Return workloads that use images: one of each kind, with containers and init containers.

    Args:
        campaign: Label of the workloads.
        name: Name of the workloads.
        uses: The used images.
    """
    names = [image_name(use, number) for number, use in enumerate(uses)]
    found = []
    for index, kind in enumerate(_KINDS):
        images = names[index :: len(_KINDS)]
        if images:
            found.append(_workload(kind, name, {"campaign": campaign, "kind": kind}, _pod_spec(images)))
    return found


class Workloads:
    """The workloads of the campaign in the cluster.

    Args:
        name: Beginning of the names of the workloads, and their label.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def replace(self, uses: Sequence[Use]) -> None:
        """Delete the existing workloads and create those that use the given images."""
        self.delete()
        self._count += 1
        found = workloads(self._name, f"{self._name}-{self._count}", uses)
        objects = {"apiVersion": "v1", "kind": "List", "items": found}
        kubectl("create", "--filename=-", stdin=json.dumps(objects))

    def delete(self) -> None:
        """Delete the workloads."""
        kinds = ",".join(kind.lower() for kind in _KINDS)
        selector = f"--selector=campaign={self._name}"
        # None of them has dependents, so they are gone at once.
        kubectl("delete", kinds, f"--namespace={NAMESPACE}", selector, "--now", "--wait=false")


def _workload(kind: str, name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    # The labels of each kind differ: a ReplicaSet would adopt and delete other Pods with its labels.
    group = {"Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}.get(kind, "apps/v1")
    template = {"metadata": {"labels": labels}, "spec": spec}
    never = {**template, "spec": {**spec, "restartPolicy": "Never"}}
    specs: dict[str, dict[str, Any]] = {
        "Pod": spec,
        "Job": {"suspend": True, "template": never},
        "CronJob": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": never}}},
        # No node has the label.
        "DaemonSet": {
            "selector": {"matchLabels": labels},
            "template": {**template, "spec": {**spec, "nodeSelector": {"chaos.example.com/none": "yes"}}},
        },
        "StatefulSet": {
            "replicas": 0,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    # A paused Deployment has no ReplicaSet, which would use the images for a while after the deletion.
    default = {
        "replicas": 0,
        **({"paused": True} if kind == "Deployment" else {}),
        "selector": {"matchLabels": labels},
        "template": template,
    }
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": specs.get(kind, default)}


def _pod_spec(images: Sequence[str]) -> dict[str, Any]:
    """Return the spec of a Pod that no scheduler assigns to a node; every third image is an init container's."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    init = containers[2::3]
    main = [container for container in containers if container not in init]
    return {
        "schedulerName": "none",
        "automountServiceAccountToken": False,
        "initContainers": init,
        "containers": main,
    }
