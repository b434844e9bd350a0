# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the cluster's components, of permissions, and of the registry and its Pod."""

from __future__ import annotations

import random
import shutil
import signal

from cluster import cluster
from live.host_registries import stored_bytes

from ..cluster_registry import ClusterRegistry
from .base import Fault, FaultContext


class ApiServerKilled(Fault):
    """API server killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1)

    def inject(self, context: FaultContext) -> None:
        cluster.stop("kube-apiserver", signal.SIGKILL)

    def clear(self, context: FaultContext) -> None:
        cluster.start("kube-apiserver")


class ControllerManagerKilled(Fault):
    """Controller manager killed"""

    def inject(self, context: FaultContext) -> None:
        cluster.stop("kube-controller-manager", signal.SIGKILL)

    def clear(self, context: FaultContext) -> None:
        cluster.start("kube-controller-manager")


class ClusterPodDeleted(Fault):
    """Registry Pod deleted, and recreated by its StatefulSet"""

    in_cluster = True

    def inject(self, context: FaultContext) -> None:
        context.testbed.registry.stop()

    def clear(self, context: FaultContext) -> None:
        context.testbed.registry.start_if_stopped()


class ContainerdRestarted(Fault):
    """Node's containerd restarted"""

    in_cluster = True

    def inject(self, context: FaultContext) -> None:
        assert isinstance(context.testbed.registry, ClusterRegistry)
        name = f"containerd@{context.testbed.registry.node}"
        cluster.stop(name, signal.SIGKILL)
        cluster.start(name)


class PermissionsRevoked(Fault):
    """RBAC permissions revoked, and granted again"""

    expected_error = "the API server forbids access to Pod"

    def inject(self, context: FaultContext) -> None:
        context.testbed.bind(False)

    def clear(self, context: FaultContext) -> None:
        context.testbed.bind(True)


class RegistryKilled(Fault):
    """Registry killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1.5)

    def inject(self, context: FaultContext) -> None:
        context.testbed.registry.stop(signal.SIGKILL)

    def clear(self, context: FaultContext) -> None:
        context.testbed.registry.start_if_stopped()


class PodRescheduled(Fault):
    """Pod deleted and rescheduled with its storage"""

    keeps_storage = True

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.2, 1.5)

    def inject(self, context: FaultContext) -> None:
        testbed = context.testbed
        testbed.delete_pod()
        testbed.registry.stop(signal.SIGTERM)
        if not self.keeps_storage:
            context.destroyed += stored_bytes(testbed.registry.storage)
            shutil.rmtree(testbed.registry.storage, ignore_errors=True)

    def clear(self, context: FaultContext) -> None:
        context.testbed.registry.start_if_stopped()
        context.testbed.create_pod()


class PodRescheduledWithoutStorage(PodRescheduled):
    """Pod deleted and rescheduled without its storage"""

    # The blobs that a push found and the images of a pull are lost.
    expected_error = "does not have the|has no image for|there is no image|unknown"
    keeps_storage = False
