# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong during a delivery: what every fault has, and what it may lay hands on."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from ..running import Run
from ..sources import Source
from ..world import DIRECT, World


@dataclass
class Scene:
    """What a fault may lay hands on.

    Attributes:
        world: Where it happens.
        sources: The images that are pushed; none in a pull.
        repository: The repository of the first image.
        old: The digest that the tag had before, if there was one.
        start: Starts another run, at the same or at something else.
        run: The run that is under way.
        others: The runs that were started beside it.
        destroyed: Bytes that the registry had taken, and lost.
        spoilt: Bytes that are sent in vain.
    """

    world: World
    sources: list[Source]
    repository: str
    old: str | None
    start: Callable[[str], Run]
    run: Run = field(init=False)
    others: list[Run] = field(default_factory=list)
    destroyed: int = 0
    spoilt: int = 0


class Fault(ABC):
    """Something that goes wrong during a delivery.

    What it is, for people, is the first line of its class.

    Attributes:
        actions: The deliveries that it can happen to.
        named: What an error may say because of it (a regular expression); empty where the delivery must succeed.
        seconds: After how long it is over; None for the end of the delivery.
        front: The road to the API server that it needs.
        back: Whether it needs the proxy in front of the registry.
        in_cluster: Whether the registry must be one that the cluster runs.
        timeout: The module's option: longer than a busy machine needs, and shorter than a silence.
    """

    actions: tuple[str, ...] = ("push", "pull")
    named = ""
    seconds: float | None = None
    front = DIRECT
    back = False
    timeout = 15
    in_cluster = False

    def __init__(self, draw: random.Random) -> None:  # noqa: B027 - not every one has something random
        """Draw what is random in it."""

    @classmethod
    def what(cls) -> str:
        """What it is, for people."""
        return (cls.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def strike(self, scene: Scene) -> None:
        """Happen."""

    def mend(self, scene: Scene) -> None:  # noqa: B027 - some are over at once
        """Be over."""
