# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies between real stores and a registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
    DigestMismatchError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import ImageDestination, SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveDestination,
    DockerArchiveSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import (
    OciLayoutDestination,
    OciLayoutSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action, ImagePlan, plan_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from unit.plugins.module_utils.support.images import (
    Image,
    layer,
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused
from unit.plugins.module_utils.support.stores import read_image

Outcome = TypeVar("Outcome", ImagePlan, ImageResult)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a source is."""
    return tmp_path / "source"


def layout_copy(
    folder: Path,
    image: Image,
    destination: ImageDestination,
    tag: str | None = "1",
    leave_out: tuple[str, ...] = (),
) -> ImageCopy:
    """Return the copy of an image from a new layout."""
    write_layout(folder, {"image": image}, leave_out)
    return ImageCopy(OciLayoutSource(FolderFiles(folder)), SourceImage(image.root), destination, tag)


def plan(*copies: ImageCopy) -> list[ImagePlan]:
    """Plan copies, with one request at a time; raise the first error."""
    plans = plan_images(list(map(job_of, copies)), 1, False, Listener())
    return raise_first_error(plans)


def run(*copies: ImageCopy) -> list[ImageResult]:
    """Copy images, with one request at a time; raise the first error."""
    return raise_first_error(transfer(*copies))


def transfer(*copies: ImageCopy) -> list[ImageResult]:
    """Copy images, with one request at a time, and return their results and errors."""
    return Transfer(1).run(list(map(job_of, copies)))


def job_of(copy: ImageCopy) -> ImageJob:
    """Return the job for a copy."""
    return ImageJob(f"image:{copy.tag}", copy)


def raise_first_error(outcomes: list[Outcome]) -> list[Outcome]:
    """Return plans or results; raise the first error."""
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    return outcomes


def actions(outcome: ImagePlan | ImageResult) -> dict[str, Action]:
    """Return the action for each blob, by digest."""
    return {blob.descriptor.digest: blob.action for blob in outcome.blobs if blob.descriptor}


def test_an_image_arrives_as_it_was(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    run(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == multi.digest
    assert read_image(Repository(registry, "app"), multi.root) == multi.contents


def test_a_tag_is_set_when_all_the_parts_of_its_image_are_there(
    registry: Registry, server: RegistryServer, folder: Path, multi: Image
) -> None:
    run(layout_copy(folder, multi, Repository(registry, "app")))

    *before, last = server.asked("PUT")
    children = [child["digest"] for child in multi.manifest["manifests"]]
    assert last == "PUT /v2/app/manifests/1"
    assert before[-2:] == [f"PUT /v2/app/manifests/{digest}" for digest in children]
    assert all(request.startswith("PUT /v2/app/blobs/uploads/") for request in before[:-2])


def test_a_blob_that_cannot_be_stored_leaves_the_tag_as_it_was(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/blobs/uploads/", refused(403, "DENIED"), times=1)

    with pytest.raises(RegistryError):
        run(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == image.digest
    assert not [request for request in server.asked("PUT") if "/manifests/" in request]


def test_a_child_that_cannot_be_stored_leaves_the_tag_as_it_was(
    registry: Registry, server: RegistryServer, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/manifests/sha256:", refused(403, "DENIED"))

    with pytest.raises(RegistryError):
        run(layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == image.digest


def test_planning_changes_nothing(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    plan(layout_copy(folder, multi, Repository(registry, "app")))

    assert {request.method for request in server.requests} <= {"GET", "HEAD"}
    assert (server.blobs, server.manifests) == ({}, {})


def test_an_image_that_is_there_costs_one_request_and_reads_nothing(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, image, Repository(registry, "app"), leave_out=tuple(image.contents))

    (result,) = run(copy)

    assert not result.changed
    assert result.plan.before == image.root
    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_a_second_run_changes_nothing(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    run(layout_copy(folder, multi, Repository(registry, "app")))
    server.requests.clear()

    run(layout_copy(folder, multi, Repository(registry, "app")))

    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_only_what_is_missing_is_sent(
    registry: Registry,
    server: RegistryServer,
    folder: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, other_image, Repository(registry, "app"))

    (result,) = run(copy)

    assert actions(result) == {
        digest_of(other_image.config): Action.SENT,
        other_image.layers[0]: Action.PRESENT,
        other_image.layers[1]: Action.SENT,
    }
    assert len(server.asked("POST")) == 2


def test_a_platform_that_is_there_is_not_looked_into(
    registry: Registry,
    server: RegistryServer,
    folder: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", None, image)
    index = make_index({"linux/amd64": image, "linux/arm64": other_image})
    copy = layout_copy(folder, index, Repository(registry, "app"))

    (result,) = run(copy)

    assert [manifest.descriptor for manifest in result.plan.manifests] == [other_image.root, index.root]
    assert server.digest_of("app", "1") == index.digest


def test_a_blob_that_two_platforms_share_is_sent_once(
    registry: Registry, server: RegistryServer, folder: Path, multi: Image
) -> None:
    copy = layout_copy(folder, multi, Repository(registry, "app"))

    (result,) = run(copy)

    # Two configs, two programs, and the layer that is the same for both.
    assert len(result.blobs) == len(server.asked("POST")) == 5


def test_a_blob_that_two_images_share_is_sent_once_and_mounted(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    first_result, second_result = run(first, second)

    assert actions(first_result)[image.layers[0]] is Action.SENT
    assert actions(second_result)[image.layers[0]] is Action.MOUNTED
    assert len(server.uploads) == 5
    assert read_image(Repository(registry, "two"), other_image.root) == other_image.contents


def test_a_blob_that_two_tags_of_a_repository_share_is_sent_once(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "app"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "app"), tag="2")

    _first, result = run(first, second)

    assert actions(result)[image.layers[0]] is Action.PRESENT
    assert len(server.uploads) == 5
    assert (server.digest_of("app", "1"), server.digest_of("app", "2")) == (image.digest, other_image.digest)


def test_a_blob_that_another_repository_had_before_is_mounted(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.blobs["one"] = dict(image.blobs)
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    first_result, second_result = run(first, second)

    assert set(actions(first_result).values()) == {Action.PRESENT}
    assert actions(second_result)[image.layers[0]] is Action.MOUNTED


def test_a_blob_that_the_registry_does_not_mount_is_sent_and_counted_so(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.mounts = False
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    _first, result = run(first, second)

    assert actions(result)[image.layers[0]] is Action.SENT
    assert server.digest_of("two", "1") == other_image.digest


@pytest.mark.parametrize("repositories", [("one", "two"), ("app", "app")])
def test_a_blob_whose_first_copy_failed_is_sent_by_the_next_image(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
    repositories: tuple[str, str],
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, repositories[0]), leave_out=(image.layers[0],))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, repositories[1]), tag="2")

    failed, result = transfer(first, second)

    assert f"does not have the blob {image.layers[0]}" in str(failed.error)
    assert result.error is None

    assert server.digest_of(repositories[0], "1") is None
    assert server.digest_of(repositories[1], "2") == other_image.digest
    assert actions(result)[image.layers[0]] is Action.SENT


def test_a_plan_that_was_carried_out_is_what_was_planned(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image, image: Image
) -> None:
    server.fill("two", None, image)
    copies = [
        layout_copy(tmp_path / "one", multi, Repository(registry, "one")),
        layout_copy(
            tmp_path / "two", make_index({"linux/amd64": multi, "linux/s390x": image}), Repository(registry, "two")
        ),
    ]
    plans = plan(*copies)

    results = run(*copies)

    assert [replace(result.plan, job=plans[0].job) for result in results] == [
        replace(each, job=plans[0].job) for each in plans
    ]
    assert [result.blobs for result in results] == [each.blobs for each in plans]
    assert [result.root for result in results] == [each.root for each in plans]
    assert set(actions(plans[1]).values()) == {Action.MOUNTED}


@pytest.mark.parametrize("size", [100, 3 << 19])
def test_a_blob_that_is_damaged_at_its_source_is_the_sources_fault(
    registry: Registry, server: RegistryServer, folder: Path, size: int
) -> None:
    image = make_image(layer("bin/app", bytes(size)))
    image = replace(image, contents={**image.contents, image.layers[0]: image.blobs[image.layers[0]][:-1] + b"!"})

    with pytest.raises(
        SourceError, match=rf"blob {image.layers[0]} in the folder .* is damaged.*Create or copy it again"
    ):
        run(layout_copy(folder, image, Repository(registry, "app")))

    assert server.digest_of("app", "1") is None


def test_a_blob_that_is_damaged_on_its_way_is_not_the_sources_fault(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(400, "DIGEST_INVALID"))

    with pytest.raises(RegistryError, match=r"has it undamaged. The registry or a proxy before it changed the content"):
        run(layout_copy(folder, image, Repository(registry, "app")))


def registry_copy(registry: Registry, image: Image, destination: ImageDestination) -> ImageCopy:
    """Return the way of an image out of the repository ``app``."""
    return ImageCopy(Repository(registry, "app"), SourceImage(image.root), destination, "example.com/app:1")


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: replace(answer, body=answer.body[:-1] + b"!"),
        lambda answer: replace(answer, body=answer.body[:-1]),
        lambda answer: replace(answer, body=answer.body + b"!"),
        lambda answer: replace(answer, body=b""),
    ],
    ids=["other content", "less content", "more content", "no content"],
)
def test_a_blob_that_the_registry_gives_damaged_is_not_kept(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    change: Callable[[Answer], Answer],
) -> None:
    server.fill("app", "1", image)
    server.fail("GET", image.layers[0], change)
    folder = tmp_path / "layout"

    with pytest.raises(DigestMismatchError, match=f"blob {image.layers[0]} from repository app in the registry"):
        run(registry_copy(registry, image, OciLayoutDestination(folder)))

    kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert kept == {"oci-layout", *(digest.split(":")[1] for digest in image.blobs if digest != image.layers[0])}


@pytest.mark.parametrize("lie", [1, 10**6, 2**53 - 1])
def test_a_descriptor_that_lies_about_the_length_is_found_out(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, lie: int
) -> None:
    layers = [{**part, "size": lie} for part in image.manifest["layers"]]
    lying = make_image(*image.files, layers=layers)
    server.fill("app", "1", lying)

    with pytest.raises((DigestMismatchError, DestinationError), match=r"is longer than the 1 bytes|ended after 109 of"):
        run(registry_copy(registry, lying, OciLayoutDestination(tmp_path / "layout")))

    assert not (tmp_path / "layout" / "index.json").exists()


def test_a_manifest_that_the_registry_lacks_stops_the_copy_before_anything_is_written(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("app", "1", multi)
    del server.manifests["app"][multi.manifest["manifests"][1]["digest"]]

    with pytest.raises(SourceError, match=r"has no image for linux/arm64: manifest"):
        run(registry_copy(registry, multi, OciLayoutDestination(tmp_path / "layout")))

    assert not (tmp_path / "layout").exists()


def test_what_a_destination_cannot_keep_is_told_before_anything_is_fetched(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("app", "1", multi)

    with pytest.raises(DestinationError, match="a Docker archive can store only one"):
        plan(registry_copy(registry, multi, DockerArchiveDestination(tmp_path / "app.tar")))

    assert not [request for request in server.requests if "/blobs/" in request.path]


def docker_copy(path: Path, image: Image, destination: ImageDestination) -> ImageCopy:
    """Return the way of an image out of an archive of an old Docker, as the tag ``1``."""
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)])))
    (found,) = source.images()
    return ImageCopy(source, found, destination, "1")


def test_a_saved_image_is_the_one_that_the_registry_has_compressed(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    copy = docker_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (found,) = plan(copy)

    assert not found.changes
    assert found.root == image.digest
    assert server.asked("HEAD", "GET") == ["HEAD /v2/app/manifests/1", f"GET /v2/app/manifests/{image.digest}"]


def test_another_saved_image_replaces_what_the_registry_has(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", "1", image)
    copy = docker_copy(tmp_path / "app.tar", other_image, Repository(registry, "app"))

    (result,) = run(copy)

    assert result.plan.before == image.root
    assert server.digest_of("app", "1") == result.root
    assert {digest_of(other_image.config), *map(digest_of, other_image.files)} <= server.blobs["app"].keys()


def test_a_saved_image_replaces_an_index(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", multi)
    copy = docker_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (result,) = run(copy)

    assert server.digest_of("app", "1") == result.root


@pytest.mark.parametrize("content", [b"not a manifest", b'{"schemaVersion": 1}', b'{"mediaType": "text/plain"}'])
def test_a_saved_image_replaces_what_nobody_can_use(
    registry: Registry,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    content: bytes,
) -> None:
    server.manifests["app"] = dict.fromkeys(("1", digest_of(content)), (OCI_MANIFEST, content))
    copy = docker_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (result,) = run(copy)

    assert result.plan.before is not None
    assert result.plan.before.digest == digest_of(content)
    assert server.digest_of("app", "1") == result.root


def test_an_image_that_is_named_by_its_digest_gets_no_tag(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    copy = layout_copy(folder, image, Repository(registry, "app"), tag=None)

    run(copy)

    assert server.manifests["app"].keys() == {image.digest}


def test_a_registry_that_refuses_to_look_is_not_written_to(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fail("HEAD", "/manifests/", Answer(403))

    with pytest.raises(RegistryError, match="cannot be looked up"):
        plan(layout_copy(folder, image, Repository(registry, "app")))
