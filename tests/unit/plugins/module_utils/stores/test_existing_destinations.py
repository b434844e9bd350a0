# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls into existing destinations: intact content is kept, damaged content is neither used nor copied."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_LAYER, OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import Location
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    layout_files,
    make_image,
    make_index,
    tar,
    write_oci_archive,
)
from unit.plugins.module_utils.support.interruptions import (
    MemorySource,
    files_of,
    partial_files,
    pull_image,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Pull = Callable[..., dict[str, Any]]
ARCHIVES = ("oci-archive", "docker-archive")
KINDS = ("oci", *ARCHIVES)


@pytest.fixture(params=KINDS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A destination with each transport. It does not exist yet."""
    return Location(request.param, tmp_path / "app")


@pytest.fixture(params=ARCHIVES)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An archive with each transport. It does not exist yet."""
    return Location(request.param, tmp_path / "app.tar")


def blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def write(location: Location, files: dict[str, bytes]) -> None:
    """Write the files of a layout as a folder or as an archive."""
    if location.transport != "oci":
        location.path.write_bytes(tar(*files.items()))
        return
    for name, content in files.items():
        (location.path / name).parent.mkdir(parents=True, exist_ok=True)
        (location.path / name).write_bytes(content)


def damage(files: dict[str, bytes], digest: str) -> dict[str, bytes]:
    """Return the files with other content of the same size in one blob."""
    content = files[blob_path(digest)]
    return {**files, blob_path(digest): content[:-1] + bytes([content[-1] ^ 1])}


def blobs_of(location: Location) -> dict[str, bytes]:
    return {name: content for name, content in files_of(location).items() if name.startswith("blobs/")}


def blobs_in(*images: Image) -> dict[str, bytes]:
    return {blob_path(digest): content for image in images for digest, content in image.contents.items()}


def test_archive_is_intact_after_interrupted_pull_of_other_image(archive: Location, large_image: Image) -> None:
    first, second = make_image(large_image.files[0] + bytes(512)), make_image(b"x" * 1000)
    interrupted = pull_image(MemorySource(first, cut_after=(3 << 19) - 1000), archive, "app:1")
    kept = partial_files(archive.path.parent)

    results = [pull_image(MemorySource(image), archive, f"app:{tag}") for tag, image in enumerate((second, first))]

    assert interrupted["failed"]
    assert kept
    assert [result.get("msg") for result in results] == [None, None]
    assert blobs_of(archive) == blobs_in(second, first)


def test_pull_downloads_damaged_blob_of_destination_again(location: Location, image: Image, other_image: Image) -> None:
    shared = image.layers[0]
    write(location, damage(layout_files({"app:1": image}), shared))
    source = MemorySource(other_image)

    result = pull_image(source, location, "app:2")

    assert result.get("msg") is None
    assert shared in source.fetched
    assert blobs_of(location) == blobs_in(image, other_image)


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_pull_of_index_downloads_damaged_blob_of_listed_image_again(
    tmp_path: Path, image: Image, transport: str
) -> None:
    location = Location(transport, tmp_path / "app")
    index = make_index({"linux/amd64": image})
    write(location, damage(layout_files({"app:amd64": image}), image.layers[0]))

    result = pull_image(MemorySource(index), location, "app:1")

    assert result.get("msg") is None
    assert blobs_of(location) == blobs_in(index)


def test_pull_downloads_missing_blob_of_unchanged_image(location: Location, image: Image) -> None:
    write(location, layout_files({"app:1": image}, leave_out=[image.layers[1]]))
    source = MemorySource(image)

    result = pull_image(source, location, "app:1")

    assert result["changed"]
    assert source.fetched == [image.layers[1]]
    assert blobs_of(location) == blobs_in(image)


def test_pull_of_unchanged_image_reads_no_layer(
    pull: Pull, server: RegistryServer, location: Location, image: Image
) -> None:
    server.fill("team/app", "1", image)
    write(location, damage(layout_files({"docker.io/team/app:1": image}), image.layers[0]))

    result = pull({"name": "team/app:1", "dest": str(location)})

    assert not result["changed"], result
    assert [str(request) for request in server.requests] == ["HEAD /v2/team/app/manifests/1"]


def test_pull_names_damaged_image_of_archive_and_keeps_downloaded_blobs(
    archive: Location, image: Image, large_image: Image
) -> None:
    write(archive, damage(layout_files({"app:1": image}), image.layers[0]))
    before = archive.path.read_bytes()

    failed = pull_image(MemorySource(large_image), archive, "app:2")
    unchanged = archive.path.read_bytes() == before
    archive.path.unlink()
    again = MemorySource(large_image)
    pull_image(again, archive, "app:2")

    assert f"app.tar because its image app:1 is damaged: blob {image.layers[0]}" in failed["msg"]
    assert "Remove it and pull all its images again" in failed["msg"]
    assert unchanged
    assert again.fetched == []
    assert blobs_of(archive) == blobs_in(large_image)


def test_pull_rejects_archive_with_damaged_manifest_before_download(
    archive: Location, image: Image, other_image: Image
) -> None:
    write(archive, damage(layout_files({"app:1": image}), image.digest))
    source = MemorySource(other_image)

    result = pull_image(source, archive, "app:2")

    assert f"app.tar: manifest {image.digest}" in result["msg"]
    assert source.fetched == []


def test_image_is_added_to_archive_with_missing_platform(archive: Location, image: Image, other_image: Image) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": make_image(architecture="arm64")})
    files = layout_files({"old:1": index}, leave_out=[*set(index.contents) - {*image.contents, index.digest}])
    write(archive, files)

    result = pull_image(MemorySource(other_image), archive, "example.com/app:2")

    assert result.get("msg") is None
    existing = {name: content for name, content in files.items() if name.startswith("blobs/")}
    assert blobs_of(archive) == {**existing, **blobs_in(other_image)}


@pytest.mark.parametrize("missing", ["manifest", "layer"])
def test_docker_archive_lists_only_complete_images(
    tmp_path: Path, image: Image, other_image: Image, missing: str
) -> None:
    location = Location("docker-archive", tmp_path / "app.tar")
    left_out = {"manifest": image.digest, "layer": image.layers[1]}[missing]
    write(location, layout_files({"example.com/app:1": image}, leave_out=[left_out]))

    pull_image(MemorySource(other_image), location, "example.com/app:2")

    assert [each["RepoTags"] for each in json.loads(files_of(location)["manifest.json"])] == [["example.com/app:2"]]


def test_image_is_added_to_archive_with_entry_of_unknown_kind(archive: Location, image: Image) -> None:
    part, unneeded = b"part of the thing", b"unneeded"
    thing = encode({"mediaType": "application/vnd.example.thing", "parts": [describe(part, OCI_LAYER)]})
    listed = [describe(thing, "application/vnd.example.thing"), describe(b"\0not JSON", OCI_MANIFEST)]
    contents = (part, thing, b"\0not JSON", unneeded)
    blobs = {blob_path(digest_of(content)): content for content in contents}
    write(archive, {"oci-layout": b"{}", "index.json": encode({"manifests": listed}), **blobs})

    result = pull_image(MemorySource(image), archive, "example.com/app:1")

    assert result.get("msg") is None
    del blobs[blob_path(digest_of(unneeded))]
    assert blobs_of(archive) == {**blobs, **blobs_in(image)}
    assert json.loads(files_of(archive)["index.json"])["manifests"][:2] == listed


def test_pull_keeps_downloaded_blobs_if_another_run_changed_the_archive(
    archive: Location, image: Image, large_image: Image
) -> None:
    class Meanwhile(MemorySource):
        def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
            write_oci_archive(archive.path, {"app:1": image})
            return super().open_blob(descriptor, offset)

    failed = pull_image(Meanwhile(large_image), archive, "example.com/app:2")
    again = MemorySource(large_image)
    pull_image(again, archive, "example.com/app:2")

    assert "another run changed" in failed["msg"]
    assert again.fetched == []
    assert blobs_of(archive) == blobs_in(image, large_image)


def test_full_disk_leaves_no_partial_file_after_complete_download(
    archive: Location, large_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)

    result = pull_image(MemorySource(large_image), archive, "app:1")

    assert "No space left on device" in result["msg"]
    assert list(archive.path.parent.iterdir()) == []
