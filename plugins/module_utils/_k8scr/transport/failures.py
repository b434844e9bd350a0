# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong between us and the API server, said in one line.

Libraries raise chains of exceptions from four layers (socket, ssl, urllib3, requests). :func:`translate` looks
through the whole chain and answers with one error that tells where the way ended.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

from ..errors import ApiServerError, ClusterError, ConnectionLostError, UnreachableError, UnreadableAnswerError

try:
    from urllib3 import exceptions as urllib3_errors
except ImportError:  # reported by whoever opens a connection
    NETWORK_ERRORS: tuple[type[Exception], ...] = (OSError, http.client.HTTPException)
else:
    NETWORK_ERRORS = (OSError, http.client.HTTPException, urllib3_errors.HTTPError)
"""What the libraries raise when the network fails them; requests' own errors are OSErrors."""


def unauthorized(said: str) -> ApiServerError:
    """Return the error for credentials that the API server does not accept.

    Args:
        said: The API server's message.
    """
    return ApiServerError(
        f"the API server does not accept the credentials: {said:.300}", "Log in again or renew the token", 401
    )


def translate(error: BaseException, server: str = "the API server") -> ClusterError:
    """Explain a network failure.

    Args:
        error: What requests, urllib3, ssl or the socket raised, at any time: connecting, sending, reading.
        server: How to name the other end; shown to the user, so it must hold no credentials.

    Returns:
        The error to raise instead; an error that is translated already comes back as it is.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, ClusterError):
            return link
    for explain in (_proxy, _name, _tls, _connecting, _nonsense):
        explained = explain(chain, server)
        if explained is not None:
            return explained
    return _lost(chain, server)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Every exception that led to this one, each library's way of keeping it included."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        kept = (
            link.__cause__,
            link.__context__,
            getattr(link, "reason", None),
            getattr(link, "original_error", None),
            getattr(link, "socket_err", None),
            *link.args,
        )
        waiting.extend(item for item in kept if isinstance(item, BaseException))


def _proxy(chain: list[BaseException], server: str) -> ClusterError | None:
    if not any(isinstance(link, urllib3_errors.ProxyError) or _is_of_socks(link) for link in chain):
        return None
    said = next((str(link) for link in chain if isinstance(link, OSError) and "Tunnel" in str(link)), None)
    if said is None and any(isinstance(link, ssl.SSLError) for link in chain):
        said = "its TLS certificate or protocol was not accepted"
    if said is None:
        reasons = sorted((link for link in chain if isinstance(link, OSError)), key=_is_of_socks)
        said = _os_reason(reasons[0]) if reasons else "no connection to it"
    return UnreachableError(
        f"the proxy in front of {server} refused: {said}",
        "Check the proxy option, the proxy-url of the kubeconfig and proxy_headers",
    )


def _is_of_socks(error: BaseException) -> bool:
    """Whether PySocks raised it, which is there only where someone uses such a proxy."""
    return type(error).__module__ == "socks"


def _name(chain: list[BaseException], server: str) -> ClusterError | None:
    if not any(isinstance(link, socket.gaierror) for link in chain):
        return None
    return UnreachableError(
        f"the name of {server} cannot be resolved",
        "Check the host and this machine's DNS",
    )


def _tls(chain: list[BaseException], server: str) -> ClusterError | None:
    for link in chain:
        # Versions of urllib3 before 2 compare names themselves, and say so by an error of their own.
        if isinstance(link, ssl.SSLCertVerificationError) or type(link).__name__ == "CertificateError":
            return ClusterError(
                f"the certificate of {server} is not trusted: {getattr(link, 'verify_message', None) or link}",
                "Give the CA that signed it with ca_cert (or certificate-authority in the kubeconfig), and "
                "tls_server_name when the certificate carries another name",
            )
    for link in chain:
        if isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return None
        if isinstance(link, ssl.SSLError):
            reason = (link.reason or str(link)).replace("_", " ").lower()
            if "wrong version number" in reason or "record layer failure" in reason or "http request" in reason:
                return ClusterError(f"{server} does not speak TLS", "Check the scheme and the port of the host")
            if "certificate" in reason or "unknown ca" in reason:
                return ClusterError(
                    f"{server} refused our client certificate: {reason}", "Check client_cert and client_key"
                )
            return ConnectionLostError(f"TLS with {server} failed: {reason}")
    return None


def _connecting(chain: list[BaseException], server: str) -> ClusterError | None:
    if any(isinstance(link, urllib3_errors.ConnectTimeoutError) for link in chain) and not any(
        isinstance(link, urllib3_errors.NewConnectionError) for link in chain
    ):
        return UnreachableError(
            f"{server} did not answer in time to open a connection",
            "Check the host, the port and the firewalls between",
        )
    if not any(isinstance(link, urllib3_errors.NewConnectionError) for link in chain):
        return None
    reason = next((_os_reason(link) for link in chain if isinstance(link, OSError)), "no connection")
    return UnreachableError(
        f"cannot connect to {server}: {reason}",
        "Check that the API server runs, and the host and the port",
    )


def _nonsense(chain: list[BaseException], server: str) -> ClusterError | None:
    for link in chain:
        if isinstance(link, http.client.HTTPException) and not isinstance(
            link, (http.client.IncompleteRead, http.client.RemoteDisconnected, urllib3_errors.IncompleteRead)
        ):
            return UnreadableAnswerError(
                f"the answer from {server} is not HTTP that can be read: {type(link).__name__}",
                "Look at what is between: a proxy, a load balancer, or a registry that misbehaves",
            )
    return None


def _lost(chain: list[BaseException], server: str) -> ConnectionLostError:
    if any(isinstance(link, (socket.timeout, urllib3_errors.ReadTimeoutError)) for link in chain):
        return ConnectionLostError(
            f"{server} fell silent in the middle of a request",
            "Look at the line, and at load balancers or firewalls that drop quiet connections",
        )
    reason = next((_os_reason(link) for link in chain if isinstance(link, OSError)), "closed before its end")
    return ConnectionLostError(
        f"the connection to {server} was cut: {reason}",
        "Look at the line, and at load balancers that limit a connection's time or size",
    )


def _os_reason(error: OSError) -> str:
    """The operating system's words: libraries add addresses and object names that help nobody."""
    if isinstance(error, ssl.SSLError):
        return "closed without warning"
    return (error.strerror or str(error) or type(error).__name__).lower()
