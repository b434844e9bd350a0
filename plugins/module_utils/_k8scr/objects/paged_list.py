# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of Kubernetes objects, read in pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..errors import ApiServerError, OversizedResponseError, Retry, UnreadableResponseError
from ..oci.json_object import json_object

if TYPE_CHECKING:
    from ..http.retry import Retries
    from ..transport.api_server import ApiServerAdapter

_PAGE = 500
"""Objects in one response, as in kubectl."""
_MAXIMUM_PAGE = 8 << 20
"""Bytes of one response; 500 Pods of 10 KiB have 5 MiB. If a response is larger, fewer objects are requested."""
_SMALLER_PAGE = 4
"""Divides the number of objects of a response that was too large."""
_MOST_OBJECTS = 1_000_000
"""The largest number of objects of a kind; Kubernetes supports 150,000 Pods."""
_EXPIRED = 410
_ATTEMPTS = 5
"""Attempts at a list whose snapshot expires; etcd keeps one for five minutes by default."""
_SERVED_KINDS = ("Pod", "Node")
"""Kinds that all API servers serve."""


def paged_objects(adapter: ApiServerAdapter, retries: Retries, kind: str, path: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a kind in all namespaces; none if the API server does not serve the kind.

    If the snapshot expires between two pages, all objects are yielded again.

    Args:
        adapter: The adapter of the API server.
        retries: The retry policy.
        kind: The kind, for example ``Pod``.
        path: The path of the list.

    Raises:
        ClusterError: The API server cannot be reached, or did not return a list.
        ApiServerError: It returned another error response than 404.
    """
    attempts = retries.begin(f"list the {kind}s of the cluster")
    while True:
        try:
            yield from _pages(adapter, retries, kind, path)
        except ApiServerError as error:
            if error.status != _EXPIRED:
                raise
            attempts.note_progress()
            attempts.wait_or_raise(error.replace(retry=Retry(_ATTEMPTS, despite_progress=True)))
        else:
            return


def _pages(adapter: ApiServerAdapter, retries: Retries, kind: str, base: str) -> Iterator[Mapping[str, Any]]:
    name, limit, position, count = f"the {kind}s of the cluster", _PAGE, "", 0
    while True:
        query = urlencode({"limit": limit, **({"continue": position} if position else {})})
        path = f"{base}?{query}"
        try:
            request = partial(adapter.read_object, path, name, limit=_MAXIMUM_PAGE, verb="list")
            found = retries.run(f"list {name}", request)
        except OversizedResponseError:
            if limit == 1:
                raise
            limit = max(1, limit // _SMALLER_PAGE)
            continue
        if found is None:
            if position or kind in _SERVED_KINDS:
                # A list that ends early would hide workloads.
                raise UnreadableResponseError(
                    f"{adapter.server_name} responded with 404 to the list of {name}",
                    "Check the address: a proxy may have responded in place of the API server",
                )
            return
        items = found.get("items") or []
        position = json_object(found.get("metadata")).get("continue") or ""
        is_list = found.get("kind") == f"{kind}List" and isinstance(items, list) and isinstance(position, str)
        count += len(items) if is_list else 0
        if not is_list or count > _MOST_OBJECTS or (position and not items):
            raise UnreadableResponseError(
                f"{adapter.server_name} did not return a valid list of {name}",
                "Check the address: a proxy may have responded in place of the API server",
            )
        yield from map(json_object, items)
        if not position:
            return
