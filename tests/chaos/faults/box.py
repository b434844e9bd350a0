# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of what stands in front of the API server or behind it, and answers in its place."""

from __future__ import annotations

import os
import random
import time
from abc import abstractmethod

from ..middlebox import Exchange, Middlebox
from ..world import BOX, DIRECT, TOKENS
from .fault import Fault, Scene

MIB = 1 << 20


class _OfABox(Fault):
    """A fault of a load balancer in front of the API server, or of a proxy behind it."""

    def __init__(self, draw: random.Random) -> None:
        self.back = draw.random() < 0.4
        self.front = DIRECT if self.back else BOX

    def strike(self, scene: Scene) -> None:
        self._box(scene).misbehaviours[self] = self.misbehave

    def mend(self, scene: Scene) -> None:
        self._box(scene).misbehaviours.pop(self, None)

    def _box(self, scene: Scene) -> Middlebox:
        return scene.world.back if self.back else scene.world.front

    @abstractmethod
    def misbehave(self, exchange: Exchange) -> bool:
        """Do it to a request, or let it pass."""


class _Limit(_OfABox):
    """A limit to what a request may carry."""

    actions = ("push",)

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.limit = draw.randrange(MIB, 2 * MIB)

    def misbehave(self, exchange: Exchange) -> bool:
        if not exchange.exceeds(self.limit):
            return False
        self.refuse(exchange)
        return True

    @abstractmethod
    def refuse(self, exchange: Exchange) -> None:
        """Answer a request that carries more."""


class BodyLimit(_Limit):
    """413: bodies limited"""

    def refuse(self, exchange: Exchange) -> None:
        exchange.refuse(413, "<html><h1>413 Request Entity Too Large</h1></html>")


class BadGateway(_OfABox):
    """502 for a while"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 1)
        self.status = draw.choice([502, 503])

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.refuse(self.status, "<html><h1>Bad Gateway</h1></html>")
        return True


class GatewayTimeout(_Limit):
    """504: requests limited in time"""

    def refuse(self, exchange: Exchange) -> None:
        time.sleep(0.1)
        exchange.refuse(504, "<html><h1>504 Gateway Time-out</h1></html>")


class IdleCut(_OfABox):
    """Idle connections cut at once"""

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.connection.settimeout(None)
        exchange.let_pass()
        if exchange.connection.fileno() >= 0:
            exchange.connection.settimeout(0.002)
        return True


class ResetInAHeader(_OfABox):
    """Connections reset in mid-header"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)
        self.beginning = draw.choice([b"", b"HTT", b"HTTP/1.1 202 Acc", b"HTTP/1.1 200 OK\r\nContent-Le"])

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.wfile.write(self.beginning)
        exchange.reset()
        return True


class HalfClosed(_OfABox):
    """Connections half-closed in the middle of a request"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)

    def misbehave(self, exchange: Exchange) -> bool:
        half = exchange.length // 2
        for block in exchange.read_body():
            half -= len(block)
            if half <= 0:
                break
        exchange.linger()
        return True


class AnswerLost(_OfABox):
    """Requests carried out whose answers are lost"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.left = draw.randrange(1, 4)

    def misbehave(self, exchange: Exchange) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        # The answer goes nowhere.
        exchange.wfile = open(os.devnull, "wb")  # noqa: SIM115 - the server closes it
        exchange.let_pass()
        exchange.reset()
        return True


class TokenRenewed(_OfABox):
    """Token expired, a new one at hand"""

    accepted = TOKENS[1]

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.front, self.back = BOX, False

    def strike(self, scene: Scene) -> None:
        super().strike(scene)
        scene.world.token.write_text(TOKENS[1])

    def mend(self, scene: Scene) -> None:
        super().mend(scene)
        scene.world.token.write_text(TOKENS[0])

    def misbehave(self, exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == f"Bearer {self.accepted}":
            return False
        status = '{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "Unauthorized", "code": 401}'
        exchange.refuse(401, status, "application/json")
        return True


class TokenExpired(TokenRenewed):
    """Token expired, no other at hand"""

    named = "does not accept the credentials"
    accepted = "none"

    def strike(self, scene: Scene) -> None:
        _OfABox.strike(self, scene)
