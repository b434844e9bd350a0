# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry as the role deploys it, with a folder of this machine as its storage."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path
from typing import Any

from live.conftest import kubectl
from live.registry_role import deploy

PORT = 5000
_READ_ONLY_PORT = 5001
_USER = 65532
"""Whom the role has the registry run as."""


class ClusterRegistry:
    """What :class:`HostRegistry` is, in a Pod that the cluster runs.

    Args:
        storage: Where it keeps everything; it is made.
        namespace: The namespace that it gets.
    """

    def __init__(self, storage: Path, namespace: str) -> None:
        self.storage = storage
        self.port = PORT
        self._namespace = namespace
        storage.mkdir()
        os.chown(storage, _USER, _USER)

    @property
    def options(self) -> dict[str, Any]:
        """What a task says to mean this registry."""
        return {"namespace": self._namespace, "registry": "k8scr-0", "registry_port": PORT}

    @property
    def address(self) -> str:
        """The address of its read-only port; another one after each time that its Pod is made."""
        return f"{self._of_pod('{.status.podIP}')}:{_READ_ONLY_PORT}"

    @property
    def write_url(self) -> str:
        """The URL below which it accepts writes."""
        encoded = kubectl(
            *("get", f"--namespace={self._namespace}", "secret", "k8scr-write", "--output=jsonpath={.data.path}")
        )
        return f"http://{self._of_pod('{.status.podIP}')}:{PORT}{base64.b64decode(encoded).decode().rstrip('/')}"

    @property
    def node(self) -> str:
        """The node that its Pod runs on."""
        return self._of_pod("{.spec.nodeName}")

    def deploy(self) -> None:
        """Have the role deploy it."""
        deploy(
            registry_namespace=self._namespace,
            registry_storage="hostPath",
            registry_storage_path=str(self.storage),
            registry_delete=True,
        )

    def remove(self) -> None:
        """Take it away with its namespace."""
        kubectl("delete", "namespace", self._namespace, "--wait=false", "--ignore-not-found")

    def start_if_stopped(self) -> None:
        """Wait until its Pod is ready."""
        kubectl(
            *("rollout", "status", "statefulset/k8scr", f"--namespace={self._namespace}", "--timeout=120s"),
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Delete its Pod, which comes again."""
        at_once = ["--now"] if number == signal.SIGTERM else ["--force", "--grace-period=0"]
        kubectl("delete", f"--namespace={self._namespace}", "pod", "k8scr-0", "--wait=false", *at_once)

    def _of_pod(self, path: str) -> str:
        return kubectl("get", f"--namespace={self._namespace}", "pod", "k8scr-0", f"--output=jsonpath={path}")
