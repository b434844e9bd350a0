# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of the campaign: deployed by the role, with its images in a memory volume of limited size."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import requests
from cluster import processes
from cluster.kubectl import kubectl
from cluster.waiting import accepts_connections, wait_until
from live.registry_role import run_role

from ..cluster_registry import PORT, ClusterRegistry

MIRROR_PORT = 5001


class PruneRegistry(ClusterRegistry):
    """A registry with garbage collection.

    Args:
        storage: Folder for the base class; the images are in the Pod's volume.
        namespace: Namespace of the registry; it is created.
        size: Size of the volume, as a Kubernetes quantity.
        pruner: User that may prune.
        pusher: User that may push.
    """

    def __init__(self, storage: Path, namespace: str, size: str, pruner: str, pusher: str) -> None:
        super().__init__(storage, namespace)
        self._variables: dict[str, Any] = {
            "registry_storage": "memory",
            "registry_storage_size_limit": size,
            "registry_prune_subjects": [_user(pruner)],
            "registry_usage_subjects": [_user(pruner)],
            "registry_push_subjects": [_user(pusher)],
        }
        self._pod_uid = ""

    def deploy(self, **variables: Any) -> None:
        """Deploy the registry with the role, and find its volume."""
        super().deploy(**self._variables, **variables)
        self._pod_uid = self._pod_field("{.metadata.uid}")
        machine = processes.running(self.node)
        if machine is None:
            raise RuntimeError(f"{self.node} is not running")
        pods = Path(f"/proc/{machine.pid}/root/var/lib/kubelet/pods")
        self.storage = pods / self._pod_uid / "volumes/kubernetes.io~empty-dir/storage"

    def remove(self) -> None:
        """Remove the registry with the role."""
        done = run_role(registry_namespace=self._namespace, registry_state="absent", **self._variables)
        if done.returncode:
            raise RuntimeError(f"the role did not remove the registry: {done.stdout}{done.stderr}")

    def wait_until_started(self) -> None:
        """Wait until the write port accepts connections; the last fault may have killed the registry."""
        address = self._pod_field("{.status.podIP}")
        wait_until(lambda: accepts_connections(PORT, address), "the registry accepts connections")

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest and all of its tags, as a client of the write path does."""
        self.wait_until_started()
        response = requests.delete(f"{self.write_url}/v2/{repository}/manifests/{digest}", timeout=30)
        if response.status_code not in (202, 404):
            raise RuntimeError(f"{repository}@{digest} cannot be deleted: {response.status_code} {response.text}")

    @property
    def service(self) -> str:
        """The address of the Service, through which nodes pull."""
        path = "--output=jsonpath={.spec.clusterIP}"
        return f"{kubectl('get', f'--namespace={self._namespace}', 'service', 'k8scr', path)}:{MIRROR_PORT}"

    def kill_writer(self) -> bool:
        """Kill the first process of the writing container and thus the container; return whether it was running."""
        return _kill([pid for pid in self._writer() if _is_first(pid)])

    def kill_in_writer(self, command: str) -> bool:
        """Kill the processes of the writing container whose command contains a text; return whether one was running."""
        return _kill([pid for pid in self._writer() if command in _command(pid)])

    def running_registries(self) -> frozenset[int]:
        """Return the process IDs of the registry in the writing container, which change with each of its steps."""
        return frozenset(pid for pid in self._writer() if "registry serve" in _command(pid))

    def _writer(self) -> list[int]:
        """Return the process IDs of the writing container.

        They are found by its cgroup: the API server may be down, and it learns of a new container late.
        """
        groups = {pid: group for pid in _processes() if self._pod_uid in (group := _read(pid, "cgroup"))}
        # Only the writing container has the write path in its environment.
        writers = {group for pid, group in groups.items() if _is_first(pid) and _has_write_path(pid)}
        return [pid for pid, group in groups.items() if group in writers]


def _user(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, file: str) -> str:
    """Return the content of a file of a process; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:
        return ""


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")


def _is_first(pid: int) -> bool:
    """Return whether a process is the first one of its container."""
    lines = (line for line in _read(pid, "status").splitlines() if line.startswith("NSpid:"))
    return any(line.split()[-1] == "1" for line in lines)


def _has_write_path(pid: int) -> bool:
    return "REGISTRY_HTTP_PREFIX=" in _read(pid, "environ")


def _kill(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(pids)
