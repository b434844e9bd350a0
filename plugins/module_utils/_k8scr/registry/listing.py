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
_MOST_TEXT = 32 << 20
"""Characters of all names of a list; the specification limits repositories to 255 each."""


def repositories(registry: Registry) -> Iterator[str]:
    """Return the names of a registry's repositories, including repositories without images."""
    return _names(registry, "/v2/_catalog", "repositories", f"repositories of {registry.description}")


def tags(registry: Registry, repository: str) -> Iterator[str]:
    """Return the tags of a repository."""
    return _names(registry, f"/v2/{repository}/tags/list", "tags", f"tags of repository {repository}")


def _names(registry: Registry, path: str, key: str, content: str) -> Iterator[str]:
    failure = f"the {content} cannot be listed"
    seen: set[str] = set()
    text = 0
    for names in _pages(registry, path, key, failure):
        new = [name for name in names if name not in seen]
        seen.update(new)
        text += sum(map(len, new))
        if text > _MOST_TEXT:
            raise RegistryError(f"{failure}: {registry.description} returned more than {_MOST_TEXT} characters")
        if len(seen) > _MOST_NAMES:
            raise RegistryError(f"{failure}: {registry.description} returned more than {_MOST_NAMES} names")
        yield from new
        if not new:
            return


def _pages(registry: Registry, path: str, key: str, failure: str) -> Iterator[list[str]]:
    names: list[str] = []
    for response in registry.request_pages(path, failure, (200, 404), f"?n={_PAGE}"):
        # Some registries list repositories whose last tag was deleted, but respond with 404 for their tags.
        if response.status_code == 404 and key == "tags":
            return
        names = _read(response, key, failure)
        yield names
    if len(names) == _PAGE:
        # go-containerregistry returns the requested number of names, and no link to the next ones.
        more = registry.request_with_retries("GET", f"{path}?n={_MOST_NAMES + 1}", failure, (200, 400, 404))
        if more.status_code == 200:
            yield _read(more, key, failure)


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
