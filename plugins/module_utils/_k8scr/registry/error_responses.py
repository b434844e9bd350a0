# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Error responses of a registry (OCI distribution specification, "Error Codes")."""

from __future__ import annotations

import json

from ..errors import PROXY_STATUS, RegistryError
from ..http.headers import REGISTRY_HEADER, retry_after
from .response import RegistryResponse

_REDIRECTED = (
    "Set storage.redirect.disable: true in the registry's configuration, so that clients need not reach its storage"
)
_PROXY_ADVICE = "Check the load balancers and proxies on the path, and their time limits"
_ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), _REDIRECTED),
    401: "The registry requires credentials, which the API server does not pass on; disable its authentication",
    405: "The registry is read-only or does not allow this operation; use its writable port",
    413: "A proxy or load balancer limits the size of requests; raise its limit",
    415: "The registry does not support this media type; convert the image to OCI media types or allow other types",
    429: "The registry limits the rate of requests; run again later",
    500: "Check the registry's log",
    507: "The registry's storage is full; free some space",
}


def error_of(response: RegistryResponse, failure: str, registry: str) -> RegistryError:
    """Return the error for an error response.

    Args:
        failure: The beginning of the message, such as "blob sha256:… cannot be uploaded".
    """
    codes, details = read_errors(response.content)
    reason = "; ".join(details) or response.reason or "no reason given"
    status = response.status_code
    advice = _ADVICE[507] if "no space left" in reason else _ADVICE.get(status)
    if not codes and status in PROXY_STATUS and REGISTRY_HEADER not in response.headers:
        registry = f"a proxy or load balancer in front of {registry}"
        advice = advice or _PROXY_ADVICE
    message = f"{failure}: {registry} responded with {status}: {reason:.500}"
    return RegistryError(message, advice, status, codes, after=retry_after(response.headers))


def read_errors(body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the codes and the texts of a registry's error response, both empty if the body is not valid."""
    try:
        errors = json.loads(body)["errors"]
        codes = tuple(str(error.get("code", "")) for error in errors)
        texts = tuple(_text(error) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return (), ()
    return codes, texts


def _text(error: dict[str, object]) -> str:
    detail = error.get("detail")
    parts = [error.get("message") or error.get("code"), detail if isinstance(detail, str) else None]
    return ", ".join(str(part) for part in parts if part)
