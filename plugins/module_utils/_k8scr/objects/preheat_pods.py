# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions of Pods that make a node pull an image, and run nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .nodes import DAEMON_TOLERATIONS

RUN_LABEL = "k8scr.core/preheat-run"
"""The label of Pods that pull, with the ID of the run."""
DAEMON_SET = "k8scr-preheat"
"""The name of the DaemonSet that keeps images on nodes."""
CONTAINER = "pull"
_VOLUME = "image"
_LABELS = {"app.kubernetes.io/name": "preheat", "app.kubernetes.io/managed-by": "k8scr.core"}
_NO_PROGRAM = "/k8scr.core/not-a-program"
"""A path that no image has. A container with this command fails after its image was pulled."""
_STAY = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"


def pull_pod(
    name: str,
    run: str,
    node: str,
    image: str,
    own_image: str | None,
    tolerations: Sequence[Mapping[str, Any]],
    seconds: int,
) -> dict[str, Any]:
    """Return the definition of a Pod that pulls one image on one node.

    Args:
        run: The ID of the run.
        own_image: The image of the Pod's container, which mounts the image to pull. None: the container has the image
            to pull, and a command that does not exist.
        tolerations: Tolerations in addition to those of DaemonSets.
        seconds: The maximum lifetime of the Pod; nothing else stops the Pods of a killed run.
    """
    container = _container(own_image or image, ["/bin/true"] if own_image else [_NO_PROGRAM])
    spec = _pod_spec(container, [image] if own_image else [], tolerations)
    # Pods of DaemonSets have the same selector. A cordoned node rejects Pods without their tolerations.
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    spec.update(restartPolicy="Never", activeDeadlineSeconds=seconds)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**_LABELS, RUN_LABEL: run}},
        "spec": spec,
    }


def keeping_daemon_set(
    images: Sequence[str],
    own_image: str,
    node_selector: Mapping[str, str],
    tolerations: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the definition of a DaemonSet whose Pods mount images, so that new nodes pull them.

    Args:
        own_image: The image of its container, which needs ``sh`` and ``sleep``.
        node_selector: The labels of the nodes.
    """
    spec = _pod_spec(_container(own_image, ["sh", "-c", _STAY]), images, tolerations)
    spec.update(nodeSelector=dict(node_selector), terminationGracePeriodSeconds=5)
    labels = {**_LABELS, "app.kubernetes.io/component": "keep"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": DAEMON_SET, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _container(image: str, command: Sequence[str]) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _pod_spec(
    container: dict[str, Any], volumes: Sequence[str], tolerations: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the spec of a Pod that complies with the Pod Security Standard ``restricted``."""
    if volumes:
        names = [f"{_VOLUME}-{number}" for number in range(len(volumes))]
        # The status of the container reports a failed pull only if it mounts the volume.
        container["volumeMounts"] = [{"name": name, "mountPath": f"/images/{name}", "readOnly": True} for name in names]
    else:
        names = []
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [dict(toleration) for toleration in (*DAEMON_TOLERATIONS, *tolerations)],
        "containers": [container],
        "volumes": [
            {"name": name, "image": {"reference": image, "pullPolicy": "IfNotPresent"}}
            for name, image in zip(names, volumes)
        ],
    }
