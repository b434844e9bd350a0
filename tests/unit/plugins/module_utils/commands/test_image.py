# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_image copies images inside a registry and deletes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.images import Image, encode, make_image
from unit.plugins.module_utils.support.registry_deletion import by_digest
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.tasks import change_in

Change = Callable[..., dict[str, Any]]
ANY = ("HEAD", "GET", "POST", "PATCH", "PUT", "DELETE")
MODES = pytest.mark.parametrize("check_mode", [False, True])


@pytest.fixture
def change(registry: Registry) -> Change:
    """Runs a task of k8scr_image on ``server``."""
    return partial(change_in, registry)


@pytest.fixture(params=registry_deletion.IMPLEMENTATIONS)
def deleting(request: pytest.FixtureRequest, server: RegistryServer, image: Image) -> RegistryServer:
    """A registry that allows deletion, with ``image`` as team/app:1 and team/app:2."""
    server.delete = registry_deletion.IMPLEMENTATIONS[request.param]
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", image)
    return server


def test_tag_is_set_in_same_repository(server: RegistryServer, change: Change, multi: Image) -> None:
    server.fill("team/app", "1", multi)

    result = change("team/app:stable", source="team/app:1")

    assert result["changed"]
    assert server.digest_of("team/app", "stable") == multi.digest
    entry = result["images"][0]
    assert (entry["digest"], entry["digest_before"], entry["sent"]["blobs"]) == (multi.digest, None, 0)
    assert result["diff"] == {"before": "", "after": f"team/app:stable {multi.digest} (only the manifest to copy)\n"}


@MODES
def test_copy_to_other_repository_mounts_all_blobs(
    server: RegistryServer, change: Change, multi: Image, check_mode: bool
) -> None:
    server.fill("team/app", "1", multi)

    result = change("production/app:1", source="team/app:1", check_mode=check_mode)

    entry = result["images"][0]
    assert entry["mounted"]["blobs"] == len(server.blobs["team/app"])
    assert entry["sent"]["blobs"] == entry["present"]["blobs"] == 0
    assert not [request for request in server.received("GET", "PATCH") if "/blobs/" in request]
    assert server.digest_of("production/app", "1") == (None if check_mode else multi.digest)
    if not check_mode:
        assert (
            server.manifests["production/app"].items()
            >= {digest: server.manifests["team/app"][digest] for digest in (multi.digest, *_children(multi))}.items()
        )


def test_copy_reads_and_sends_blobs_if_registry_does_not_mount(
    server: RegistryServer, change: Change, image: Image
) -> None:
    server.mounts = False
    server.fill("team/app", "1", image)

    result = change("production/app:1", source="team/app:1")

    assert result["images"][0]["sent"]["blobs"] == len(image.blobs)
    assert server.digest_of("production/app", "1") == image.digest


@MODES
@pytest.mark.parametrize("name", ["team/app:2", "production/app:1"])
def test_copy_of_existing_image_sends_one_request_for_each_name(
    server: RegistryServer, change: Change, image: Image, name: str, check_mode: bool
) -> None:
    repository, tag = name.split(":")
    server.fill("team/app", "1", image)
    server.fill(repository, tag, image)

    result = change(name, source="team/app:1", check_mode=check_mode)

    assert not result["changed"]
    assert server.received(*ANY) == ["HEAD /v2/team/app/manifests/1", f"HEAD /v2/{repository}/manifests/{tag}"]


@MODES
def test_copy_moves_tag(
    server: RegistryServer, change: Change, image: Image, other_image: Image, check_mode: bool
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "stable", other_image)

    result = change("team/app:stable", source=f"team/app@{image.digest}", check_mode=check_mode)

    assert result["diff"] == {
        "before": f"team/app:stable {other_image.digest}\n",
        "after": f"team/app:stable {image.digest} (only the manifest to copy)\n",
    }
    assert server.digest_of("team/app", "stable") == (other_image if check_mode else image).digest


def test_copy_separates_registries_with_qualify(server: RegistryServer, change: Change, image: Image) -> None:
    server.fill("one.example.com/team/app", "1", image)

    change("two.example.com/team/app:1", source="one.example.com/team/app:1", qualify=True)

    assert server.digest_of("two.example.com/team/app", "1") == image.digest


def test_copy_of_missing_image_fails(server: RegistryServer, change: Change) -> None:
    result = change("team/app:2", source="team/app:1")

    assert result["failed"]
    assert "repository team/app in the registry does not have the image docker.io/team/app:1" in result["msg"]
    assert server.received("PUT", "POST") == []


def test_copy_fails_if_digest_in_name_differs(
    server: RegistryServer, change: Change, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)

    result = change(f"team/app:2@{other_image.digest}", source="team/app:1")

    assert f"has {image.digest}, not the digest of docker.io/team/app:2@{other_image.digest}" in result["msg"]
    assert server.digest_of("team/app", "2") is None


def test_copy_without_tag_is_protected_from_garbage_collection(
    server: RegistryServer, change: Change, image: Image
) -> None:
    server.fill("team/app", "1", image)

    result = change(f"production/app@{image.digest}", source="team/app:1")

    assert result["images"][0]["target"] == f"production/app@{image.digest}"
    assert server.digest_of("production/app", f"k8scr-{image.digest[7:19]}") == image.digest


def test_copy_includes_referrers_on_request(server: RegistryServer, change: Change, image: Image) -> None:
    signature = make_image(subject=image.root.to_json())
    server.fill("team/app", "1", image)
    server.fill("team/app", image.digest.replace(":", "-") + ".sig", signature)

    alone = change("one/app:1", source="team/app:1")
    together = change("two/app:1", source="team/app:1", referrers=True)

    assert len(alone["images"]) == 1
    assert together["images"][1]["subject"] == image.digest
    assert server.digest_of("two/app", image.digest.replace(":", "-") + ".sig") == signature.digest
    assert server.digest_of("one/app", image.digest.replace(":", "-") + ".sig") is None


@MODES
def test_deleted_tag_leaves_other_tags(
    deleting: RegistryServer, change: Change, image: Image, check_mode: bool
) -> None:
    result = change("team/app:1", state="absent", check_mode=check_mode)

    method = "replaced" if deleting.delete is by_digest else "tag"
    entry = result["images"][0]
    assert result["changed"]
    assert (entry["digest_before"], entry["digest"], entry["tags"]) == (image.digest, None, ["1"])
    assert entry["method"] == (None if check_mode else method)
    assert result["diff"] == {"before": f"team/app:1 {image.digest}\n", "after": ""}
    assert set(deleting.manifests["team/app"]) == {"2", image.digest} | ({"1"} if check_mode else set())


@MODES
@pytest.mark.parametrize("name", ["team/app:3", f"team/app@sha256:{'0' * 64}", "team/other:1"])
def test_deletion_of_missing_image_sends_one_request(
    deleting: RegistryServer, change: Change, name: str, check_mode: bool
) -> None:
    result = change(name, state="absent", check_mode=check_mode)

    assert not result["changed"]
    assert result["diff"] == {"before": "", "after": ""}
    assert len(deleting.received(*ANY)) == 1


@MODES
def test_image_named_by_digest_is_deleted_with_all_tags(
    deleting: RegistryServer, change: Change, image: Image, other_image: Image, check_mode: bool
) -> None:
    deleting.fill("team/app", "3", other_image)

    result = change(f"team/app@{image.digest}", state="absent", check_mode=check_mode)

    entry = result["images"][0]
    assert (entry["tags"], entry["method"]) == (["1", "2"], None if check_mode else "digest")
    assert result["diff"]["before"].splitlines() == [
        f"{name} {image.digest}" for name in (f"team/app@{image.digest}", "team/app:1", "team/app:2")
    ]
    left = set(deleting.manifests["team/app"])
    assert left == {"3", other_image.digest} | ({"1", "2", image.digest} if check_mode else set())


@pytest.fixture
def unreadable(deleting: RegistryServer, other_image: Image) -> Image:
    """An image with the tag ``broken`` whose manifest the registry cannot read."""
    deleting.fill("team/app", "broken", other_image)
    content = other_image.contents[other_image.digest]
    for method in ("HEAD", "GET"):
        deleting.fail(
            method, "/manifests/", lambda good: error_response(500, "UNKNOWN") if good.body == content else good
        )
    return other_image


@MODES
def test_unreadable_tag_is_deleted(
    deleting: RegistryServer, change: Change, unreadable: Image, check_mode: bool
) -> None:
    result = change("team/app:broken", state="absent", check_mode=check_mode)

    assert (result["changed"], result["images"][0]["digest_before"]) == (True, None)
    assert result["diff"]["before"] == "team/app:broken unreadable\n"
    left = {name for name in deleting.manifests["team/app"] if ":" not in name}
    assert left == {"1", "2"} | ({"broken"} if check_mode else set())
    assert unreadable.digest in deleting.manifests["team/app"]


def test_failed_deletion_of_unreadable_tag_has_no_digest(
    deleting: RegistryServer, change: Change, unreadable: Image
) -> None:
    deleting.fail("DELETE", "/manifests/", error_response(405, "UNSUPPORTED"))

    result = change("team/app:broken", state="absent")

    assert (result["failed"], result["images"][0]["digest_before"]) == (True, None)
    assert unreadable.digest in deleting.manifests["team/app"]


@MODES
@pytest.mark.parametrize(
    "detail", ["unknown manifest name=team/app revision=sha256:0", {"Name": "team/app", "Revision": "sha256:0"}]
)
def test_tag_without_manifest_is_deleted(
    deleting: RegistryServer, change: Change, other_image: Image, detail: object, check_mode: bool
) -> None:
    deleting.fill("team/app", "broken", other_image)
    content = other_image.contents[other_image.digest]
    missing = Response(404, {}, encode({"errors": [{"code": "MANIFEST_UNKNOWN", "detail": detail}]}))
    for method in ("HEAD", "GET"):
        deleting.fail(method, "manifests/broken", lambda good: missing if good.body == content else good)

    result = change("team/app:broken", state="absent", check_mode=check_mode)

    assert result["changed"]
    assert ("broken" in deleting.manifests["team/app"]) is check_mode


def test_unreadable_image_is_deleted_by_digest_after_its_tag(
    deleting: RegistryServer, change: Change, unreadable: Image
) -> None:
    name = f"team/app@{unreadable.digest}"
    failed = change(name, state="absent")
    change("team/app:broken", state="absent")
    deleted = change(name, state="absent")

    assert "If the manifest is damaged, delete the tag broken with k8scr_image first" in failed["msg"]
    assert (deleted["changed"], deleted["images"][0]["method"]) == (True, "digest")
    assert unreadable.digest not in deleting.manifests["team/app"]


def test_unreadable_tag_is_not_deleted_if_name_has_digest(
    deleting: RegistryServer, change: Change, unreadable: Image
) -> None:
    result = change(f"team/app:broken@{unreadable.digest}", state="absent")

    assert "responded with 500" in result["msg"]
    assert "broken" in deleting.manifests["team/app"]


def test_tag_with_other_digest_than_name_is_not_deleted(
    deleting: RegistryServer, change: Change, image: Image, other_image: Image
) -> None:
    failed = change(f"team/app:1@{other_image.digest}", state="absent")
    deleted = change(f"team/app:1@{image.digest}", state="absent")

    assert f"tag 1 has {image.digest}, not the digest of docker.io/team/app:1@{other_image.digest}" in failed["msg"]
    assert deleted["changed"]


@MODES
def test_platform_of_index_is_not_deleted(
    deleting: RegistryServer, change: Change, multi: Image, check_mode: bool
) -> None:
    deleting.fill("team/app", "multi", multi)
    child = _children(multi)[0]

    result = change(f"team/app@{child}", state="absent", check_mode=check_mode)

    assert f"manifest {child} of repository team/app" in result["msg"]
    assert "the index with the tag multi refers to it" in result["msg"]
    assert child in deleting.manifests["team/app"]


def test_platform_of_deleted_index_is_deleted(deleting: RegistryServer, change: Change, multi: Image) -> None:
    deleting.fill("team/app", "multi", multi)

    for digest in (multi.digest, *_children(multi)):
        assert change(f"team/app@{digest}", state="absent")["changed"]

    assert "multi" not in deleting.manifests["team/app"]


def test_failed_deletion_names_option_of_role(server: RegistryServer, change: Change, image: Image) -> None:
    server.fill("team/app", "1", image)

    result = change("team/app:1", state="absent")

    assert result["failed"]
    assert "set registry_delete: true in the role registry" in result["msg"]
    assert result["images"][0]["digest_before"] == image.digest
    assert not result["images"][0]["changed"]


def _children(index: Image) -> list[str]:
    return [entry["digest"] for entry in index.manifest["manifests"]]
