# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write OCI layout folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import Files, FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    parse_manifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import (
    OciLayoutDestination,
    OciLayoutSource,
)
from unit.plugins.module_utils.support.images import (
    REFERENCE_NAME,
    Image,
    encode,
    write_layout,
)
from unit.plugins.module_utils.support.stores import blob, content_of, put, read_image

Write = Callable[[Mapping[str, bytes]], Files]


def put_all(folder: Path, image: Image, tag: str | None) -> None:
    """Write and commit an image."""
    destination = OciLayoutDestination(folder)
    put(destination, image, tag)
    destination.commit()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_layout_is_not_written_through_a_link(folder: Path, image: Image, name: str) -> None:
    write_layout(folder, {"app": image})
    outside = folder.parent / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)

    with pytest.raises(DestinationError, match=rf"{folder / name} is a link that may point outside the folder"):
        OciLayoutDestination(folder)


def test_layout_has_the_written_image(folder: Path, multi: Image) -> None:
    put_all(folder, multi, "example.com/multi:1")

    source = OciLayoutSource(FolderFiles(folder))
    (found,) = source.images("example.com/multi:1")
    assert read_image(source, found.root) == multi.contents
    assert {path.name for path in folder.iterdir()} == {"oci-layout", "index.json", "blobs"}
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


def test_new_image_replaces_the_name_and_keeps_other_images(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app": image, "old": image})

    put_all(folder, other_image, "app")

    source = OciLayoutSource(FolderFiles(folder))
    assert source.images("app")[0].root == other_image.root
    assert read_image(source, source.images("old")[0].root) == image.contents


def test_entries_of_other_images_are_unchanged(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app:1": image})
    platform = {"architecture": "amd64", "os": "windows", "os.version": "10.0.1"}
    more = {"artifactType": "application/x", "urls": ["https://example.com/x"], "platform": platform}
    entry = {**image.root.to_json(), **more, "annotations": {REFERENCE_NAME: "app:1"}}
    (folder / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [entry]}))
    destination = OciLayoutDestination(folder)

    put(destination, other_image, "app:2")
    destination.commit()

    assert json.loads((folder / "index.json").read_bytes())["manifests"][0] == entry


def test_parallel_runs_keep_the_images_of_each_other(folder: Path, image: Image, other_image: Image) -> None:
    first, second = OciLayoutDestination(folder), OciLayoutDestination(folder)
    put(first, image, "app:1")
    put(second, other_image, "app:2")

    first.commit()
    second.commit()

    source = OciLayoutSource(FolderFiles(folder))
    assert source.images("app:1")[0].root == image.root
    assert source.images("app:2")[0].root == other_image.root


def test_umask_is_not_changed_during_write(folder: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    # All users could write to a file that another thread creates at the same time.
    changes: list[int] = []
    monkeypatch.setattr(os, "umask", changes.append)

    put_all(folder, image, "app")

    assert not changes


def test_image_without_name_is_listed_once(folder: Path, image: Image) -> None:
    destination = OciLayoutDestination(folder)

    put(destination, image, None)
    put(destination, image, None)
    destination.commit()

    assert [found.root for found in OciLayoutSource(FolderFiles(folder)).images()] == [image.root]


def test_image_without_name_keeps_its_named_entry(folder: Path, image: Image) -> None:
    destination = OciLayoutDestination(folder)

    put(destination, image, "app")
    put(destination, image, None)
    destination.commit()

    assert OciLayoutSource(FolderFiles(folder)).images("app")[0].root == image.root


def test_layout_destination_reports_existing_content(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app": image})
    destination = OciLayoutDestination(folder)

    assert destination.resolve("app") == destination.resolve(image.digest) == image.root
    assert destination.resolve("other") is None
    assert destination.has_manifest(image.root)
    assert destination.has_blob(blob(digest_of(image.config), image.config))
    assert not destination.has_blob(blob(digest_of(other_image.config), other_image.config))


def test_manifest_without_entry_is_reported_as_missing(folder: Path, multi: Image) -> None:
    child = Descriptor.from_json(multi.manifest["manifests"][0])
    write_layout(folder, {"multi": multi})

    assert not OciLayoutDestination(folder).has_manifest(child)


def test_blob_of_wrong_size_is_reported_as_missing(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    (folder / f"blobs/{image.layers[0].replace(':', '/')}").write_bytes(b"cut")

    assert not OciLayoutDestination(folder).has_blob(blob(image.layers[0], image.blobs[image.layers[0]]))


def test_damaged_blob_is_reported_as_missing(folder: Path, image: Image) -> None:
    digest = image.layers[0]
    write_layout(folder, {"app": image})
    (folder / f"blobs/{digest.replace(':', '/')}").write_bytes(bytes(len(image.blobs[digest])))
    destination = OciLayoutDestination(folder)

    assert not destination.has_blob(blob(digest, image.blobs[digest]))
    assert not destination.has_manifest(image.root)


def test_written_files_have_the_mode_of_other_new_files(folder: Path, image: Image, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()

    put_all(folder, image, "app")

    modes = {path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_the_layout_unchanged(folder: Path, image: Image, large_image: Image) -> None:
    write_layout(folder, {"app": image})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    with pytest.raises(DestinationError, match=r"cannot be written: File too large. The previous content is unchanged"):
        put(OciLayoutDestination(folder), large_image, "app")

    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    config = folder / f"blobs/{digest_of(large_image.config).replace(':', '/')}"
    assert after == {**before, config: large_image.config}


def test_layout_without_complete_image_is_resumed(folder: Path, image: Image) -> None:
    destination = OciLayoutDestination(folder)
    destination.put_blob(blob(digest_of(image.config), image.config), content_of(image.config))

    put_all(folder, image, "app")

    assert read_image(OciLayoutSource(FolderFiles(folder)), image.root) == image.contents


def test_index_json_is_written_last(folder: Path, image: Image) -> None:
    destination = OciLayoutDestination(folder)
    content = image.contents[image.digest]

    for digest, part in image.blobs.items():
        destination.put_blob(blob(digest, part), content_of(part))
    destination.put_manifest(parse_manifest(content))

    assert not (folder / "index.json").exists()


def test_folder_with_other_files_is_rejected_as_layout_destination(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").touch()

    with pytest.raises(DestinationError, match=r"has files but no OCI layout. Choose an empty or a new folder"):
        OciLayoutDestination(folder)


def test_file_is_rejected_as_layout_destination(folder: Path) -> None:
    folder.touch()

    with pytest.raises(DestinationError, match=r"is not a folder. For an archive, write oci-archive:"):
        OciLayoutDestination(folder)


def test_empty_folder_is_accepted_as_layout_destination(folder: Path, image: Image) -> None:
    folder.mkdir()

    put_all(folder, image, "app")

    assert OciLayoutSource(FolderFiles(folder)).images("app")[0].root == image.root
