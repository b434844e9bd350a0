# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Testbed of the campaign: one registry in the cluster, its users, and the clients around it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster import users
from cluster.kubectl import kubectl
from cluster.layout import NODES
from cluster.waiting import wait_until

from ..testbed import ClusterTestbed
from .clients import Containerd, Target, skopeo_problems, write_hosts
from .pool import Library
from .pulls import NodePulls
from .registry import PruneRegistry
from .storage import Storage
from .workloads import Workloads

VOLUME = "128Mi"
"""Size of the registry's volume; its file system reports a full disk like a real one."""


class PruneTestbed(ClusterTestbed):
    """A registry with garbage collection, and the clients that push, prune and pull.

    Attributes:
        library: Layouts of the images.
        workloads: Workloads that use images.
        containerds: Clients of the nodes' containerds.
        pulls: Pulls on the nodes.
    """

    registry: PruneRegistry

    def __init__(self, folder: Path, name: str, opened: ExitStack) -> None:
        self._pusher = f"{name}-push"
        super().__init__(folder, name, opened)
        self._push_kubeconfig = users.make(self._pusher)
        users.wait_for_permission(self._pusher, self.namespace)
        self.library = Library(self.client_disk / "images")
        (self.client_disk / "tmp").mkdir()
        self.workloads = Workloads(name)
        opened.callback(self.workloads.delete)
        service = self.registry.service
        hosts = write_hosts(folder / "hosts", service)
        self.containerds = [Containerd(node, hosts) for node in NODES]
        for containerd in self.containerds:
            opened.callback(containerd.clean)
        self.pulls: NodePulls = opened.enter_context(NodePulls(service, self.containerds))

    @property
    def storage(self) -> Storage:
        """The registry's storage."""
        return Storage(self.registry.storage)

    @property
    def push_options(self) -> dict[str, Any]:
        """Options of tasks that push, as another user than the one that prunes."""
        return {**self.registry.options, "kubeconfig": str(self._push_kubeconfig)}

    def skopeo_problems(self, targets: Sequence[Target]) -> list[str]:
        """Copy images with skopeo, and return a line for each problem."""
        return skopeo_problems(self.registry.address, targets, self.client_disk / "skopeo")

    def containerd_problems(self, targets: Sequence[Target]) -> list[str]:
        """Pull images with the nodes' containerds in turn, and return a line for each problem."""
        problems = []
        for number, target in enumerate(targets):
            problem = self.containerds[number % len(self.containerds)].pull(target)
            problems += [f"containerd: {target}: {problem}"] if problem else []
        return problems

    def _start_registry(self, opened: ExitStack) -> tuple[Path, PruneRegistry]:
        registry = PruneRegistry(self.folder / "server", self.name, VOLUME, self.name, self._pusher)
        opened.callback(registry.remove)
        registry.deploy()
        return registry.storage, registry

    def _create_role(self) -> None:
        """Wait for the permissions that the role of the registry grants."""
        users.wait_for_permission(self.name, self.namespace)
        listed = ("auth", "can-i", "list", "cronjobs", "--all-namespaces", f"--as={self.name}")
        wait_until(lambda: "yes" in kubectl(*listed), f"{self.name} may list workloads")

    def _remove(self) -> None:
        """Delete what the registry's role does not delete."""
        shutil.rmtree(self.folder / "server", ignore_errors=True)
