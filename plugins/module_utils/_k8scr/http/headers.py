# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of HTTP headers."""

from __future__ import annotations

from collections.abc import Mapping

from ..oci.decimal import parse_decimal

REGISTRY_HEADER = "Docker-Distribution-Api-Version"
"""A header in the responses of most registries. Proxies in front of them do not return it."""
_LONGEST_RETRY_AFTER = 60.0


def is_header_value(text: str) -> bool:
    """Return whether a text can be sent in a header: it has only printable ASCII characters."""
    return text.isascii() and text.isprintable()


def media_type_of(headers: Mapping[str, str]) -> str:
    """Return the media type in ``Content-Type``, without its parameters; empty if it is missing."""
    return headers.get("Content-Type", "").partition(";")[0].strip()


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of the header ``Retry-After``; 0 if it is not a number (RFC 9110, section 10.2.3)."""
    return min(parse_decimal(headers.get("Retry-After", "")) or 0, _LONGEST_RETRY_AFTER)
