# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random plan of a delivery, which depends only on the seed and the delivery's number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from images.sizes import KIB

from .faults import CLUSTER_FAULTS, FAULTS
from .faults.base import Fault
from .sources import TRANSPORTS, Layer
from .testbed import DIRECT

BLOCK = 1 << 20
_MAX_FAULTS = 3
_CLUSTER_FAULT_RATE = 0.05
"""Share of deliveries with a fault of the cluster itself; these are slow."""


@dataclass(frozen=True)
class Plan:
    """Plan of one delivery.

    Attributes:
        number: Number of the delivery.
        action: "push" or "pull".
        transport: Transport of the sources or destinations.
        images: Layers of each image.
        platforms: Architectures of each image.
        old: Layers of the image that the first image's tag refers to before; empty if the tag does not exist.
        connections: The module's option of that name.
        faults: Faults by step; each is injected before its step.
        connection: Connection to the API server.
        registry_proxy: Whether the API server connects to the registry through a proxy.
        exclusive: Whether a fault affects the cluster itself, so that no other delivery can run.
    """

    number: int
    action: str
    transport: str
    images: tuple[tuple[Layer, ...], ...]
    platforms: tuple[str, ...]
    old: tuple[Layer, ...]
    connections: int
    faults: dict[int, list[Fault]]
    connection: str
    registry_proxy: bool
    exclusive: bool

    @property
    def in_cluster(self) -> bool:
        """Whether the registry must run in the cluster."""
        return any(fault.in_cluster for faults in self.faults.values() for fault in faults)


def draw_plan(seed: int, number: int) -> Plan:
    """Draw the plan of a delivery.

    Args:
        seed: Seed of the test run.
        number: Number of the delivery.
    """
    draw = random.Random(f"{seed}/{number}")  # noqa: S311 - nothing secret
    action = draw.choices(["push", "pull"], [7, 3])[0]
    transport = draw.choice(TRANSPORTS if action == "push" else TRANSPORTS[:2])
    platforms = ("amd64", "arm64") if transport != "docker-archive" and draw.random() < 0.3 else ("amd64",)
    first = tuple(_layer(draw, f"{seed}/{number}/{index}") for index in range(draw.randrange(2, 6)))
    # Both images share a layer.
    second = (first[0], *(_layer(draw, f"{seed}/{number}/second/{index}") for index in range(draw.randrange(1, 3))))
    old = (first[-1], _layer(draw, f"{seed}/{number}/old")) if action == "push" and draw.random() < 0.5 else ()
    images = (first, second) if draw.random() < 0.25 else (first,)
    steps = _steps(action, images, len(platforms))
    connections = draw.randrange(1, 5)
    exclusive = draw.random() < _CLUSTER_FAULT_RATE
    kinds = draw.sample(FAULTS, len(FAULTS))
    if exclusive:
        kind = draw.choice(CLUSTER_FAULTS)
        kinds = [kind] if kind.in_cluster else [kind, *kinds]
    # Until the first request succeeds, the module makes few attempts. The first requests resolve each image's tag.
    fault_steps = range(len(images) + 1, max(len(images) + 2, steps))
    faults, connection, proxy = _draw_faults(draw, kinds, action, fault_steps)
    return Plan(number, action, transport, images, platforms, old, connections, faults, connection, proxy, exclusive)


def _layer(draw: random.Random, seed: str) -> Layer:
    smallest, largest = draw.choice([(1, 64 * KIB), (64 * KIB, BLOCK), (BLOCK, 3 * BLOCK)])
    return Layer(seed, draw.randrange(smallest, largest))


def _steps(action: str, images: Sequence[Sequence[Layer]], platforms: int) -> int:
    """Estimate the number of requests and blocks of a delivery."""
    blobs = [layer.size for layers in images for layer in layers] + [1] * platforms * len(images)
    blocks = sum(1 + size // BLOCK for size in blobs)
    manifests = len(images) * (platforms + (platforms > 1))
    return blocks + (3 * len(blobs) + 2 * manifests if action == "push" else len(blobs) + manifests)


def _draw_faults(
    draw: random.Random, kinds: Sequence[type[Fault]], action: str, steps: range
) -> tuple[dict[int, list[Fault]], str, bool]:
    count = draw.choices(range(1, _MAX_FAULTS + 1), [5, 3, 2])[0]
    faults: dict[int, list[Fault]] = {}
    connection, registry_proxy = DIRECT, False
    for kind in kinds:
        fault = kind(draw)
        # All faults of a delivery share one connection to the API server.
        conflict = DIRECT not in (connection, fault.connection) and connection != fault.connection
        if action not in fault.actions or (faults and conflict):
            continue
        connection = fault.connection if connection == DIRECT else connection
        registry_proxy = registry_proxy or fault.registry_proxy
        faults.setdefault(draw.choice(steps), []).append(fault)
        if sum(map(len, faults.values())) == count:
            break
    return faults, connection, registry_proxy
