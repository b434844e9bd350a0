# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repositories and tags of a registry.

OCI distribution specification, "Listing Tags". It does not define a list of repositories: that is an API of CNCF
distribution. Both functions raise K8scrError if the registry cannot be reached or does not return the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import RegistryError
from .response import RegistryResponse

if TYPE_CHECKING:
    from .client import Registry

_PAGE = 1000
"""The number of names to request in one response."""
_MOST_NAMES = 100_000


def repositories(registry: Registry) -> Iterator[str]:
    """Return the names of a registry's repositories, including repositories without images."""
    return _names(registry, "/v2/_catalog", "repositories", f"repositories of {registry.description}")


def tags(registry: Registry, repository: str) -> Iterator[str]:
    """Return the tags of a repository."""
    return _names(registry, f"/v2/{repository}/tags/list", "tags", f"tags of repository {repository}")


def _names(registry: Registry, path: str, key: str, content: str) -> Iterator[str]:
    failure = f"the {content} cannot be listed"
    seen: set[str] = set()
    for response in _pages(registry, path, key, failure):
        # Some registries list repositories whose last tag was deleted, but respond with 404 for their tags.
        if response.status_code == 404 and key == "tags":
            return
        new = [name for name in _read(response, key, failure) if name not in seen]
        seen.update(new)
        if len(seen) > _MOST_NAMES:
            raise RegistryError(f"{failure}: {registry.description} returned more than {_MOST_NAMES} names")
        yield from new
        if not new:
            return


def _pages(registry: Registry, path: str, key: str, failure: str) -> Iterator[RegistryResponse]:
    response = None
    for response in registry.request_pages(path, failure, (200, 404), f"?n={_PAGE}"):
        yield response
    if response is not None and len(_read(response, key, failure)) == _PAGE:
        # go-containerregistry returns the requested number of names, and no link to the next ones.
        more = registry.request_with_retries("GET", f"{path}?n={_MOST_NAMES + 1}", failure, (200, 400, 404))
        if more.status_code == 200:
            yield more


def _read(response: RegistryResponse, key: str, failure: str) -> list[str]:
    try:
        # For a repository without tags, the value is null.
        names = json.loads(response.content)[key] or []
        if response.status_code == 200 and isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RegistryError(
        f"{failure}: the registry responded with {response.status_code} and no list of names",
        "The registry may not support listing",
        response.status_code,
    )
