# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects with which ``k8scr_node_mirror`` configures nodes: a Pod for each node, and a DaemonSet for new nodes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .client import label_selector

CONTAINER = "configure"
"""The container with the root folder of the node."""
_NAME_LABEL = "app.kubernetes.io/name"
_INSTANCE_LABEL = "app.kubernetes.io/instance"
_COMPONENT_LABEL = "app.kubernetes.io/component"
_MADE_FOR_LABEL = "k8scr.core/made-for"
_NAME = "k8scr-node-mirror"
_VISIT, _NEW_NODES = "visit", "new-nodes"
_NOBODY = 65534
VISIT_SECONDS = 900
"""Seconds after which the cluster ends a Pod that an interrupted run left."""

SELECTOR = f"{_NAME_LABEL}={_NAME}"
"""The label selector of all objects."""


@dataclass(frozen=True)
class NodeMirrorObjects:
    """Defines the objects.

    Attributes:
        namespace: Their namespace.
        name: The name of the DaemonSet and of its Secret.
        image: The image of all containers, with ``sh``, ``chroot``, ``sha256sum``, ``sleep`` and ``sort``.
        node_selector: The labels of the nodes.
        node_script: The script that runs in the root folder of the node.
        new_node_script: The script of the DaemonSet's Pods.
        observations: The first arguments of that script.
    """

    namespace: str
    name: str
    image: str
    node_selector: Mapping[str, str]
    node_script: str
    new_node_script: str
    observations: Sequence[str]

    @property
    def visit_selector(self) -> str:
        """The label selector of the Pods that :meth:`visit_pod` defines."""
        return self._selector(_VISIT)

    @property
    def new_nodes_selector(self) -> str:
        """The label selector of the DaemonSet's Pods."""
        return self._selector(_NEW_NODES)

    def namespace_object(self) -> dict[str, Any]:
        """Return the namespace. The root folder of a node requires the privileged level of Pod Security."""
        labels = {_NAME_LABEL: _NAME, _MADE_FOR_LABEL: _NAME}
        labels.update({f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")})
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}

    def visit_pod(self, pod: str, node: str) -> dict[str, Any]:
        """Return a Pod in which the controller runs the script on a node."""
        container = self._privileged([{"name": "host", "mountPath": "/host"}], ["sleep", str(VISIT_SECONDS)], [])
        spec = {
            **self._pod_spec([self._host_volume]),
            "nodeName": node,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": VISIT_SECONDS,
            "containers": [container],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(pod, _VISIT), "spec": spec}

    def secret(self, answers: Mapping[str, str]) -> dict[str, Any]:
        """Return the Secret with the changes of new nodes, which may contain passwords of configuration files."""
        data = {key: base64.b64encode(text.encode()).decode("ascii") for key, text in sorted(answers.items())}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": self._metadata(self.name, _NEW_NODES), "data": data}

    def daemon_set(self) -> dict[str, Any]:
        """Return the DaemonSet. Its Pods configure a node in an init container and then run without permissions."""
        mounts: list[dict[str, Any]] = [
            {"name": "host", "mountPath": "/host"},
            {"name": "answers", "mountPath": "/answers", "readOnly": True},
        ]
        command = ["sh", "-c", _unexpanded(self.new_node_script), "k8scr"]
        waiting = {
            "name": "configured",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "2147483647"],
            "securityContext": {
                "runAsUser": _NOBODY,
                "runAsGroup": _NOBODY,
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "resources": _RESOURCES,
        }
        spec = {
            **self._pod_spec([self._host_volume, {"name": "answers", "secret": {"secretName": self.name}}]),
            "nodeSelector": {**self.node_selector, "kubernetes.io/os": "linux"},
            "initContainers": [self._privileged(mounts, command, self.observations)],
            "containers": [waiting],
        }
        labels = self._metadata(self.name, _NEW_NODES)["labels"]
        return {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": self._metadata(self.name, _NEW_NODES),
            "spec": {
                "selector": {"matchLabels": labels},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    @property
    def _host_volume(self) -> dict[str, Any]:
        return {"name": "host", "hostPath": {"path": "/", "type": "Directory"}}

    def _pod_spec(self, volumes: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # A new node may have no Pod network yet, whose images it pulls from the mirror.
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "volumes": volumes,
        }

    def _privileged(self, mounts: list[dict[str, Any]], command: list[str], arguments: Sequence[str]) -> dict[str, Any]:
        return {
            "name": CONTAINER,
            "image": self.image,
            # For the tag latest, the default is to pull the image even if the node has it.
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            **({"args": list(arguments)} if arguments else {}),
            "env": [{"name": "K8SCR_SCRIPT", "value": _unexpanded(self.node_script)}],
            "volumeMounts": mounts,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "runAsUser": 0,
                "runAsGroup": 0,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SYS_CHROOT"]},
                "seccompProfile": {"type": "RuntimeDefault"},
                # Other types of SELinux may not write the node's files.
                "seLinuxOptions": {"type": "spc_t"},
            },
            "resources": _RESOURCES,
        }

    def _metadata(self, name: str, component: str) -> dict[str, Any]:
        labels = {_NAME_LABEL: _NAME, _INSTANCE_LABEL: self.name, _COMPONENT_LABEL: component}
        return {"name": name, "namespace": self.namespace, "labels": labels}

    def _selector(self, component: str) -> str:
        return label_selector(self._metadata("", component)["labels"])


_RESOURCES = {"requests": {"cpu": "1m", "memory": "8Mi"}}


def _unexpanded(text: str) -> str:
    """Return a text for a command or a variable of a container, in which the kubelet replaces ``$(NAME)``."""
    return text.replace("$", "$$")


def is_own_namespace(item: Mapping[str, Any]) -> bool:
    """Return whether ``k8scr_node_mirror`` created a namespace."""
    return ((item.get("metadata") or {}).get("labels") or {}).get(_MADE_FOR_LABEL) == _NAME
