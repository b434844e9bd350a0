# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists that a registry returns in pages: repositories, tags and referrers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ..errors import RegistryError

if TYPE_CHECKING:
    import requests

    from .client import Registry


def read_pages(
    registry: Registry, path: str, failure: str, accepted: tuple[int, ...], query: str = "", **options: Any
) -> Iterator[requests.Response]:
    """Yield the response for each page of a list; each is closed before the next request (RFC 8288, "Web Linking").

    Args:
        registry: The registry.
        path: The path of the list.
        failure: The beginning of the error message, such as "tags of repository team/api cannot be listed".
        accepted: The status codes to return; others are errors.
        query: The query of the first page.
        options: Options of requests.

    Raises:
        K8scrError: The registry returned an error response, or the request has failed for too long.
        RegistryError: The next page is not part of this list; it is not requested.
    """
    page = f"{path}{query}"
    while page:
        with registry.request_with_retries("GET", page, failure, accepted, **options) as response:
            yield response
        link = response.links.get("next", {}).get("url")
        # The host does not matter: all requests go to this registry.
        address = urlsplit(urljoin(page, link or ""))
        if link and address.path != path:
            raise RegistryError(f"{failure}: the next page of {registry.description} is not part of the list")
        page = f"{path}?{address.query}" if link else ""
