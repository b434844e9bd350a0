# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls of images on the nodes, through the registry's Service, during the whole campaign."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import requests
from cluster import processes
from cluster.layout import NODES, Node

from .. import inspection
from .clients import Containerd, Target

_PAUSE = 0.25
"""Seconds between two pulls of a thread, so that the pulls leave time of the processors to the prune."""


@dataclass
class Pulls:
    """Counts of pulls on the nodes.

    Attributes:
        requests: HTTP requests.
        images: Images that a containerd pulled.
        failures: Failed pulls, one line each.
    """

    requests: int = 0
    images: int = 0
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: Pulls) -> Pulls:
        return Pulls(self.requests + other.requests, self.images + other.images, [*self.failures, *other.failures])


class NodePulls:
    """Pulls images on each node with HTTP requests and with containerd, until the end of the block.

    Args:
        service: Address of the registry's Service.
        containerds: Clients of the containerd of each node.
    """

    def __init__(self, service: str, containerds: Sequence[Containerd]) -> None:
        self._pullers: list[_Puller] = [_HttpPuller(node, service) for node in NODES]
        self._pullers += [_ContainerdPuller(containerd) for containerd in containerds]

    def __enter__(self) -> NodePulls:
        for puller in self._pullers:
            puller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for puller in self._pullers:
            puller.end()
        for puller in self._pullers:
            puller.join()

    def use(self, targets: Sequence[Target]) -> None:
        """Pull other images from now on. Pulls of the previous ones have ended when this function returns."""
        for number, puller in enumerate(self._pullers):
            # Each puller starts with another image.
            start = number * len(targets) // len(self._pullers)
            puller.use([*targets[start:], *targets[:start]])

    def take(self) -> Pulls:
        """Return the counts since the last call."""
        return sum((puller.take() for puller in self._pullers), Pulls())


class _Puller(threading.Thread):
    """Pulls images one after the other."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._targets: list[Target] = []
        self._counts = Pulls()
        self._ended = threading.Event()
        # Held during each pull.
        self._lock = threading.Lock()

    def run(self) -> None:
        self.prepare()
        while not self._ended.wait(_PAUSE):
            with self._lock:
                if self._targets:
                    target = self._targets.pop(0)
                    self._targets.append(target)
                    self._counts += self.pull(target)

    def prepare(self) -> None:
        """Prepare the thread."""

    @abstractmethod
    def pull(self, target: Target) -> Pulls:
        """Pull an image."""

    def use(self, targets: list[Target]) -> None:
        with self._lock:
            self._targets = targets

    def take(self) -> Pulls:
        with self._lock:
            taken, self._counts = self._counts, Pulls()
            return taken

    def end(self) -> None:
        self._ended.set()


class _HttpPuller(_Puller):
    """Reads every manifest and blob of images over HTTP, in the node's network, and verifies them."""

    def __init__(self, node: Node, service: str) -> None:
        super().__init__(f"HTTP pulls on {node.name}")
        self._node = node
        self._service = service

    def prepare(self) -> None:
        _enter_network(self._node)

    def pull(self, target: Target) -> Pulls:
        try:
            found = inspection.in_registry(self._service, target.repository, target.digest)
        except requests.RequestException as error:
            return Pulls(1, 0, [f"{target} on {self._node.name}: {error}"])
        problems = found.problems if found.digest else ["the registry does not have it"]
        count = max(1, len(found.manifests) + len(found.blobs))
        return Pulls(count, 0, [f"{target} on {self._node.name}: {problem}" for problem in problems])


class _ContainerdPuller(_Puller):
    """Pulls images with a node's containerd, which verifies them."""

    def __init__(self, containerd: Containerd) -> None:
        super().__init__(f"containerd pulls on {containerd.node.name}")
        self._containerd = containerd

    def pull(self, target: Target) -> Pulls:
        problem = self._containerd.pull(target)
        return Pulls(0, 1, [f"{target} with containerd on {self._containerd.node.name}: {problem}"] if problem else [])


def _enter_network(node: Node) -> None:
    """Move the calling thread into the network namespace of a node."""
    machine = processes.running(node.name)
    if machine is None:
        raise RuntimeError(f"{node.name} is not running")
    with Path(f"/proc/{machine.pid}/ns/net").open() as file:
        os.setns(file.fileno(), os.CLONE_NEWNET)
