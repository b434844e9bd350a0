# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saving the images of a registry to a folder, and restoring them to the registry that replaces it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.carry import restore_images, save_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.listing import repositories, tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

TRANSFER = Transfer(connections=4)
REPOSITORIES = ["busybox", "library/busybox", "registry.example.com/team/api", "registry.example.com_5000/team/api"]


def lose_images(server: RegistryServer) -> None:
    """Empty the registry, as after a new Pod with an empty volume."""
    server.blobs.clear()
    server.manifests.clear()


def test_carry_restores_every_tag_under_its_repository(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, multi: Image
) -> None:
    for repository in REPOSITORIES:
        server.fill(repository, "1", image)
        server.fill(repository, "multi", multi)
    before = {name: dict(manifests) for name, manifests in server.manifests.items()}

    save_images(registry, tmp_path / "saved", TRANSFER)
    lose_images(server)
    result = restore_images(registry, tmp_path / "saved", TRANSFER)

    assert result["changed"] is True
    assert server.manifests == before
    assert not (tmp_path / "saved").exists()


def test_carry_keeps_tag_pushed_after_save(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    save_images(registry, tmp_path / "saved", TRANSFER)
    lose_images(server)
    server.fill("team/app", "1", other_image)

    result = restore_images(registry, tmp_path / "saved", TRANSFER)

    assert result["changed"] is False
    assert server.digest_of("team/app", "1") == other_image.digest


def test_carry_keeps_tag_pushed_during_restore(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    save_images(registry, tmp_path / "saved", TRANSFER)
    lose_images(server)

    def push_during_restore(response: Response) -> Response:
        server.fill("team/app", "1", other_image)
        return response

    server.fail("PUT", "/blobs/uploads/", push_during_restore, times=1)

    restore_images(registry, tmp_path / "saved", TRANSFER)

    assert server.digest_of("team/app", "1") == other_image.digest


def test_carry_keeps_saved_images_after_failed_restore(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    save_images(registry, tmp_path / "saved", TRANSFER)
    lose_images(server)
    server.fail("PUT", "/manifests/1", error_response(400, "MANIFEST_INVALID"), times=1)

    failed = restore_images(registry, tmp_path / "saved", TRANSFER)
    restored = restore_images(registry, tmp_path / "saved", TRANSFER)

    assert failed["failed"] is True
    assert f"The images stay in {tmp_path / 'saved'}; run again to restore them." in failed["msg"]
    assert (restored["changed"], server.digest_of("team/app", "1")) == (True, image.digest)


def test_carry_restores_nothing_without_saved_images(
    registry: Registry, server: RegistryServer, tmp_path: Path
) -> None:
    result = restore_images(registry, tmp_path / "saved", TRANSFER)

    assert (result["changed"], result["images"], server.requests) == (False, [], [])


def test_carry_copies_nothing_in_check_mode(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)

    result = save_images(registry, tmp_path / "carried/saved", Transfer(4, check_mode=True))

    assert (result["changed"], list(tmp_path.iterdir())) == (True, [])


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
def test_listing_returns_names_of_all_pages(
    registry: Registry, server: RegistryServer, image: Image, page: int
) -> None:
    server.page = page
    for number in range(7):
        server.fill("team/app", f"1.{number}", image)
        server.fill(f"team/app-{number}", "1", image)

    assert list(repositories(registry)) == ["team/app", *(f"team/app-{number}" for number in range(7))]
    assert list(tags(registry, "team/app")) == [f"1.{number}" for number in range(7)]


def test_listing_ends_when_registry_repeats_page(registry: Registry, server: RegistryServer) -> None:
    page = Response(200, {"Link": '</v2/_catalog?n=1&last=a>; rel="next"'}, b'{"repositories": ["a"]}')
    server.fail("GET", "/v2/_catalog", page)

    assert list(repositories(registry)) == ["a"]


def test_listing_is_empty_for_repository_without_tags(registry: Registry, server: RegistryServer) -> None:
    server.manifests["emptied"] = {}

    assert list(tags(registry, "emptied")) == []
    assert list(tags(registry, "never-existed")) == []


@pytest.mark.parametrize(
    "response",
    [
        error_response(404, "NAME_UNKNOWN"),
        Response(200, {}, b"<html>"),
        Response(200, {}, b"[]"),
        Response(200, {}, b'{"repositories": "a"}'),
        Response(200, {}, b'{"repositories": [1]}'),
    ],
    ids=["missing", "HTML", "list", "word", "number"],
)
def test_listing_fails_without_valid_catalog(registry: Registry, server: RegistryServer, response: Response) -> None:
    server.fail("GET", "/v2/_catalog", response)

    with pytest.raises(RegistryError, match="repositories of the registry cannot be listed"):
        list(repositories(registry))
