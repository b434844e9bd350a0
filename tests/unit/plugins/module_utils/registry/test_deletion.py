# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deletion of tags and images in a repository, in registries with different rules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.deletion import (
    Deletion,
    delete_manifest,
    delete_tag,
    deletes_by_tag,
    require_deletion,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.images import Image, index_of
from unit.plugins.module_utils.support.registry_deletion import Manifests, by_digest, by_entry, by_tag
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

NAME = "team/app"


@pytest.fixture(params=registry_deletion.IMPLEMENTATIONS)
def deleting(request: pytest.FixtureRequest, server: RegistryServer, image: Image) -> RegistryServer:
    """A registry that allows deletion, with ``image`` as team/app:1 and team/app:2."""
    server.delete = registry_deletion.IMPLEMENTATIONS[request.param]
    server.fill(NAME, "1", image)
    server.fill(NAME, "2", image)
    return server


def test_delete_tag_keeps_manifest_and_other_tags(
    deleting: RegistryServer, repository: Repository, image: Image
) -> None:
    deletion = delete_tag(repository, "1", image.digest)

    assert deletion is (Deletion.REPLACED if deleting.delete is by_digest else Deletion.TAG)
    assert set(deleting.manifests[NAME]) == {"2", image.digest}


def test_delete_tag_keeps_manifest_without_other_tags(
    deleting: RegistryServer, repository: Repository, image: Image
) -> None:
    for tag in ("1", "2"):
        assert delete_tag(repository, tag, image.digest).changed

    assert set(deleting.manifests[NAME]) == {image.digest}


def test_delete_tag_sends_one_request_for_missing_tag(deleting: RegistryServer, repository: Repository) -> None:
    assert delete_tag(repository, "3", digest_of(b"other")) is Deletion.MISSING
    assert deleting.received("HEAD", "GET", "PUT", "POST", "DELETE") == ["HEAD /v2/team/app/manifests/3"]


def test_delete_tag_keeps_tag_with_other_digest(deleting: RegistryServer, repository: Repository) -> None:
    assert delete_tag(repository, "1", digest_of(b"other")) is Deletion.MOVED
    assert deleting.received("PUT", "POST", "DELETE") == []


def test_delete_tag_deletes_after_lost_response(deleting: RegistryServer, repository: Repository, image: Image) -> None:
    deleting.cut("DELETE", "/manifests/", after=0)

    assert delete_tag(repository, "1", image.digest).changed
    assert set(deleting.manifests[NAME]) == {"2", image.digest}


def test_delete_tag_deletes_after_lost_response_to_placeholder(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.delete = by_digest
    server.fill(NAME, "1", image)
    server.cut("PUT", "/manifests/1", after=1 << 20)

    assert delete_tag(repository, "1", image.digest) is Deletion.REPLACED
    assert set(server.manifests[NAME]) == {image.digest}


def test_delete_tag_finishes_interrupted_deletion(server: RegistryServer, repository: Repository, image: Image) -> None:
    def interrupted(manifests: Manifests, reference: str) -> Response:
        fails = ":" in reference and reference in manifests
        return error_response(403, "DENIED") if fails else by_digest(manifests, reference)

    server.delete = interrupted
    server.fill(NAME, "1", image)
    server.fill(NAME, "2", image)
    with pytest.raises(RegistryError, match="403"):
        delete_tag(repository, "1", image.digest)
    placeholder = repository.resolve("1")
    assert placeholder is not None
    assert placeholder.digest != image.digest

    server.delete = by_digest
    deletion = delete_tag(repository, "1", placeholder.digest)

    assert deletion is Deletion.REPLACED
    assert set(server.manifests[NAME]) == {"2", image.digest}


def test_delete_tag_replaces_copy_of_placeholder_of_other_tag(server: RegistryServer, repository: Repository) -> None:
    annotated = index_of([], annotations={"k8scr.core/deleted-tag": "1", "k8scr.core/identity": "0"})
    server.delete = by_digest
    server.fill(NAME, "1", annotated)
    server.fill(NAME, "2", annotated)

    assert delete_tag(repository, "2", annotated.digest) is Deletion.REPLACED
    assert set(server.manifests[NAME]) == {"1", annotated.digest}


@pytest.mark.parametrize("annotations", [None, {}, {"k8scr.core/deleted-tag": 1}, [], "1"])
def test_delete_tag_keeps_empty_index_that_is_no_placeholder(
    server: RegistryServer, repository: Repository, annotations: Any
) -> None:
    empty = index_of([], annotations=annotations)
    server.delete = by_digest
    server.fill(NAME, "1", empty)
    server.fill(NAME, "2", empty)

    delete_tag(repository, "1", empty.digest)

    assert set(server.manifests[NAME]) == {"2", empty.digest}


def test_delete_tag_fails_if_manifest_cannot_be_read(
    deleting: RegistryServer, repository: Repository, image: Image
) -> None:
    deleting.fail("HEAD", "manifests/1", error_response(500, "UNKNOWN"))

    for digest in (None, image.digest):
        with pytest.raises(RegistryError, match=r"500.* delete the tag 1 with k8scr_image first"):
            delete_tag(repository, "1", digest)

    assert "1" in deleting.manifests[NAME]


def test_delete_tag_deletes_broken_tag(deleting: RegistryServer, repository: Repository) -> None:
    """A registry lists the tag, but has no manifest for it; the deletion by name succeeds for this tag only."""
    deletion = delete_tag(repository, "broken", None)

    # The registry of the test has no broken tags, so only the deletion by placeholder changes it.
    assert deletion is (Deletion.REPLACED if deleting.delete is by_digest else Deletion.MISSING)
    assert "broken" not in deleting.manifests[NAME]
    assert delete_tag(repository, "1", None) is Deletion.MOVED


@pytest.mark.parametrize("status", [400, 405])
def test_delete_tag_leaves_tag_if_deletion_is_disabled(
    server: RegistryServer, repository: Repository, image: Image, status: int
) -> None:
    def disabled(_manifests: Manifests, reference: str) -> Response:
        return error_response(405 if ":" in reference else status, "UNSUPPORTED", "not supported")

    server.delete = disabled
    server.fill(NAME, "1", image)

    with pytest.raises(RegistryError, match=r"tag 1 of repository team/app.*registry_delete: true in the role"):
        delete_tag(repository, "1", image.digest)

    assert server.digest_of(NAME, "1") == image.digest
    assert server.received("PUT", "POST") == []


def test_delete_tag_waits_for_garbage_collection(
    deleting: RegistryServer, repository: Repository, image: Image
) -> None:
    deleting.fail("DELETE", "/manifests/", Response(405, {"K8scr-Collection": "running"}), times=3)

    deletion = delete_tag(repository, "1", image.digest)

    assert deletion is (Deletion.REPLACED if deleting.delete is by_digest else Deletion.TAG)
    assert set(deleting.manifests[NAME]) == {"2", image.digest}


def test_delete_tag_names_garbage_collection_that_outlasts_retries(
    deleting: RegistryServer, repository: Repository, image: Image
) -> None:
    deleting.fail("DELETE", "/manifests/", Response(405, {"K8scr-Collection": "running"}))

    with pytest.raises(RegistryError, match=r"tag 1 of .*: garbage collection is running in the registry"):
        delete_tag(repository, "1", image.digest)

    assert deleting.received("PUT", "POST") == []


def test_delete_tag_keeps_image_that_is_pushed_during_garbage_collection(
    deleting: RegistryServer, registry: Registry, repository: Repository, image: Image, other_image: Image
) -> None:
    deleting.fail("DELETE", "/manifests/", Response(405, {"K8scr-Collection": "running"}), times=1)
    registry.retries.sleep = lambda _seconds: deleting.fill(NAME, "1", other_image)

    assert delete_tag(repository, "1", image.digest) is Deletion.MOVED

    assert deleting.digest_of(NAME, "1") == other_image.digest


def test_deletes_by_tag_is_unknown_during_garbage_collection(server: RegistryServer, repository: Repository) -> None:
    server.delete = registry_deletion.by_tag
    server.fail("DELETE", "/manifests/", Response(405, {"K8scr-Collection": "running"}))

    with pytest.raises(RegistryError, match=r"tags of .*: garbage collection is running in the registry"):
        deletes_by_tag(repository)


def test_deletion_on_read_only_port_names_write_port(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.delete = lambda _manifests, _reference: Response(405, {"Allow": "GET, HEAD"}, b"Method not allowed\n")
    server.fill(NAME, "1", image)

    for delete in (lambda: delete_tag(repository, "1", image.digest), lambda: require_deletion(repository)):
        with pytest.raises(RegistryError, match="read-only: use the registry's write port"):
            delete()


def test_deletion_names_role_if_api_server_forbids_verb(
    registry: Registry, repository: Repository, image: Image, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fill(NAME, "1", image)
    send = Registry.request

    def request(self: Registry, method: str, path: str, **options: Any) -> Any:
        if method == "DELETE":
            raise ApiServerError("the API server forbids access to Pod k8scr-0", "Grant that verb", 403)
        return send(self, method, path, **options)

    monkeypatch.setattr(Registry, "request", request)

    with pytest.raises(ApiServerError, match=r"Grant that verb; the Role NAME-prune of the role registry"):
        delete_tag(repository, "1", image.digest)


def test_delete_tag_names_tags_that_registry_deletes_too(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.delete = registry_deletion.with_digest_of_tag
    for tag, content in (("1", image), ("2", image), ("3", image), ("4", other_image)):
        server.fill(NAME, tag, content)

    with pytest.raises(RegistryError, match=rf"deleted manifest {image.digest} and its tags 2, 3 in team/app"):
        delete_tag(repository, "1", image.digest)


def test_delete_tag_accepts_registry_that_deletes_manifest_with_last_tag(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.delete = registry_deletion.with_digest_of_tag
    server.fill(NAME, "1", image)
    server.fill(NAME, "2", other_image)

    assert delete_tag(repository, "1", image.digest) is Deletion.TAG


@pytest.mark.parametrize("reference", ["1", "digest"])
def test_deletion_fails_if_registry_keeps_image(
    server: RegistryServer, repository: Repository, image: Image, reference: str
) -> None:
    server.delete = lambda _manifests, _reference: Response(202)
    server.fill(NAME, "1", image)

    with pytest.raises(RegistryError, match="accepted the deletion, but still has"):
        delete_tag(repository, "1", image.digest) if reference == "1" else delete_manifest(repository, image.digest)


def test_delete_tag_accepts_concurrent_push_of_other_image(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    def pushed(manifests: Manifests, reference: str) -> Response:
        response = by_tag(manifests, reference)
        server.fill(NAME, "1", other_image)
        return response

    server.delete = pushed
    server.fill(NAME, "1", image)

    assert delete_tag(repository, "1", image.digest) is Deletion.TAG
    assert server.digest_of(NAME, "1") == other_image.digest


def test_delete_manifest_deletes_all_tags(
    deleting: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    deleting.fill(NAME, "3", other_image)

    assert delete_manifest(repository, image.digest, ["1", "2"])

    assert set(deleting.manifests[NAME]) == {"3", other_image.digest}
    assert not delete_manifest(repository, image.digest)


def test_delete_manifest_keeps_tag_that_was_moved(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.delete = by_entry
    server.fill(NAME, "1", image)
    server.fill(NAME, "2", other_image)

    delete_manifest(repository, image.digest, ["1", "2"])

    assert set(server.manifests[NAME]) == {"2", other_image.digest}


def test_require_deletion_changes_nothing(deleting: RegistryServer, repository: Repository, image: Image) -> None:
    require_deletion(repository)

    assert set(deleting.manifests[NAME]) == {"1", "2", image.digest}
