# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""User impersonation (Kubernetes, "User impersonation"), as set in a kubeconfig or in the options of a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ClusterError
from ..http.headers import is_header_value
from .failures import unsendable
from .settings import ClusterSettings

USER_FIELDS = ("as", "as-groups", "as-uid", "as-user-extra")
"""Fields of a kubeconfig's user."""
_HEADER_CHARACTERS = "!#$&'*+-.^_`|~"
"""Characters of a header name in addition to letters and digits (RFC 9110, section 5.6.2), without the percent sign."""


def impersonation_headers(settings: ClusterSettings, user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the headers that make the API server impersonate another user; empty without impersonation.

    As in kubectl, the options ``impersonate_user`` and ``impersonate_groups`` each replace the value in the kubeconfig.

    Raises:
        ClusterError: Groups, a uid or extra fields are given without a user, or a value cannot be sent.
    """
    name = settings.impersonate_user or user.get("as")
    if isinstance(name, (list, dict)) or isinstance(user.get("as-uid"), (list, dict)):
        raise _invalid("as or as-uid", "a string")
    headers = list(_other_headers(settings, user))
    if name:
        headers.insert(0, ("Impersonate-User", str(name)))
    elif headers:
        raise ClusterError(
            "groups, a uid or extra fields to impersonate are set without a user",
            "Set impersonate_user, or as in the kubeconfig",
        )
    for header, value in headers:
        if not is_header_value(value):
            raise unsendable(header)
    return tuple(headers)


def _other_headers(settings: ClusterSettings, user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if user.get("as-uid"):
        yield "Impersonate-Uid", str(user["as-uid"])
    for group in settings.impersonate_groups or _list(user.get("as-groups"), "as-groups", "a list"):
        yield "Impersonate-Group", group
    extra = user.get("as-user-extra") or {}
    if not isinstance(extra, Mapping):
        raise _invalid("as-user-extra", "a dictionary of lists")
    for key, values in extra.items():
        for value in _list(values, "as-user-extra", "a dictionary of lists"):
            yield f"Impersonate-Extra-{quote(str(key), safe=_HEADER_CHARACTERS)}", value


def _list(value: Any, field: str, expected: str) -> list[str]:
    if value is not None and not isinstance(value, list):
        raise _invalid(field, expected)
    return [str(item) for item in value or ()]


def _invalid(field: str, expected: str) -> ClusterError:
    return ClusterError(f"{field} in the kubeconfig is not {expected}", "Correct the kubeconfig")
