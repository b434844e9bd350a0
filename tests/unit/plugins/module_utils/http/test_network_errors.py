# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chains of exceptions that requests, urllib3, ssl and the socket raise for network errors."""

from __future__ import annotations

import socket
import ssl
from http.client import RemoteDisconnected

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.network_errors import NetworkError
from urllib3.exceptions import MaxRetryError, ProxyError, ReadTimeoutError, SSLError


def raised(error: BaseException, cause: BaseException) -> BaseException:
    """Return an exception with a cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        raised(OSError("wrapped"), socket.gaierror("unknown")),
        MaxRetryError(None, "/", socket.gaierror("unknown")),  # type: ignore[arg-type]
        ProxyError("failed", socket.gaierror("unknown")),
        OSError(OSError(socket.gaierror("unknown"))),
    ],
    ids=["cause", "reason", "original error", "arguments"],
)
def test_find_returns_exception_from_any_attribute(error: BaseException) -> None:
    assert isinstance(NetworkError(error).find(socket.gaierror), socket.gaierror)


def test_find_returns_outermost_exception() -> None:
    inner = ConnectionResetError("inner")
    outer = ConnectionRefusedError("outer")

    failure = NetworkError(raised(outer, inner))

    assert failure.find(OSError) is outer
    assert failure.find(ConnectionResetError) is inner
    assert failure.find(PermissionError) is None


def test_chain_of_exceptions_may_contain_a_cycle() -> None:
    first, second = OSError("first"), OSError("second")

    assert NetworkError(raised(first, raised(second, first))).chain == [first, second]


def test_proxy_error_is_recognized() -> None:
    assert NetworkError(ProxyError("failed", OSError())).is_proxy_error
    assert NetworkError(type("GeneralProxyError", (OSError,), {"__module__": "socks"})()).is_proxy_error
    assert not NetworkError(OSError()).is_proxy_error


def test_timeout_is_recognized() -> None:
    assert NetworkError(raised(OSError(), socket.timeout())).is_timeout
    assert NetworkError(ReadTimeoutError(None, "/", "timed out")).is_timeout  # type: ignore[arg-type]
    assert not NetworkError(ConnectionResetError()).is_timeout


def test_untrusted_certificate_has_reason_of_openssl() -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = "self-signed certificate"

    assert NetworkError(SSLError(error)).untrusted_certificate == "self-signed certificate"
    assert NetworkError(SSLError(ssl.SSLError())).untrusted_certificate is None


def test_closed_connection_is_not_a_tls_error() -> None:
    error = ssl.SSLError(1, "failed")
    error.reason = "WRONG_VERSION_NUMBER"

    assert NetworkError(SSLError(error)).tls_reason == "wrong version number"
    assert NetworkError(SSLError(ssl.SSLEOFError())).tls_reason is None
    assert NetworkError(OSError()).tls_reason is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        # The texts of the libraries contain URLs.
        (
            raised(OSError("http://app.example.com/?token=x"), ConnectionResetError(104, "Reset by peer")),
            "reset by peer",
        ),
        (raised(OSError("http://app.example.com/?token=x"), RemoteDisconnected("Closed early")), "closed early"),
        (ssl.SSLEOFError(8, "EOF occurred (_ssl.c:1)"), "closed unexpectedly"),
        (OSError("http://app.example.com/?token=x"), None),
    ],
    ids=["system", "closed", "TLS", "unknown"],
)
def test_reason_is_from_operating_system_or_protocol(error: BaseException, reason: str | None) -> None:
    assert NetworkError(error).reason == reason
