# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the line to the API server."""

from __future__ import annotations

import random

from ..world import LINE
from .fault import Fault, Scene

KIB = 1 << 10
MIB = 1 << 20


class ApiServerAway(Fault):
    """API server gone for a while: connections cut, then refused"""

    front = LINE

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.1, 2)

    def strike(self, scene: Scene) -> None:
        scene.world.line.set_enabled(False)

    def mend(self, scene: Scene) -> None:
        scene.world.line.set_enabled(True)


class _OfALine(Fault):
    """A fault that toxiproxy has a name for."""

    front = LINE
    kind = ""

    def __init__(self, draw: random.Random) -> None:
        self.stream = draw.choice(["upstream", "downstream"])
        self.attributes: dict[str, int] = {}

    def strike(self, scene: Scene) -> None:
        self._name = scene.world.line.add_fault(self.kind, self.stream, **self.attributes)

    def mend(self, scene: Scene) -> None:
        scene.world.line.remove_fault(self._name)


class Cut(_OfALine):
    """Every connection cut after some bytes"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"bytes": draw.randrange(200 * KIB, 3 * MIB)}
        self.seconds = draw.uniform(0.5, 2)


class CutInAHeader(_OfALine):
    """Connections cut in the middle of a header"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.stream = "downstream"
        # TLS begins with some 2,000 to 3,000 bytes from the server.
        self.attributes = {"bytes": draw.randrange(1500, 4000)}
        self.seconds = draw.uniform(0.2, 1)


class Reset(_OfALine):
    """Connections reset"""

    kind = "reset_peer"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": draw.choice([0, 20, 100])}
        self.seconds = draw.uniform(0.2, 1)


class Stall(_OfALine):
    """Line silent for longer than `timeout`"""

    kind = "timeout"
    timeout = 3

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": 0}
        self.seconds = self.timeout + draw.uniform(0, 1)


class Slow(_OfALine):
    """Slow line"""

    kind = "bandwidth"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"rate": draw.randrange(3000, 9000)}


class Long(_OfALine):
    """Long line"""

    kind = "latency"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"latency": draw.randrange(5, 60), "jitter": draw.randrange(5)}
