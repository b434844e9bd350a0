# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags and indexes that refer to a manifest."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.references import References, find_references
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.images import Image, encode, index_of, make_index
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

NAME = "team/app"


@pytest.fixture
def index(image: Image) -> Image:
    """An index of ``image``."""
    return make_index({"linux/amd64": image})


def test_find_references_returns_tags_and_indexes(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image, index: Image
) -> None:
    nested = index_of([index.root.to_json()], index)
    filled = {"1": image, "2": image, "other": other_image, "index": index, "index-2": index, "nested": nested}
    for tag, content in filled.items():
        server.fill(NAME, tag, content)

    found = find_references(repository, image.digest, connections=2)

    assert found == References(("1", "2"), ("index", "index-2", "nested"))
    assert find_references(repository, nested.digest, connections=2) == References(("nested",), ())


def test_find_references_reads_index_with_many_tags_once(
    server: RegistryServer, repository: Repository, image: Image, index: Image
) -> None:
    server.page = 10
    for number in range(25):
        server.fill(NAME, f"{number:02}", index)

    found = find_references(repository, image.digest, connections=4)

    assert found.indexes == tuple(f"{number:02}" for number in range(25))
    assert server.received("GET").count(f"GET /v2/{NAME}/manifests/{index.digest}") == 1


def test_find_references_of_untagged_manifest_is_empty(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fill(NAME, None, image)

    assert find_references(repository, image.digest, connections=1) == References((), ())


def test_find_references_accepts_repository_without_tags(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("GET", "/tags/list", error_response(404, "NAME_UNKNOWN"))

    assert find_references(repository, image.digest, connections=1) == References((), ())


@pytest.mark.parametrize("status", [404, 405, 501])
def test_find_references_fails_without_list_of_tags(
    server: RegistryServer, repository: Repository, image: Image, status: int
) -> None:
    server.fill(NAME, "1", image)
    server.fail("GET", "/tags/list", Response(status, {}, b"not found"))

    with pytest.raises(RegistryError, match=r"the tags of repository team/app.*cannot be listed"):
        find_references(repository, image.digest, connections=1)


def test_find_references_ignores_index_that_registry_lost(
    server: RegistryServer, repository: Repository, image: Image, index: Image
) -> None:
    nested = index_of([index.root.to_json()], index)
    server.fill(NAME, "nested", nested)
    del server.manifests[NAME][index.digest]

    assert find_references(repository, image.digest, connections=1) == References((), ())


def test_find_references_fails_for_invalid_index(server: RegistryServer, repository: Repository, image: Image) -> None:
    content = encode({"mediaType": OCI_INDEX, "manifests": 1})
    server.fill(NAME, "1", image)
    server.manifests[NAME].update(dict.fromkeys(("broken", digest_of(content)), (OCI_INDEX, content)))

    with pytest.raises(SourceError, match=r"the index with the tag broken, which may refer to .* is not valid"):
        find_references(repository, image.digest, connections=1)
