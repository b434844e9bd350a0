# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of repositories and tags in several pages, and of registries that return them in other ways."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import listing
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

MANY = [f"v{number:05}" for number in range(2500)]


def names_of(server: RegistryServer, image: Image, names: list[str]) -> None:
    """Store one image under many tags."""
    server.fill("team/app", None, image)
    server.manifests["team/app"].update(dict.fromkeys(names, server.manifests["team/app"][image.digest]))


@pytest.mark.parametrize("page", [1, 7, 1000])
def test_tags_are_listed_over_all_pages(server: RegistryServer, registry: Registry, image: Image, page: int) -> None:
    names = MANY[: page * 3 + 1]
    names_of(server, image, names)
    server.page = page
    assert list(listing.tags(registry, "team/app")) == names


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_tags_are_complete_if_registry_truncates_list_without_link(
    server: RegistryServer, registry: Registry, image: Image, count: int
) -> None:
    names = MANY[:count]
    names_of(server, image, names)
    server.page = 1_000_000
    server.fail("GET", "tags/list", lambda response: Response(response.status, {}, response.body))
    assert list(listing.tags(registry, "team/app")) == names


def test_full_last_page_is_complete_if_registry_rejects_larger_pages(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    names_of(server, image, MANY[:1000])
    server.fail("GET", r"n=100001", error_response(400, "PAGINATION_NUMBER_INVALID"))
    assert list(listing.tags(registry, "team/app")) == MANY[:1000]


def test_number_of_names_is_limited(
    server: RegistryServer, registry: Registry, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_MOST_NAMES", 2000)
    names_of(server, image, MANY)
    with pytest.raises(RegistryError, match="more than 2000 names"):
        list(listing.tags(registry, "team/app"))


def test_length_of_names_is_limited(
    server: RegistryServer, registry: Registry, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_MOST_TEXT", 1000)
    names_of(server, image, MANY)
    with pytest.raises(RegistryError, match="more than 1000 characters"):
        list(listing.tags(registry, "team/app"))


def test_missing_repository_has_no_tags(registry: Registry) -> None:
    assert list(listing.tags(registry, "team/missing")) == []
