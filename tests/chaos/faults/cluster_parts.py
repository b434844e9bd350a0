# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of what runs in the cluster: API server, controller manager, containerd, the registry and its Pod."""

from __future__ import annotations

import random
import shutil
import signal

from cluster import cluster

from ..cluster_registry import ClusterRegistry
from .fault import Fault, Scene


class ApiServerKilled(Fault):
    """API server killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1)

    def strike(self, scene: Scene) -> None:
        cluster.stop("kube-apiserver", signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        cluster.start("kube-apiserver")


class ControllerManagerGone(Fault):
    """Controller manager gone"""

    def strike(self, scene: Scene) -> None:
        cluster.stop("kube-controller-manager", signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        cluster.start("kube-controller-manager")


class PodOfTheClusterDeleted(Fault):
    """Pod of the cluster's own deleted, and made again by it"""

    in_cluster = True

    def strike(self, scene: Scene) -> None:
        scene.world.registry.stop()

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()


class ContainerdRestarted(Fault):
    """The node's containerd restarted"""

    in_cluster = True

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.world.registry, ClusterRegistry)
        name = f"containerd@{scene.world.registry.node}"
        cluster.stop(name, signal.SIGKILL)
        cluster.start(name)


class RightsTakenAway(Fault):
    """RBAC taken away, and given back later"""

    named = "the API server forbids the way to Pod"

    def strike(self, scene: Scene) -> None:
        scene.world.bind(False)

    def mend(self, scene: Scene) -> None:
        scene.world.bind(True)


class RegistryKilled(Fault):
    """Registry killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1.5)

    def strike(self, scene: Scene) -> None:
        scene.world.registry.stop(signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()


class PodRescheduled(Fault):
    """Pod deleted and rescheduled, storage kept"""

    keeps = True

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.2, 1.5)

    def strike(self, scene: Scene) -> None:
        world = scene.world
        world.be_displaced()
        world.registry.stop(signal.SIGTERM)
        if not self.keeps:
            scene.destroyed += world.stored()
            shutil.rmtree(world.registry.storage, ignore_errors=True)

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()
        scene.world.be_placed()


class PodRescheduledFromMemory(PodRescheduled):
    """Pod deleted and rescheduled, storage in memory"""

    # What a push relied on and what a pull wants are gone with it.
    named = "lacks the|has no image for|there is no image|unknown"
    keeps = False
