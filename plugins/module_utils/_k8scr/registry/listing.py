# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repositories and tags of a registry.

OCI distribution specification, "Listing Tags"; for repositories, which it leaves out, the API of CNCF distribution.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import RegistryError
from .error_responses import read_limited

if TYPE_CHECKING:
    import requests

    from .client import Registry

_PAGE = 1000
"""Names that one response may hold."""
_MAXIMUM_BODY = 4 << 20


def repositories(registry: Registry) -> Iterator[str]:
    """Yield the names of a registry's repositories, also of those that have no image left.

    Raises:
        K8scrError: The registry cannot be reached, or does not list its repositories.
    """
    yield from _names(registry, "/v2/_catalog", "repositories", f"repositories of {registry.description}")


def tags(registry: Registry, repository: str) -> Iterator[str]:
    """Yield the tags of a repository.

    Raises:
        K8scrError: The registry cannot be reached, or does not list its tags.
    """
    yield from _names(registry, f"/v2/{repository}/tags/list", "tags", f"tags of repository {repository}")


def _names(registry: Registry, path: str, key: str, what: str) -> Iterator[str]:
    seen: set[str] = set()
    page: str | None = f"{path}?n={_PAGE}"
    while page:
        # A repository whose last tag was deleted is still in the catalog of some registries, and has no list of tags.
        with registry.ask("GET", page, f"the {what} cannot be listed", (200, 404)) as response:
            if response.status_code == 404 and key == "tags":
                return
            names = _read(response, key, what)
            page = _next_page(response)
        new = [name for name in names if name not in seen]
        seen.update(new)
        yield from new
        if not new:
            return


def _read(response: requests.Response, key: str, what: str) -> list[str]:
    try:
        # A repository without tags has null in their place.
        names = json.loads(read_limited(response, _MAXIMUM_BODY))[key] or []
        if response.status_code == 200 and isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RegistryError(
        f"the {what} cannot be listed: the registry answered {response.status_code} and no list of names",
        "The registry may not support listing",
        response.status_code,
    )


def _next_page(response: requests.Response) -> str | None:
    """Return the path and query of the next page (RFC 8288), below the registry's root."""
    address = urlsplit(response.links.get("next", {}).get("url", ""))
    return f"{address.path}?{address.query}" if address.path.startswith("/v2/") else None
