# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of HTTP proxies: a load balancer in front of the API server, or a proxy in front of the registry."""

from __future__ import annotations

import os
import random
import time
from abc import abstractmethod

from images.sizes import MIB

from ..middlebox import Exchange, Middlebox
from ..testbed import DIRECT, LOAD_BALANCER, TOKENS
from .base import Fault, FaultContext


class _ProxyFault(Fault):
    """A fault of the load balancer in front of the API server, or of the proxy behind it."""

    def __init__(self, draw: random.Random) -> None:
        self.registry_proxy = draw.random() < 0.4
        self.connection = DIRECT if self.registry_proxy else LOAD_BALANCER

    def inject(self, context: FaultContext) -> None:
        self._proxy(context).fault_handlers[self] = self.handle

    def clear(self, context: FaultContext) -> None:
        self._proxy(context).fault_handlers.pop(self, None)

    def _proxy(self, context: FaultContext) -> Middlebox:
        return context.testbed.registry_proxy if self.registry_proxy else context.testbed.load_balancer

    @abstractmethod
    def handle(self, exchange: Exchange) -> bool:
        """Inject the fault into a request; return False to forward it."""


class _Limit(_ProxyFault):
    """A size limit for request bodies."""

    actions = ("push",)

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.limit = draw.randrange(MIB, 2 * MIB)

    def handle(self, exchange: Exchange) -> bool:
        if not exchange.exceeds(self.limit):
            return False
        self.reject(exchange)
        return True

    @abstractmethod
    def reject(self, exchange: Exchange) -> None:
        """Reject a request above the limit."""


class BodyLimit(_Limit):
    """413: request body limit"""

    def reject(self, exchange: Exchange) -> None:
        exchange.reject(413, "<html><h1>413 Request Entity Too Large</h1></html>")


class BadGateway(_ProxyFault):
    """502 or 503 for a while"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 1)
        self.status = draw.choice([502, 503])

    def handle(self, exchange: Exchange) -> bool:
        exchange.reject(self.status, "<html><h1>Bad Gateway</h1></html>")
        return True


class GatewayTimeout(_Limit):
    """504: request time limit"""

    def reject(self, exchange: Exchange) -> None:
        time.sleep(0.1)
        exchange.reject(504, "<html><h1>504 Gateway Time-out</h1></html>")


class IdleTimeout(_ProxyFault):
    """Idle connections closed at once"""

    def handle(self, exchange: Exchange) -> bool:
        exchange.connection.settimeout(None)
        exchange.forward()
        if exchange.connection.fileno() >= 0:
            exchange.connection.settimeout(0.002)
        return True


class ResetInHeader(_ProxyFault):
    """Connections reset within a response header"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)
        self.partial_header = draw.choice([b"", b"HTT", b"HTTP/1.1 202 Acc", b"HTTP/1.1 200 OK\r\nContent-Le"])

    def handle(self, exchange: Exchange) -> bool:
        exchange.wfile.write(self.partial_header)
        exchange.reset()
        return True


class HalfClosed(_ProxyFault):
    """Connections half-closed within a request body"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)

    def handle(self, exchange: Exchange) -> bool:
        remaining = exchange.length // 2
        for block in exchange.read_body():
            remaining -= len(block)
            if remaining <= 0:
                break
        exchange.linger()
        return True


class ResponseLost(_ProxyFault):
    """Responses lost after the request was processed"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.left = draw.randrange(1, 4)

    def handle(self, exchange: Exchange) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        # Discard the response.
        exchange.wfile = open(os.devnull, "wb")  # noqa: SIM115 - the server closes it
        exchange.forward()
        exchange.reset()
        return True


class TokenRenewed(_ProxyFault):
    """Token expired, new token available"""

    accepted = TOKENS[1]

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.connection, self.registry_proxy = LOAD_BALANCER, False

    def inject(self, context: FaultContext) -> None:
        super().inject(context)
        context.testbed.token.write_text(TOKENS[1])

    def clear(self, context: FaultContext) -> None:
        super().clear(context)
        context.testbed.token.write_text(TOKENS[0])

    def handle(self, exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == f"Bearer {self.accepted}":
            return False
        status = '{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "Unauthorized", "code": 401}'
        exchange.reject(401, status, "application/json")
        return True


class TokenExpired(TokenRenewed):
    """Token expired, no new token"""

    expected_error = "does not accept the credentials"
    accepted = "none"

    def inject(self, context: FaultContext) -> None:
        _ProxyFault.inject(self, context)
