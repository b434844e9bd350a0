# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the connection to an upstream registry, explained without URLs, which may contain secrets."""

from __future__ import annotations

import socket

from ..errors import ConnectionLostError, InputError, K8scrError, SourceError, UnreachableError
from ..http.network_errors import NetworkError

_CLIENT_CERTIFICATE_ALERTS = ("certificate required", "alert bad certificate", "alert unknown ca")
"""OpenSSL's texts for a server that requires a client certificate or does not accept it."""


def explain(error: BaseException, server: str) -> K8scrError:
    """Return the error that explains an exception of requests or urllib3; ``server`` is the name in messages."""
    from requests import exceptions as requests_errors
    from urllib3 import exceptions as urllib3_errors

    failure = NetworkError(error)
    reason = failure.reason or ("no response in time" if failure.is_timeout else "closed")
    # First, because requests reports TLS errors behind a proxy as errors of the proxy.
    if tls_error := _tls(failure, server):
        return tls_error
    if isinstance(error, (requests_errors.InvalidURL, requests_errors.InvalidProxyURL, requests_errors.InvalidSchema)):
        return InputError(f"cannot connect to {server}: its URL or the proxy's URL is not valid", "Check HTTPS_PROXY")
    if failure.find(socket.gaierror):
        return UnreachableError(
            f"the name of {server} cannot be resolved", "Check the image's name and the DNS of this host"
        )
    if isinstance(error, requests_errors.ProxyError):
        return UnreachableError(f"cannot connect to {server} through the proxy: {reason}", "Check HTTPS_PROXY")
    if failure.find(urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError):
        advice = "Check the image's name, the firewalls on the path, and HTTPS_PROXY"
        return UnreachableError(f"cannot connect to {server}: {reason}", advice)
    return ConnectionLostError(f"the connection to {server} was interrupted: {reason}", "Check the network")


def _tls(failure: NetworkError, server: str) -> SourceError | None:
    untrusted, reason = failure.untrusted_certificate, failure.tls_reason
    if untrusted is not None:
        return SourceError(
            f"the certificate of {server} is not trusted: {untrusted}",
            "Set ca_cert in upstreams to the CA that signed it",
        )
    if reason is None:
        return None
    if any(alert in reason for alert in _CLIENT_CERTIFICATE_ALERTS):
        return SourceError(
            f"{server} requires a client certificate that it accepts ({reason})",
            "Set client_cert in upstreams, or add a certificate to certs.d",
        )
    return SourceError(
        f"TLS handshake with {server} failed: {reason}", "If the registry does not use TLS, set plain_http"
    )
