# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Network errors of requests, urllib3, ssl and the socket: their cause, independent of the peer.

These libraries raise chains of exceptions. :class:`NetworkError` searches the whole chain. Messages and advice depend
on the peer: see ``transport/failures.py`` (API server), ``registry/upstream_adapter.py`` and ``engine/client.py``.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TypeVar

from ..errors import ConnectionLostError
from .slow_peer import SlowPeerError

try:
    from urllib3 import exceptions as urllib3_errors
except ImportError:  # the module reports missing libraries
    NETWORK_ERRORS: tuple[type[Exception], ...] = (OSError, http.client.HTTPException)
else:
    NETWORK_ERRORS = (OSError, http.client.HTTPException, urllib3_errors.HTTPError)
"""The exceptions that the libraries raise for network errors; those of requests are OSErrors."""

_ATTRIBUTES = ("__cause__", "__context__", "reason", "original_error", "socket_err")
"""Where the libraries keep the exception that led to another."""
_T = TypeVar("_T", bound=BaseException)


class NetworkError:
    """A network error, described by the chain of exceptions that led to it.

    Attributes:
        chain: The exceptions, the outermost first.
    """

    def __init__(self, error: BaseException) -> None:
        self.chain = _chain(error)

    def find(self, *kinds: type[_T]) -> _T | None:
        """Return the outermost exception of one of these classes, or ``None``."""
        return next((link for link in self.chain if isinstance(link, kinds)), None)

    def slow_peer(self, peer: str) -> ConnectionLostError | None:
        """Return the error for a peer that transfers too slowly, with its name; None for other errors."""
        slow = self.find(SlowPeerError)
        return slow.explain(peer) if slow else None

    @property
    def is_proxy_error(self) -> bool:
        """Whether the proxy failed. PySocks is only loaded for SOCKS proxies, so its exceptions are found by name."""
        return any(
            isinstance(each, urllib3_errors.ProxyError) or type(each).__module__ == "socks" for each in self.chain
        )

    @property
    def is_timeout(self) -> bool:
        """Whether the peer did not respond in time."""
        return self.find(socket.timeout, urllib3_errors.TimeoutError) is not None

    @property
    def reason(self) -> str | None:
        """The operating system's reason, without the addresses and object names that libraries add, if it is known."""
        for link in self.chain:
            if isinstance(link, ssl.SSLError):
                return "closed unexpectedly"
            if isinstance(link, http.client.RemoteDisconnected):
                return str(link).lower()
            if isinstance(link, OSError) and link.strerror:
                return link.strerror.lower()
        return None

    @property
    def untrusted_certificate(self) -> str | None:
        """Why the peer's certificate is not trusted; ``None`` if that is not the error."""
        for link in self.chain:
            # urllib3 before version 2 compares host names itself and raises its own exception.
            if isinstance(link, ssl.SSLCertVerificationError) or type(link).__name__ == "CertificateError":
                return str(getattr(link, "verify_message", None) or link)
        return None

    @property
    def tls_reason(self) -> str | None:
        """OpenSSL's reason for a TLS error, in lower case; ``None`` for other errors and for a closed connection."""
        error = self.find(ssl.SSLError)
        if error is None or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return None
        return (error.reason or str(error)).replace("_", " ").lower()


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        link = waiting.pop(0)
        if any(link is each for each in chain):
            continue
        chain.append(link)
        attributes = (getattr(link, name, None) for name in _ATTRIBUTES)
        waiting.extend(item for item in (*attributes, *link.args) if isinstance(item, BaseException))
    return chain
