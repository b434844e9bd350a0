# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the connection to the API server, injected with toxiproxy."""

from __future__ import annotations

import random

from images.sizes import KIB, MIB

from ..testbed import TOXIPROXY
from .base import Fault, FaultContext


class ApiServerUnreachable(Fault):
    """API server unreachable for a while: connections cut, then refused"""

    connection = TOXIPROXY

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.1, 2)

    def inject(self, context: FaultContext) -> None:
        context.testbed.toxiproxy.set_enabled(False)

    def clear(self, context: FaultContext) -> None:
        context.testbed.toxiproxy.set_enabled(True)


class _Toxic(Fault):
    """A toxic of toxiproxy."""

    connection = TOXIPROXY
    kind = ""

    def __init__(self, draw: random.Random) -> None:
        self.stream = draw.choice(["upstream", "downstream"])
        self.attributes: dict[str, int] = {}

    def inject(self, context: FaultContext) -> None:
        self._name = context.testbed.toxiproxy.add_fault(self.kind, self.stream, **self.attributes)

    def clear(self, context: FaultContext) -> None:
        context.testbed.toxiproxy.remove_fault(self._name)


class CutAfterBytes(_Toxic):
    """Connections cut after a number of bytes"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"bytes": draw.randrange(200 * KIB, 3 * MIB)}
        self.seconds = draw.uniform(0.5, 2)


class CutInHeader(_Toxic):
    """Connections cut within the TLS handshake or the first response"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.stream = "downstream"
        # The server sends 2,000 to 3,000 bytes for the TLS handshake.
        self.attributes = {"bytes": draw.randrange(1500, 4000)}
        self.seconds = draw.uniform(0.2, 1)


class ConnectionReset(_Toxic):
    """Connections reset"""

    kind = "reset_peer"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": draw.choice([0, 20, 100])}
        self.seconds = draw.uniform(0.2, 1)


class Stall(_Toxic):
    """Connections stalled for longer than `timeout`"""

    kind = "timeout"
    timeout = 3

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": 0}
        self.seconds = self.timeout + draw.uniform(0, 1)


class LowBandwidth(_Toxic):
    """Low bandwidth"""

    kind = "bandwidth"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"rate": draw.randrange(3000, 9000)}


class HighLatency(_Toxic):
    """High latency"""

    kind = "latency"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"latency": draw.randrange(5, 60), "jitter": draw.randrange(5)}
