# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry deployed by the role, with its storage on this machine."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path
from typing import Any

from cluster.kubectl import kubectl
from live.registry_role import deploy

PORT = 5000
_READ_ONLY_PORT = 5001
_USER = 65532
"""User ID of the registry in the role."""


class ClusterRegistry:
    """A registry in the cluster, with the interface of :class:`HostRegistry`.

    Args:
        storage: Folder of the registry's storage; it is created.
        namespace: Namespace of the registry; it is created.
    """

    def __init__(self, storage: Path, namespace: str) -> None:
        self.storage = storage
        self.port = PORT
        self._namespace = namespace
        storage.mkdir()
        os.chown(storage, _USER, _USER)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the modules for this registry."""
        return {"namespace": self._namespace, "registry": "k8scr-0", "registry_port": PORT}

    @property
    def address(self) -> str:
        """The address of the read-only port; it changes with each new Pod."""
        return f"{self._pod_field('{.status.podIP}')}:{_READ_ONLY_PORT}"

    @property
    def write_url(self) -> str:
        """The URL of the write path."""
        encoded = kubectl(
            *("get", f"--namespace={self._namespace}", "secret", "k8scr-write", "--output=jsonpath={.data.path}")
        )
        return f"http://{self._pod_field('{.status.podIP}')}:{PORT}{base64.b64decode(encoded).decode().rstrip('/')}"

    @property
    def node(self) -> str:
        """The node of the Pod."""
        return self._pod_field("{.spec.nodeName}")

    def deploy(self, **variables: Any) -> None:
        """Deploy the registry with the role.

        Args:
            variables: Further variables of the role.
        """
        folder = {"registry_storage": "hostPath", "registry_storage_path": str(self.storage)}
        deploy(registry_namespace=self._namespace, registry_delete=True, **{**folder, **variables})

    def remove(self) -> None:
        """Delete the registry and its namespace."""
        kubectl("delete", "namespace", self._namespace, "--wait=false", "--ignore-not-found")

    def start_if_stopped(self) -> None:
        """Wait until the Pod is ready."""
        kubectl(
            *("rollout", "status", "statefulset/k8scr", f"--namespace={self._namespace}", "--timeout=120s"),
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Delete the Pod; the StatefulSet creates a new one."""
        grace = ["--now"] if number == signal.SIGTERM else ["--force", "--grace-period=0"]
        kubectl("delete", f"--namespace={self._namespace}", "pod", "k8scr-0", "--wait=false", *grace)

    def _pod_field(self, path: str) -> str:
        return kubectl("get", f"--namespace={self._namespace}", "pod", "k8scr-0", f"--output=jsonpath={path}")
