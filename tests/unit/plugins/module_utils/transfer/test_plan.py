# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one engine, between real stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import (
    Action,
    ImageCopy,
    finish_image,
    name_root,
    plan_blob,
    plan_image,
    share_blobs,
    start_blobs,
)
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


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    """One worker, so that what is asked of a store has one order."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a source is."""
    return tmp_path / "source"


def layout_copy(
    folder: Path, image: Image, destination: ImageDestination, leave_out: tuple[str, ...] = ()
) -> ImageCopy:
    """Return the way of an image from a layout, as the tag ``1``."""
    write_layout(folder, {"image": image}, leave_out)
    return ImageCopy(OciLayoutSource(FolderFiles(folder)), SourceImage(image.root), destination, "1")


def plan(copy: ImageCopy) -> None:
    """Plan a copy and all of its blobs."""
    plan_image(copy)
    for blob in copy.blobs:
        plan_blob(copy, blob)
    name_root(copy)


def run(workers: ThreadPoolExecutor, *copies: ImageCopy) -> None:
    """Plan copies and carry the plans out."""
    for copy in copies:
        plan(copy)
    share_blobs(copies)
    carry_out(workers, *copies)


def carry_out(workers: ThreadPoolExecutor, *copies: ImageCopy) -> None:
    """Carry out what was planned."""
    for copy in copies:
        start_blobs(copy, workers)
    for copy in copies:
        if copy.changes:
            finish_image(copy)


def actions(copy: ImageCopy) -> dict[str, Action]:
    """Return what becomes of each blob."""
    return {blob.descriptor.digest: blob.action for blob in copy.blobs}


def test_an_image_arrives_as_it_was(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, multi: Image
) -> None:
    run(workers, layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == multi.digest
    assert read_image(Repository(registry, "app"), multi.root) == multi.contents


def test_a_tag_is_set_when_all_the_parts_of_its_image_are_there(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, multi: Image
) -> None:
    run(workers, layout_copy(folder, multi, Repository(registry, "app")))

    *before, last = server.asked("PUT")
    children = [child["digest"] for child in multi.manifest["manifests"]]
    assert last == "PUT /v2/app/manifests/1"
    assert before[-2:] == [f"PUT /v2/app/manifests/{digest}" for digest in children]
    assert all(request.startswith("PUT /v2/app/blobs/uploads/") for request in before[:-2])


def test_a_blob_that_cannot_be_stored_leaves_the_tag_as_it_was(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/blobs/uploads/", refused(403, "DENIED"), times=1)

    with pytest.raises(RegistryError):
        run(workers, layout_copy(folder, multi, Repository(registry, "app")))
    workers.shutdown()

    assert server.digest_of("app", "1") == image.digest
    assert not [request for request in server.asked("PUT") if "/manifests/" in request]


def test_a_child_that_cannot_be_stored_leaves_the_tag_as_it_was(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", image)
    server.fail("PUT", "/manifests/sha256:", refused(403, "DENIED"))

    with pytest.raises(RegistryError):
        run(workers, layout_copy(folder, multi, Repository(registry, "app")))

    assert server.digest_of("app", "1") == image.digest


def test_planning_changes_nothing(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    plan(layout_copy(folder, multi, Repository(registry, "app")))

    assert {request.method for request in server.requests} <= {"GET", "HEAD"}
    assert (server.blobs, server.manifests) == ({}, {})


def test_an_image_that_is_there_costs_one_request_and_reads_nothing(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, image, Repository(registry, "app"), leave_out=tuple(image.contents))

    run(workers, copy)

    assert not copy.changes
    assert copy.before == image.root
    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_a_second_run_changes_nothing(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, multi: Image
) -> None:
    run(workers, layout_copy(folder, multi, Repository(registry, "app")))
    server.requests.clear()

    run(workers, layout_copy(folder, multi, Repository(registry, "app")))

    assert [str(request) for request in server.requests] == ["HEAD /v2/app/manifests/1"]


def test_only_what_is_missing_is_sent(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    folder: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", "1", image)
    copy = layout_copy(folder, other_image, Repository(registry, "app"))

    run(workers, copy)

    assert actions(copy) == {
        digest_of(other_image.config): Action.SENT,
        other_image.layers[0]: Action.PRESENT,
        other_image.layers[1]: Action.SENT,
    }
    assert len(server.asked("POST")) == 2


def test_a_platform_that_is_there_is_not_looked_into(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    folder: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", None, image)
    index = make_index({"linux/amd64": image, "linux/arm64": other_image})
    copy = layout_copy(folder, index, Repository(registry, "app"))

    run(workers, copy)

    assert [manifest.descriptor for manifest in copy.manifests] == [other_image.root, index.root]
    assert server.digest_of("app", "1") == index.digest


def test_a_blob_that_two_platforms_share_is_sent_once(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, multi: Image
) -> None:
    copy = layout_copy(folder, multi, Repository(registry, "app"))

    run(workers, copy)

    # Two configs, two programs, and the layer that is the same for both.
    assert len(copy.blobs) == len(server.asked("POST")) == 5


def test_a_blob_that_two_images_share_is_sent_once_and_mounted(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    run(workers, first, second)

    assert actions(first)[image.layers[0]] is Action.SENT
    assert actions(second)[image.layers[0]] is Action.MOUNTED
    assert len(server.uploads) == 5
    assert read_image(Repository(registry, "two"), other_image.root) == other_image.contents


def test_a_blob_that_two_tags_of_a_repository_share_is_sent_once(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, "app"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "app"))
    second.tag = "2"

    run(workers, first, second)

    assert actions(second)[image.layers[0]] is Action.PRESENT
    assert len(server.uploads) == 5
    assert (server.digest_of("app", "1"), server.digest_of("app", "2")) == (image.digest, other_image.digest)


def test_a_blob_that_another_repository_had_before_is_mounted(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.blobs["one"] = dict(image.blobs)
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    run(workers, first, second)

    assert set(actions(first).values()) == {Action.PRESENT}
    assert actions(second)[image.layers[0]] is Action.MOUNTED


def test_a_blob_that_the_registry_does_not_mount_is_sent_and_counted_so(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.mounts = False
    first = layout_copy(tmp_path / "one", image, Repository(registry, "one"))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))

    run(workers, first, second)

    assert actions(second)[image.layers[0]] is Action.SENT
    assert server.digest_of("two", "1") == other_image.digest


@pytest.mark.parametrize("repositories", [("one", "two"), ("app", "app")])
def test_a_blob_whose_first_copy_failed_is_sent_by_the_next_image(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
    repositories: tuple[str, str],
) -> None:
    first = layout_copy(tmp_path / "one", image, Repository(registry, repositories[0]), leave_out=(image.layers[0],))
    second = layout_copy(tmp_path / "two", other_image, Repository(registry, repositories[1]))
    second.tag = "2"

    with pytest.raises(SourceError, match=f"does not have the blob {image.layers[0]}"):
        run(workers, first, second)
    finish_image(second)

    assert server.digest_of(repositories[0], "1") is None
    assert server.digest_of(repositories[1], "2") == other_image.digest
    assert actions(second)[image.layers[0]] is Action.SENT


def test_a_plan_that_was_carried_out_is_what_was_planned(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, tmp_path: Path, multi: Image, image: Image
) -> None:
    server.fill("two", None, image)
    copies = [
        layout_copy(tmp_path / "one", multi, Repository(registry, "one")),
        layout_copy(
            tmp_path / "two", make_index({"linux/amd64": multi, "linux/s390x": image}), Repository(registry, "two")
        ),
    ]
    for copy in copies:
        plan(copy)
    share_blobs(copies)
    planned = [actions(copy) for copy in copies]

    carry_out(workers, *copies)

    assert [actions(copy) for copy in copies] == planned
    assert set(planned[1].values()) == {Action.MOUNTED}


@pytest.mark.parametrize("size", [100, 3 << 19])
def test_a_blob_that_is_damaged_at_its_source_is_the_sources_fault(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, size: int
) -> None:
    image = make_image(layer("bin/app", bytes(size)))
    image = replace(image, contents={**image.contents, image.layers[0]: image.blobs[image.layers[0]][:-1] + b"!"})

    with pytest.raises(
        SourceError, match=rf"blob {image.layers[0]} in the folder .* is damaged.*Make or copy it again"
    ):
        run(workers, layout_copy(folder, image, Repository(registry, "app")))

    assert server.digest_of("app", "1") is None


def test_a_blob_that_is_damaged_on_its_way_is_not_the_sources_fault(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, image: Image
) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(400, "DIGEST_INVALID"))

    with pytest.raises(RegistryError, match=r"has it undamaged. Something on the way or the registry changed it"):
        run(workers, layout_copy(folder, image, Repository(registry, "app")))


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
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    change: Callable[[Answer], Answer],
) -> None:
    server.fill("app", "1", image)
    server.fail("GET", image.layers[0], change)
    folder = tmp_path / "layout"

    with pytest.raises(DigestMismatchError, match=f"blob {image.layers[0]} from repository app in the registry"):
        run(workers, registry_copy(registry, image, OciLayoutDestination(folder)))
    workers.shutdown()

    kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert kept == {"oci-layout", *(digest.split(":")[1] for digest in image.blobs if digest != image.layers[0])}


@pytest.mark.parametrize("lie", [1, 10**6, 2**53 - 1])
def test_a_descriptor_that_lies_about_the_length_is_found_out(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, tmp_path: Path, image: Image, lie: int
) -> None:
    layers = [{**part, "size": lie} for part in image.manifest["layers"]]
    lying = make_image(*image.files, layers=layers)
    server.fill("app", "1", lying)

    with pytest.raises((DigestMismatchError, DestinationError), match=r"is longer than the 1 bytes|ended after 109 of"):
        run(workers, registry_copy(registry, lying, OciLayoutDestination(tmp_path / "layout")))

    assert not (tmp_path / "layout" / "index.json").exists()


def test_a_manifest_that_the_registry_lacks_stops_the_copy_before_anything_is_written(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, tmp_path: Path, multi: Image
) -> None:
    server.fill("app", "1", multi)
    del server.manifests["app"][multi.manifest["manifests"][1]["digest"]]

    with pytest.raises(SourceError, match=r"has no image for linux/arm64: manifest"):
        run(workers, registry_copy(registry, multi, OciLayoutDestination(tmp_path / "layout")))

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

    plan(copy)

    assert not copy.changes
    assert copy.root == image.digest
    assert server.asked("HEAD", "GET") == ["HEAD /v2/app/manifests/1", f"GET /v2/app/manifests/{image.digest}"]


def test_another_saved_image_replaces_what_the_registry_has(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("app", "1", image)
    copy = docker_copy(tmp_path / "app.tar", other_image, Repository(registry, "app"))

    run(workers, copy)

    assert copy.before == image.root
    assert server.digest_of("app", "1") == copy.root
    assert {digest_of(other_image.config), *map(digest_of, other_image.files)} <= server.blobs["app"].keys()


def test_a_saved_image_replaces_an_index(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, tmp_path: Path, image: Image, multi: Image
) -> None:
    server.fill("app", "1", multi)
    copy = docker_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    run(workers, copy)

    assert server.digest_of("app", "1") == copy.root


@pytest.mark.parametrize("content", [b"not a manifest", b'{"schemaVersion": 1}', b'{"mediaType": "text/plain"}'])
def test_a_saved_image_replaces_what_nobody_can_use(
    registry: Registry,
    server: RegistryServer,
    workers: ThreadPoolExecutor,
    tmp_path: Path,
    image: Image,
    content: bytes,
) -> None:
    server.manifests["app"] = dict.fromkeys(("1", digest_of(content)), (OCI_MANIFEST, content))
    copy = docker_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    run(workers, copy)

    assert copy.before is not None
    assert copy.before.digest == digest_of(content)
    assert server.digest_of("app", "1") == copy.root


def test_an_image_that_is_named_by_its_digest_gets_no_tag(
    registry: Registry, server: RegistryServer, workers: ThreadPoolExecutor, folder: Path, image: Image
) -> None:
    copy = layout_copy(folder, image, Repository(registry, "app"))
    copy.tag = None

    run(workers, copy)

    assert server.manifests["app"].keys() == {image.digest}


def test_a_registry_that_refuses_to_look_is_not_written_to(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fail("HEAD", "/manifests/", Answer(403))

    with pytest.raises(RegistryError, match="cannot be looked up"):
        plan(layout_copy(folder, image, Repository(registry, "app")))
