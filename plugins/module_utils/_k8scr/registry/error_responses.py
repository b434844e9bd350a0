# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a registry's refusals mean (OCI distribution specification, "Error Codes")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..errors import ConnectionLostError, RegistryError, seconds_of

if TYPE_CHECKING:
    import requests

MAXIMUM_ERROR_BODY = 64 << 10
"""Bytes of an error's body that are read; no honest one is longer."""

_REGISTRY_HEADER = "Docker-Distribution-Api-Version"
_OF_A_GATEWAY = (413, 502, 503, 504)
_ADVICE = {
    401: "The registry wants credentials of its own, which cannot pass the API server; let it do without",
    405: "The registry is read-only or has this operation switched off; use its writable port",
    413: "Something between limits the length of requests; raise its limit",
    415: "The registry does not take this kind of manifest; convert the image to OCI media types or allow the others",
    429: "The registry wants fewer requests; run again later",
    500: "Look into the registry's log",
    502: "Look at the load balancers and proxies on the way",
    504: "Look at the load balancers and proxies on the way, and at how long they let a request take",
    507: "The registry's storage is full; make room",
}


def refusal(response: requests.Response, what: str, who: str) -> RegistryError:
    """Return the error that explains a registry's answer.

    Args:
        response: The answer; its body may be unread.
        what: What was tried, as in "blob sha256:… cannot be uploaded".
        who: The registry, for people.
    """
    codes, details = read_errors(response)
    said = "; ".join(details) or response.reason or "no reason given"
    advice = _ADVICE.get(response.status_code)
    if "no space left" in said:
        advice = _ADVICE[507]
    if not codes and response.status_code in _OF_A_GATEWAY and _REGISTRY_HEADER not in response.headers:
        who = f"something between here and {who}"
    message = f"{what}: {who} answered {response.status_code}: {said:.500}"
    error = RegistryError(message, advice, response.status_code, codes)
    error.retry_after = seconds_of(response.headers.get("Retry-After", ""))
    return error


def read_errors(response: requests.Response) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the codes and the texts of a registry's error answer, both empty where it is none."""
    body = read_limited(response, MAXIMUM_ERROR_BODY)
    try:
        errors = json.loads(body)["errors"]
        codes = tuple(str(error.get("code", "")) for error in errors)
        texts = tuple(_text(error) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return (), ()
    return codes, texts


def read_limited(response: requests.Response, limit: int) -> bytes:
    """Read a body up to ``limit`` bytes; what is longer is cut off and its connection given up.

    Raises:
        ConnectionLostError: It ends too early.
    """
    body = bytearray()
    try:
        for block in response.iter_content(16 << 10):
            body += block
            if len(body) > limit:
                response.close()
                break
    except OSError as error:  # which requests' own exceptions are
        raise ConnectionLostError("the connection was lost while reading an answer", "Run again") from error
    return bytes(body[: limit + 1])


def let_go(response: requests.Response) -> None:
    """End an answer whose body matters to nobody; one that was not read would take its connection with it."""
    read_limited(response, MAXIMUM_ERROR_BODY)
    response.close()


def _text(error: dict[str, object]) -> str:
    detail = error.get("detail")
    parts = [error.get("message") or error.get("code"), detail if isinstance(detail, str) else None]
    return ", ".join(str(part) for part in parts if part)
