# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong on the way to an upstream registry, said in one line and without URLs, which may hold secrets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from ..errors import ConnectionLostError, InputError, K8scrError, SourceError, UnreachableError

try:
    from requests import exceptions as requests_errors
    from urllib3 import exceptions as urllib3_errors
except ImportError:  # the module reports what is missing
    pass

_ABOUT_OURS = ("certificate required", "alert bad certificate", "alert unknown ca")
"""What servers say of a client's certificate, or of none, in the words of OpenSSL."""


def explain(error: BaseException, who: str) -> K8scrError:
    """Explain a network failure.

    Args:
        error: What requests or urllib3 raised.
        who: The other end, for people.

    Returns:
        The error to raise instead; it is transient where trying again may help.
    """
    chain = list(_chain(error))
    refused = _tls(chain, who)
    if refused:
        return refused
    if isinstance(error, (requests_errors.InvalidURL, requests_errors.InvalidProxyURL, requests_errors.InvalidSchema)):
        return InputError(
            f"{who} cannot be reached: its address or that of the proxy is not valid", "Check HTTPS_PROXY"
        )
    if any(isinstance(link, socket.gaierror) for link in chain):
        return UnreachableError(
            f"the name of {who} cannot be resolved", "Check the image's name and this machine's DNS"
        )
    if isinstance(error, requests_errors.ProxyError):
        return UnreachableError(f"the proxy in front of {who} refused: {_reason(chain)}", "Check HTTPS_PROXY")
    never = (urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError)
    if any(isinstance(link, never) for link in chain):
        advice = "Check the image's name, the firewalls between, and HTTPS_PROXY"
        return UnreachableError(f"cannot connect to {who}: {_reason(chain)}", advice)
    return ConnectionLostError(f"the connection to {who} was cut: {_reason(chain)}", "Look at the line")


def _tls(chain: list[BaseException], who: str) -> SourceError | None:
    for link in chain:
        # Versions of urllib3 before 2 compare names themselves, and say so by an error of their own.
        if isinstance(link, ssl.SSLCertVerificationError) or type(link).__name__ == "CertificateError":
            said = getattr(link, "verify_message", None) or link
            return SourceError(
                f"the certificate of {who} is not trusted: {said}",
                "Give the CA that signed it with ca_cert in upstreams",
            )
        if isinstance(link, ssl.SSLError) and not isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            said = (link.reason or str(link)).replace("_", " ").lower()
            if any(alert in said for alert in _ABOUT_OURS):
                return SourceError(
                    f"{who} wants a client certificate that it knows ({said})",
                    "Give one with client_cert in upstreams, or put it into certs.d",
                )
            return SourceError(f"{who} does not speak TLS as we do: {said}", "If it speaks plain HTTP, say plain_http")
    return None


def _reason(chain: list[BaseException]) -> str:
    """The operating system's words: libraries add addresses and object names that help nobody."""
    said = next((link.strerror.lower() for link in chain if isinstance(link, OSError) and link.strerror), None)
    if said is None and any(isinstance(link, (socket.timeout, urllib3_errors.TimeoutError)) for link in chain):
        return "no answer in time"
    return said or "closed"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Every exception that led to this one, each library's way of keeping it included."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            kept = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
            waiting.extend(item for item in kept if isinstance(item, BaseException))
