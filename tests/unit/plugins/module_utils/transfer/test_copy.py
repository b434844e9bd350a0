# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies between stores and a registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
    DigestMismatchError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import ImageDestination, SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action
from unit.plugins.module_utils.support.copies import (
    actions,
    docker_archive_copy,
    layout_copy,
    plan_copies,
    run_copies,
    try_copies,
)
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import read_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a source."""
    return tmp_path / "source"


def test_copy_stores_image_unchanged(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    run_copies(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == multi.digest
    assert read_image(Repository(registry, "app"), multi.root) == multi.contents


def test_copy_sets_tag_after_all_blobs_and_children(
    registry: Registry, server: RegistryServer, folder: Path, multi: Image
) -> None:
    run_copies(layout_copy(folder, multi, Repository(registry, "app")))

    *before, last = server.received("PUT")
    children = [child["digest"] for child in multi.manifest["manifests"]]
    assert last == "PUT /v2/app/manifests/1"
    assert before[-2:] == [f"PUT /v2/app/manifests/{digest}" for digest in children]
    assert all(request.startswith("PUT /v2/app/blobs/uploads/") for request in before[:-2])


def test_copy_keeps_old_tag_after_failed_blob(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/blobs/uploads/", error_response(403, "DENIED"), times=1)

    with pytest.raises(RegistryError):
        run_copies(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == image.digest
    assert not [request for request in server.received("PUT") if "/manifests/" in request]


def test_copy_keeps_old_tag_after_failed_child(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/manifests/sha256:", error_response(403, "DENIED"))

    with pytest.raises(RegistryError):
        run_copies(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == image.digest


def test_copy_of_existing_image_sends_one_request_and_reads_nothing(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, image, Repository(registry, "app"), leave_out=tuple(image.contents))

    (result,) = run_copies(copy)

    assert not result.changed
    assert result.plan.before == image.root
    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_second_copy_sends_one_request(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    run_copies(layout_copy(folder, multi, Repository(registry, "app")))
    server.requests.clear()

    run_copies(layout_copy(folder, multi, Repository(registry, "app")))

    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_copy_uploads_only_missing_blobs(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, other_image: Image
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, other_image, Repository(registry, "app"))

    (result,) = run_copies(copy)

    assert actions(result) == {
        digest_of(other_image.config): Action.SENT,
        other_image.layers[0]: Action.PRESENT,
        other_image.layers[1]: Action.SENT,
    }
    assert len(server.received("POST")) == 2


def test_copy_skips_existing_platform(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, other_image: Image
) -> None:
    server.fill("app", None, image)
    index = make_index({"linux/amd64": image, "linux/arm64": other_image})
    copy = layout_copy(folder, index, Repository(registry, "app"))

    (result,) = run_copies(copy)

    assert [manifest.descriptor for manifest in result.plan.manifests] == [other_image.root, index.root]
    assert server.digest_of("app", "1") == index.digest


def test_copy_uploads_common_blob_of_two_platforms_once(
    registry: Registry, server: RegistryServer, folder: Path, multi: Image
) -> None:
    copy = layout_copy(folder, multi, Repository(registry, "app"))

    (result,) = run_copies(copy)

    # Two configs, two programs, and the common layer.
    assert len(result.blobs) == len(server.received("POST")) == 5


def test_copy_mounts_common_blob_of_two_repositories(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    first_result, second_result = run_copies(first, second)

    assert actions(first_result)[image.layers[0]] is Action.SENT
    assert actions(second_result)[image.layers[0]] is Action.MOUNTED
    assert len(server.uploads) == 5
    assert read_image(Repository(registry, "two"), other_image.root) == other_image.contents


def test_copy_uploads_common_blob_of_two_tags_once(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "app"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "app"), tag="2")

    _first, result = run_copies(first, second)

    assert actions(result)[image.layers[0]] is Action.PRESENT
    assert len(server.uploads) == 5
    assert (server.digest_of("app", "1"), server.digest_of("app", "2")) == (image.digest, other_image.digest)


def test_copy_mounts_existing_blob_of_other_repository(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.blobs["one"] = dict(image.blobs)
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    first_result, second_result = run_copies(first, second)

    assert set(actions(first_result).values()) == {Action.PRESENT}
    assert actions(second_result)[image.layers[0]] is Action.MOUNTED


def test_copy_uploads_blob_after_rejected_mount(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.mounts = False
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    _first, result = run_copies(first, second)

    assert actions(result)[image.layers[0]] is Action.SENT
    assert server.digest_of("two", "1") == other_image.digest


@pytest.mark.parametrize("repositories", [("one", "two"), ("app", "app")])
def test_copy_uploads_common_blob_after_first_image_failed(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
    repositories: tuple[str, str],
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, repositories[0]), leave_out=(image.layers[0],))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, repositories[1]), tag="2")

    failed, result = try_copies(first, second)

    assert f"does not have the blob {image.layers[0]}" in str(failed.error)
    assert result.error is None

    assert server.digest_of(repositories[0], "1") is None
    assert server.digest_of(repositories[1], "2") == other_image.digest
    assert actions(result)[image.layers[0]] is Action.SENT


def test_copy_returns_planned_results(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image, image: Image
) -> None:
    server.fill("two", None, image)
    copies = [
        layout_copy(tmp_path / "one", multi, Repository(registry, "one")),
        layout_copy(
            tmp_path / "two", make_index({"linux/amd64": multi, "linux/s390x": image}), Repository(registry, "two")
        ),
    ]
    plans = plan_copies(*copies)

    results = run_copies(*copies)

    assert [replace(result.plan, job=plans[0].job) for result in results] == [
        replace(each, job=plans[0].job) for each in plans
    ]
    assert [result.blobs for result in results] == [each.blobs for each in plans]
    assert [result.root for result in results] == [each.root for each in plans]
    assert set(actions(plans[1]).values()) == {Action.MOUNTED}


@pytest.mark.parametrize("size", [100, 3 << 19])
def test_copy_error_names_source_of_damaged_blob(
    registry: Registry, server: RegistryServer, folder: Path, size: int
) -> None:
    image = make_image(layer("bin/app", bytes(size)))
    image = replace(image, contents={**image.contents, image.layers[0]: image.blobs[image.layers[0]][:-1] + b"!"})

    with pytest.raises(
        SourceError, match=rf"blob {image.layers[0]} in the folder .* is damaged.*Create or copy it again"
    ):
        run_copies(layout_copy(folder, image, Repository(registry, "app")))

    assert server.digest_of("app", "1") is None


def test_copy_error_names_proxy_for_blob_damaged_during_upload(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(400, "DIGEST_INVALID"))

    with pytest.raises(RegistryError, match=r"has it undamaged. The registry or a proxy before it changed the content"):
        run_copies(layout_copy(folder, image, Repository(registry, "app")))


def registry_copy(registry: Registry, image: Image, destination: ImageDestination) -> ImageCopy:
    """Return the copy of an image from the repository ``app``."""
    return ImageCopy(Repository(registry, "app"), SourceImage(image.root), destination, "example.com/app:1")


@pytest.mark.parametrize(
    "change",
    [
        lambda response: replace(response, body=response.body[:-1] + b"!"),
        lambda response: replace(response, body=response.body[:-1]),
        lambda response: replace(response, body=response.body + b"!"),
        lambda response: replace(response, body=b""),
    ],
    ids=["other content", "less content", "more content", "no content"],
)
def test_copy_stores_no_damaged_blob_of_registry(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, change: Callable[[Response], Response]
) -> None:
    server.fill("app", "1", image)
    server.fail("GET", image.layers[0], change)
    folder = tmp_path / "layout"

    with pytest.raises(DigestMismatchError, match=f"blob {image.layers[0]} from repository app in the registry"):
        run_copies(registry_copy(registry, image, OciLayoutDestination(folder)))

    stored = {path.name for path in folder.rglob("*") if path.is_file()}
    assert stored == {"oci-layout", *(digest.split(":")[1] for digest in image.blobs if digest != image.layers[0])}


@pytest.mark.parametrize("size", [1, 10**6, 2**53 - 1])
def test_copy_rejects_blob_with_wrong_size_in_manifest(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, size: int
) -> None:
    layers = [{**part, "size": size} for part in image.manifest["layers"]]
    wrong = make_image(*image.files, layers=layers)
    server.fill("app", "1", wrong)

    with pytest.raises((DigestMismatchError, DestinationError), match=r"is longer than the 1 bytes|ended after 109 of"):
        run_copies(registry_copy(registry, wrong, OciLayoutDestination(tmp_path / "layout")))

    assert not (tmp_path / "layout" / "index.json").exists()


def test_copy_writes_nothing_when_manifest_is_missing(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("app", "1", multi)
    del server.manifests["app"][multi.manifest["manifests"][1]["digest"]]

    with pytest.raises(SourceError, match=r"has no image for linux/arm64: manifest"):
        run_copies(registry_copy(registry, multi, OciLayoutDestination(tmp_path / "layout")))

    assert not (tmp_path / "layout").exists()


def test_copy_from_docker_archive_replaces_other_image(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("app", "1", image)
    copy = docker_archive_copy(tmp_path / "app.tar", other_image, Repository(registry, "app"))

    (result,) = run_copies(copy)

    assert result.plan.before == image.root
    assert server.digest_of("app", "1") == result.root
    assert {digest_of(other_image.config), *map(digest_of, other_image.files)} <= server.blobs["app"].keys()


def test_copy_from_docker_archive_replaces_index(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", multi)
    copy = docker_archive_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (result,) = run_copies(copy)

    assert server.digest_of("app", "1") == result.root


@pytest.mark.parametrize("content", [b"not a manifest", b'{"schemaVersion": 1}', b'{"mediaType": "text/plain"}'])
def test_copy_from_docker_archive_replaces_invalid_manifest(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, content: bytes
) -> None:
    server.manifests["app"] = dict.fromkeys(("1", digest_of(content)), (OCI_MANIFEST, content))
    copy = docker_archive_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (result,) = run_copies(copy)

    assert result.plan.before is not None
    assert result.plan.before.digest == digest_of(content)
    assert server.digest_of("app", "1") == result.root


def test_copy_by_digest_sets_no_tag(registry: Registry, server: RegistryServer, folder: Path, image: Image) -> None:
    copy = layout_copy(folder, image, Repository(registry, "app"), tag=None)

    run_copies(copy)

    assert server.manifests["app"].keys() == {image.digest}
