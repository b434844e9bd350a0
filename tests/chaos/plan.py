# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is drawn by lot for a delivery: the same for the same seed and number, whatever else is delivered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .faults import CLUSTER_FAULTS, FAULTS
from .faults.fault import Fault
from .sources import TRANSPORTS, Layer
from .world import DIRECT

KIB = 1 << 10
BLOCK = 1 << 20
_MOST_FAULTS = 3
_SHARE_OF_THE_CLUSTER = 0.05
"""How many of all deliveries break the cluster itself, which takes long."""


@dataclass(frozen=True)
class Plan:
    """One delivery.

    Attributes:
        number: Which.
        action: "push" or "pull".
        transport: Where the images come from, or go to.
        images: The layers of each.
        platforms: The architectures of each.
        old: The layers of the image that the first one's tag stands for before; none where there is no such tag.
        connections: The module's option.
        faults: What goes wrong, by the step before which it does.
        front: The road to the API server.
        back: Whether there is a proxy in front of the registry.
        alone: Whether it breaks the cluster itself, so that nothing else can be delivered meanwhile.
    """

    number: int
    action: str
    transport: str
    images: tuple[tuple[Layer, ...], ...]
    platforms: tuple[str, ...]
    old: tuple[Layer, ...]
    connections: int
    faults: dict[int, list[Fault]]
    front: str
    back: bool
    alone: bool

    @property
    def in_cluster(self) -> bool:
        """Whether the registry must be one that the cluster runs."""
        return any(fault.in_cluster for faults in self.faults.values() for fault in faults)


def draw_plan(seed: int, number: int) -> Plan:
    """Draw a delivery.

    Args:
        seed: Of the whole run.
        number: Of the delivery.
    """
    draw = random.Random(f"{seed}/{number}")  # noqa: S311 - nothing secret
    action = draw.choices(["push", "pull"], [7, 3])[0]
    transport = draw.choice(TRANSPORTS if action == "push" else TRANSPORTS[:2])
    platforms = ("amd64", "arm64") if transport != "docker-archive" and draw.random() < 0.3 else ("amd64",)
    first = tuple(_layer(draw, f"{seed}/{number}/{place}") for place in range(draw.randrange(2, 6)))
    # The others share layers with the first one.
    second = (first[0], *(_layer(draw, f"{seed}/{number}/second/{place}") for place in range(draw.randrange(1, 3))))
    old = (first[-1], _layer(draw, f"{seed}/{number}/old")) if action == "push" and draw.random() < 0.5 else ()
    images = (first, second) if draw.random() < 0.25 else (first,)
    steps = _steps(action, images, len(platforms))
    connections = draw.randrange(1, 5)
    alone = draw.random() < _SHARE_OF_THE_CLUSTER
    kinds = draw.sample(FAULTS, len(FAULTS))
    if alone:
        kind = draw.choice(CLUSTER_FAULTS)
        kinds = [kind] if kind.in_cluster else [kind, *kinds]
    # Before anything has worked, nothing is tried for long; the first thing asked is where each image's tag is.
    moments = range(len(images) + 1, max(len(images) + 2, steps))
    faults, front, back = _draw_faults(draw, kinds, action, moments)
    return Plan(number, action, transport, images, platforms, old, connections, faults, front, back, alone)


def _layer(draw: random.Random, seed: str) -> Layer:
    smallest, largest = draw.choice([(1, 64 * KIB), (64 * KIB, BLOCK), (BLOCK, 3 * BLOCK)])
    return Layer(seed, draw.randrange(smallest, largest))


def _steps(action: str, images: Sequence[Sequence[Layer]], platforms: int) -> int:
    """How many requests and blocks a delivery is made of, more or less."""
    blobs = [layer.size for layers in images for layer in layers] + [1] * platforms * len(images)
    blocks = sum(1 + size // BLOCK for size in blobs)
    manifests = len(images) * (platforms + (platforms > 1))
    return blocks + (3 * len(blobs) + 2 * manifests if action == "push" else len(blobs) + manifests)


def _draw_faults(
    draw: random.Random, kinds: Sequence[type[Fault]], action: str, moments: range
) -> tuple[dict[int, list[Fault]], str, bool]:
    wanted = draw.choices(range(1, _MOST_FAULTS + 1), [5, 3, 2])[0]
    faults: dict[int, list[Fault]] = {}
    front, back = DIRECT, False
    for kind in kinds:
        fault = kind(draw)
        # There is one road to the API server.
        if action not in fault.actions or (faults and DIRECT not in (front, fault.front) and front != fault.front):
            continue
        front = fault.front if front == DIRECT else front
        back = back or fault.back
        faults.setdefault(draw.choice(moments), []).append(fault)
        if sum(map(len, faults.values())) == wanted:
            break
    return faults, front, back
