# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that workloads and lock files name by digest stay, although pushes move their tags during a prune."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.inventories import use
from unit.plugins.module_utils.support.prunes import Workloads, fill, prune_registry, tags_in
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response

NAMES = pytest.mark.parametrize("name", ["example.com/team/api@{}", "example.com/team/api:new@{}"])


@pytest.fixture
def server(server: RegistryServer, image: Image, other_image: Image) -> RegistryServer:
    """A registry with the images ``new`` and ``old``."""
    fill(server, new=image, old=other_image)
    return server


def is_whole(server: RegistryServer, image: Image) -> bool:
    """Return whether the repository has all of an image."""
    return image.contents.keys() <= server.manifests["team/api"].keys() | server.blobs["team/api"].keys()


def move_new_tag(server: RegistryServer, number: int) -> None:
    """Push another image to the tag ``new`` after the workloads were listed again."""
    if number == 1:
        fill(server, new=make_image(layer("bin/app", b"pushed meanwhile")))


@NAMES
def test_image_in_use_by_digest_stays_if_its_tag_moves_during_prune(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, name: str
) -> None:
    workloads = Workloads([use(name.format(image.digest))])
    workloads.listed = partial(move_new_tag, server)

    result = prune_registry(registry, collector, workloads, keep=["*:new"])

    assert is_whole(server, image)
    assert result["protected"] == [f"team/api:{digest_tag(image.digest)}"]
    again = prune_registry(registry, collector, Workloads(*workloads.lists), keep=["*:new"])
    assert (again["changed"], again["protected"]) == (False, [])


def test_image_with_digest_in_lock_file_stays_if_its_tag_moves_during_prune(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock.json"
    lock.write_text(json.dumps({f"example.com/team/api@{image.digest}": image.digest}))
    workloads = Workloads()
    workloads.listed = partial(move_new_tag, server)

    prune_registry(registry, collector, workloads, keep_lock=[str(lock)])

    assert is_whole(server, image)


@NAMES
def test_second_prune_keeps_tag_of_image_in_use_by_digest(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, name: str
) -> None:
    uses = [use(name.format(image.digest))]
    first = prune_registry(registry, collector, Workloads(uses), check_mode=True, keep=["*:new"])
    assert first["protected"] == [f"team/api:{digest_tag(image.digest)}"]
    prune_registry(registry, collector, Workloads(uses), keep=["*:new"])

    again = prune_registry(registry, collector, Workloads(uses), keep=["*:new"])

    assert (again["changed"], again["protected"]) == (False, [])
    assert tags_in(server) == {"new", digest_tag(image.digest)}


def test_index_stays_if_platform_in_use_by_digest_loses_its_tag_during_prune(
    server: RegistryServer, registry: Registry, collector: FakeCollector, multi: Image
) -> None:
    fill(server, new=multi)
    child = next(iter(multi.manifest["manifests"]))["digest"]
    workloads = Workloads([use(f"example.com/team/api@{child}")])
    workloads.listed = partial(move_new_tag, server)

    prune_registry(registry, collector, workloads, keep=["*:new"])

    assert is_whole(server, multi)


@pytest.mark.parametrize("status", [(400, "MANIFEST_BLOB_UNKNOWN"), (507, "UNKNOWN")])
def test_image_with_tag_does_not_prevent_collection_if_registry_rejects_second_tag(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, status: tuple[int, str]
) -> None:
    server.fail("PUT", "manifests/k8scr-", error_response(*status))

    result = prune_registry(
        registry, collector, Workloads([use(f"example.com/team/api@{image.digest}")]), keep=["*:new"]
    )

    assert "failed" not in result
    assert (result["protected"], collector.runs) == ([], 1)
    assert is_whole(server, image)
