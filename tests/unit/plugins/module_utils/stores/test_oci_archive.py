# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write OCI archives."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, DigestMismatchError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from unit.plugins.module_utils.support.images import (
    Image,
    layout_files,
    read_tar,
    write_docker_archive,
    write_oci_archive,
)
from unit.plugins.module_utils.support.stores import Content, blob, content_of, put, read_image


def test_archive_has_the_written_image(path: Path, multi: Image) -> None:
    destination = OciArchiveDestination(path)
    put(destination, multi, "example.com/multi:1")
    destination.commit()

    source = OciLayoutSource(TarFiles(path))
    (found,) = source.images("example.com/multi:1")
    assert read_image(source, found.root) == multi.contents


def test_archive_has_only_files_of_a_layout(path: Path, image: Image) -> None:
    destination = OciArchiveDestination(path)
    put(destination, image, "app")
    destination.commit()

    files, expected = read_tar(path), layout_files({"app": image})
    assert {name: content for name, content in files.items() if name.startswith("blobs/")} == {
        name: content for name, content in expected.items() if name.startswith("blobs/")
    }
    assert json.loads(files["oci-layout"]) == json.loads(expected["oci-layout"])
    assert json.loads(files["index.json"])["manifests"] == json.loads(expected["index.json"])["manifests"]


def test_archive_does_not_exist_before_commit(path: Path, image: Image) -> None:
    destination = OciArchiveDestination(path)

    put(destination, image, "app")

    assert not path.exists()
    destination.abandon()


def test_archive_keeps_its_other_images(path: Path, image: Image, other_image: Image) -> None:
    write_oci_archive(path, {"one": image})
    destination = OciArchiveDestination(path)

    put(destination, other_image, "two")
    destination.commit()

    source = OciLayoutSource(TarFiles(path))
    for name, complete in (("one", image), ("two", other_image)):
        assert read_image(source, source.images(name)[0].root) == complete.contents


def test_blob_of_old_and_new_image_is_written_once(path: Path, image: Image, other_image: Image) -> None:
    write_oci_archive(path, {"one": image})
    destination = OciArchiveDestination(path)

    put(destination, other_image, "two")
    destination.commit()

    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert sorted(names) == sorted(layout_files({"one": image, "two": other_image}))


def test_archive_drops_blobs_that_no_image_needs(path: Path, image: Image, other_image: Image) -> None:
    write_oci_archive(path, {"app": image})
    destination = OciArchiveDestination(path)

    put(destination, other_image, "app")
    destination.commit()

    blobs = {name for name in read_tar(path) if name.startswith("blobs/")}
    assert blobs == {name for name in layout_files({"app": other_image}) if name.startswith("blobs/")}


def test_blob_of_existing_archive_is_reused(path: Path, image: Image, other_image: Image) -> None:
    write_oci_archive(path, {"one": image})
    destination = OciArchiveDestination(path)
    shared = image.layers[0]

    assert destination.has_blob(blob(shared, image.blobs[shared]))
    for digest, content in other_image.blobs.items():
        if digest != shared:
            destination.put_blob(blob(digest, content), content_of(content))
    put(destination, Image(other_image.root, {other_image.digest: other_image.contents[other_image.digest]}), "two")
    destination.commit()

    assert read_image(OciLayoutSource(TarFiles(path)), other_image.root) == other_image.contents


@pytest.mark.parametrize("exists", [False, True])
def test_second_of_two_runs_does_not_overwrite_the_images_of_the_first(
    path: Path, image: Image, other_image: Image, exists: bool
) -> None:
    if exists:
        write_oci_archive(path, {"old": image})
    first, second = OciArchiveDestination(path), OciArchiveDestination(path)
    put(first, image, "app:1")
    put(second, other_image, "app:2")
    first.commit()

    with pytest.raises(DestinationError, match="another run changed"):
        second.commit()
    second.close()

    assert OciLayoutSource(TarFiles(path)).images("app:1")[0].root == image.root
    assert list(path.parent.iterdir()) == [path]


def test_commit_without_images_writes_nothing(path: Path, image: Image) -> None:
    before = write_oci_archive(path, {"one": image}).stat()
    destination = OciArchiveDestination(path)

    destination.commit()

    assert path.stat() == before


def test_abandoned_archive_leaves_the_existing_one(path: Path, image: Image, other_image: Image) -> None:
    before = write_oci_archive(path, {"app": image}).read_bytes()
    destination = OciArchiveDestination(path)
    put(destination, other_image, "app")

    assert destination.abandon()

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_closed_uncommitted_archive_leaves_no_file(path: Path, image: Image) -> None:
    destination = OciArchiveDestination(path)
    put(destination, image, "app")

    destination.close()

    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_the_existing_archive(path: Path, image: Image, large_image: Image) -> None:
    before = write_oci_archive(path, {"app": image}).read_bytes()
    destination = OciArchiveDestination(path)

    with pytest.raises(DestinationError, match=r"app.tar cannot be written: File too large"):
        put(destination, large_image, "app")
    destination.abandon()

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_archive_destination_reports_existing_content(path: Path, image: Image, other_image: Image) -> None:
    write_oci_archive(path, {"app": image})
    destination = OciArchiveDestination(path)

    assert destination.resolve("app") == image.root
    assert destination.resolve("other") is None
    assert destination.has_manifest(image.root)
    assert not destination.has_manifest(other_image.root)
    assert not destination.has_blob(blob(digest_of(other_image.config), other_image.config))


def test_folder_is_rejected_as_archive_destination(path: Path) -> None:
    path.mkdir()

    with pytest.raises(DestinationError, match=r"is a folder, not an archive. For a folder, write oci:"):
        OciArchiveDestination(path)


def test_missing_folder_is_rejected_before_download(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=r"the folder .*/backups does not exist. Create it first"):
        OciArchiveDestination(tmp_path / "backups" / "app.tar")


@pytest.mark.parametrize("content", [b"", b"my thesis", b"x" * 10240])
def test_other_file_is_not_overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(DestinationError, match=r"exists and is not an OCI archive.*Remove it or choose another file"):
        OciArchiveDestination(path)

    assert path.read_bytes() == content


def test_old_docker_archive_is_not_overwritten(path: Path, image: Image) -> None:
    write_docker_archive(path, [(["app:1"], image)])

    with pytest.raises(DestinationError, match="exists and is not an OCI archive"):
        OciArchiveDestination(path)


def test_next_run_resumes_interrupted_archive(path: Path, large_image: Image) -> None:
    stopped = OciArchiveDestination(path)
    complete = large_image.layers[0]
    damaged = next(digest for digest in large_image.blobs if digest != complete)
    stopped.put_blob(blob(complete, large_image.blobs[complete]), content_of(large_image.blobs[complete]))
    with pytest.raises(DigestMismatchError):
        stopped.put_blob(blob(damaged, large_image.blobs[damaged]), content_of(large_image.blobs[damaged][:-1]))
    stopped.abandon(resumable=True)
    content_by_digest = {digest: Content(content) for digest, content in large_image.blobs.items()}

    again = OciArchiveDestination(path)
    for digest, content in content_by_digest.items():
        again.put_blob(blob(digest, content.content), content)
    put(again, Image(large_image.root, {large_image.digest: large_image.contents[large_image.digest]}), "app")
    again.commit()

    assert content_by_digest[complete].offsets == []
    assert content_by_digest[damaged].offsets == [0]
    assert read_image(OciLayoutSource(TarFiles(path)), large_image.root) == large_image.contents
    assert list(path.parent.iterdir()) == [path]


def test_next_run_replaces_partial_file_that_is_not_an_archive(path: Path, image: Image) -> None:
    path.with_name(f".{path.name}.partial").write_bytes(b"damaged by a power cut" * 100)
    destination = OciArchiveDestination(path)

    put(destination, image, "app")
    destination.commit()

    assert read_image(OciLayoutSource(TarFiles(path)), image.root) == image.contents
