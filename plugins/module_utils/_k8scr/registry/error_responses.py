# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Error responses of a registry (OCI distribution specification, "Error Codes")."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import PROXY_STATUS, RegistryError, Retry, StorageFullError
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
    507: "The registry's storage is full; delete images with k8scr_prune, or use a larger volume",
}
_FULL_STATUS = 507
_RATE_STATUS = 429
_FULL = re.compile(r"no space left|disk quota exceeded|storage ?full|quota ?exceeded", re.IGNORECASE)
"""Texts of file systems, MinIO (``XMinioStorageFull``) and Ceph (``QuotaExceeded``)."""
_ERRNO = {28: "no space left on device", 122: "disk quota exceeded"}
"""The numbers of Linux for ENOSPC and EDQUOT. distribution 2.8 returns the number without its text."""
_READ_ONLY_STATUS = 405
COLLECTION_HEADER = "K8scr-Collection"
"""The header with which a registry of the role ``registry`` with ``registry_delete`` reports garbage collections."""
COLLECTION_RUNNING = "running"
"""The value of the header during a collection, when the write port is read-only."""


def error_of(response: RegistryResponse, failure: str, registry: str) -> RegistryError:
    """Return the error for an error response.

    Args:
        failure: The beginning of the message, such as "blob sha256:… cannot be uploaded".
    """
    codes, details = read_errors(response.content)
    reason = "; ".join(details) or response.reason or "no reason given"
    status = response.status_code
    if status == _READ_ONLY_STATUS and response.headers.get(COLLECTION_HEADER) == COLLECTION_RUNNING:
        return RegistryError(
            f"{failure}: garbage collection is running in {registry}",
            "Run again when it is finished, or set a longer retry_timeout",
            status,
            codes,
            Retry(),
        )
    # Registries of cloud providers also name a rate limit a quota.
    is_full = status == _FULL_STATUS or (status != _RATE_STATUS and _FULL.search(reason) is not None)
    advice = _ADVICE[_FULL_STATUS] if is_full else _ADVICE.get(status)
    if not codes and status in PROXY_STATUS and REGISTRY_HEADER not in response.headers:
        registry = f"a proxy or load balancer in front of {registry}"
        advice = advice or _PROXY_ADVICE
    message = f"{failure}: {registry} responded with {status}: {reason:.500}"
    kind = StorageFullError if is_full else RegistryError
    return kind(message, advice, status, codes, after=retry_after(response.headers))


def read_errors(body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the codes and the texts of a registry's error response, both empty if the body is not valid."""
    try:
        errors = json.loads(body)["errors"]
        codes = tuple(str(error.get("code", "")) for error in errors)
        texts = tuple(_text(error) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return (), ()
    return codes, texts


def names_revision(body: bytes) -> bool:
    """Return whether an error response of distribution names the digest of a tag whose manifest does not exist.

    distribution 2.8 states it as an object, and distribution 3 in a text. For a missing tag, both state the tag.
    """
    try:
        details = [error.get("detail") for error in json.loads(body)["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return any(
        "Revision" in detail if isinstance(detail, dict) else isinstance(detail, str) and " revision=" in detail
        for detail in details
    )


def _text(error: dict[str, object]) -> str:
    parts = [error.get("message") or error.get("code"), _detail(error.get("detail"))]
    return ", ".join(str(part) for part in parts if part)


def _detail(detail: Any) -> str | None:
    """Return a text in the details of an error; ``None`` if they have none."""
    if isinstance(detail, dict):
        # distribution 2.8 encloses the errors of its storage.
        detail = detail.get("Enclosed", detail)
    if not isinstance(detail, dict):
        return detail if isinstance(detail, str) else None
    number, text = detail.get("Err"), detail.get("detail")
    if isinstance(number, int) and number in _ERRNO:
        return f"{detail.get('Op')} {detail.get('Path')}: {_ERRNO[number]}"
    return text if isinstance(text, str) else None
