# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the connection to the API server, explained with the options that may fix them."""

from __future__ import annotations

import http.client
import socket
import ssl

from ..errors import ApiServerError, ClusterError, ConnectionLostError, UnreachableError, UnreadableResponseError
from ..http.network_errors import NetworkError

try:
    from urllib3 import exceptions as urllib3_errors
except ImportError:  # the module reports missing libraries
    pass


def unauthorized(reason: str) -> ApiServerError:
    """Return the error for credentials that the API server does not accept, with its message."""
    return ApiServerError(
        f"the API server does not accept the credentials: {reason:.300}", "Log in again or renew the token", 401
    )


def unsendable(name: str) -> ClusterError:
    """Return the error for a value that no header can contain."""
    return ClusterError(f"{name} contains a line break or another character that cannot be sent", "Check its value")


def translate(error: BaseException, server: str = "the API server", behind: str | None = None) -> ClusterError:
    """Return the error that explains a network error; if its chain contains a translated error, that one.

    Args:
        error: An exception of requests, urllib3, ssl or the socket, raised while connecting, sending or reading.
        server: The server's name in messages; it must not contain credentials.
        behind: The Pod to which the server passes on the request; None if the server responds itself.
    """
    failure = NetworkError(error)
    return (
        failure.find(ClusterError)
        or failure.slow_peer(peers_of(server, behind))
        or _proxy(failure, server)
        or _tls(failure, server)
        or _connecting(failure, server)
        or _invalid(failure, server)
        or _interrupted(failure, server, behind)
    )


def _proxy(failure: NetworkError, server: str) -> ClusterError | None:
    if not failure.is_proxy_error:
        return None
    system = [link for link in failure.chain if isinstance(link, OSError)]
    reason = next((str(link) for link in system if "Tunnel" in str(link)), None)
    if reason is None and failure.find(ssl.SSLError):
        reason = "its TLS certificate or protocol was not accepted"
    if reason is None:
        # PySocks has its own reasons, for example a rejected password.
        reason = failure.reason or (str(system[0]).lower() if system else "no connection to it")
    return UnreachableError(
        f"cannot connect to {server} through the proxy: {reason}",
        "Check the proxy option, the proxy-url of the kubeconfig and proxy_headers",
    )


def _tls(failure: NetworkError, server: str) -> ClusterError | None:
    untrusted, reason = failure.untrusted_certificate, failure.tls_reason
    if untrusted is not None:
        return ClusterError(
            f"the certificate of {server} is not trusted: {untrusted}",
            "Set ca_cert (or certificate-authority in the kubeconfig) to the CA that signed it, and tls_server_name if "
            "the certificate is for another name",
        )
    if reason is None:
        return None
    if "wrong version number" in reason or "record layer failure" in reason or "http request" in reason:
        return ClusterError(f"{server} does not use TLS", "Check the scheme and the port of the host")
    if "certificate" in reason or "unknown ca" in reason:
        return ClusterError(f"{server} rejected the client certificate: {reason}", "Check client_cert and client_key")
    return ConnectionLostError(f"the TLS connection to {server} failed: {reason}")


def _connecting(failure: NetworkError, server: str) -> ClusterError | None:
    if failure.find(socket.gaierror):
        return UnreachableError(f"the name of {server} cannot be resolved", "Check the host and the DNS of this host")
    if failure.find(urllib3_errors.NewConnectionError):
        return UnreachableError(
            f"cannot connect to {server}: {failure.reason or 'no connection'}",
            "Check that the API server runs, and the host and the port",
        )
    if failure.find(urllib3_errors.ConnectTimeoutError):
        return UnreachableError(
            f"cannot connect to {server}: timed out", "Check the host, the port and the firewalls on the path"
        )
    return None


def _invalid(failure: NetworkError, server: str) -> ClusterError | None:
    interruptions = (http.client.IncompleteRead, http.client.RemoteDisconnected, urllib3_errors.IncompleteRead)
    for link in failure.chain:
        if isinstance(link, http.client.HTTPException) and not isinstance(link, interruptions):
            return UnreadableResponseError(
                f"the response from {server} is not valid HTTP: {type(link).__name__}",
                "Check the proxies and load balancers on the path, and the registry",
            )
    return None


def _interrupted(failure: NetworkError, server: str, behind: str | None) -> ConnectionLostError:
    peers = peers_of(server, behind)
    first = f"Check {behind} and its log, the network" if behind else "Check the network"
    if failure.is_timeout:
        return ConnectionLostError(
            f"{peers} timed out during a request",
            f"{first}, and load balancers or firewalls that drop idle connections",
        )
    return ConnectionLostError(
        f"the connection to {peers} was interrupted: {failure.reason or 'closed early'}",
        f"{first}, and load balancers that limit the time or size of a connection",
    )


def peers_of(server: str, behind: str | None) -> str:
    """Name both peers: the API server sends nothing while it waits for the Pod, so either can be the cause."""
    return f"{server} or {behind} behind it" if behind else server
