# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI layouts that images are read from and written to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
    DigestMismatchError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import Files, FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    MAXIMUM_SIZE,
    OCI_MANIFEST,
    parse_manifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import (
    OciLayoutDestination,
    OciLayoutSource,
)
from unit.plugins.module_utils.support.images import (
    REFERENCE_NAME,
    Image,
    encode,
    layout_files,
    make_image,
    make_index,
    tar,
    write_layout,
)
from unit.plugins.module_utils.support.stores import blob, content_of, put, read_blob, read_image
from unit.plugins.module_utils.support.tar_entries import free_descriptor

Write = Callable[[Mapping[str, bytes]], Files]


@pytest.fixture(params=["folder", "archive"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes files, to a folder in one run of the test and to an archive in the other, and opens what it wrote."""

    def in_folder(files: Mapping[str, bytes]) -> Files:
        for name, content in files.items():
            (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "layout" / name).write_bytes(content)
        return FolderFiles(tmp_path / "layout")

    def in_archive(files: Mapping[str, bytes]) -> Files:
        (tmp_path / "layout.tar").write_bytes(tar(*files.items()))
        return TarFiles(tmp_path / "layout.tar")

    return in_folder if request.param == "folder" else in_archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a layout shall be."""
    return tmp_path / "layout"


def open_destination(folder: Path) -> OciLayoutDestination:
    return OciLayoutDestination(folder)


def put_all(folder: Path, image: Image, tag: str | None) -> None:
    """Write an image as a whole run does."""
    destination = open_destination(folder)
    put(destination, image, tag)
    destination.commit()


def test_every_image_of_a_layout_is_found_under_its_name(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image, "example.com/app:2": other_image})))

    assert [(str(found.name), found.root.digest) for found in source.images()] == [
        ("example.com/app:1", image.digest),
        ("example.com/app:2", other_image.digest),
    ]


def test_one_image_is_found_by_its_name(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image, "example.com/app:2": other_image})))

    assert [found.root.digest for found in source.images("example.com/app:2")] == [other_image.digest]


def test_one_image_is_found_by_its_digest(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"one": image, "two": other_image})))

    assert [found.root.digest for found in source.images(other_image.digest)] == [other_image.digest]


def test_an_image_that_is_not_there_is_answered_with_those_that_are(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image})))

    with pytest.raises(SourceError, match=r"has no image 'example.com/app:2'. It has 1 images: example.com/app:1"):
        source.images("example.com/app:2")


def test_a_layout_without_images_is_no_source(write: Write) -> None:
    source = OciLayoutSource(write(layout_files({})))

    with pytest.raises(SourceError, match=r"has no image. It has 0 images"):
        source.images()


def test_a_word_alone_is_not_an_images_full_name(write: Write, image: Image) -> None:
    # skopeo and buildah write the tag there, containerd and Docker the tag or the name.
    source = OciLayoutSource(write(layout_files({"1.2": image})))

    assert [found.name for found in source.images("1.2")] == [None]


def test_the_full_name_that_containerd_adds_is_the_name(write: Write, image: Image) -> None:
    names = {
        "org.opencontainers.image.ref.name": "1.2",
        "io.containerd.image.name": "docker.io/library/app:1.2",
    }
    entry = {**image.root.to_json(), "annotations": names}
    source = OciLayoutSource(write({**layout_files({"x": image}), "index.json": encode({"manifests": [entry]})}))

    for name in names.values():
        assert [found.name for found in source.images(name)] == [parse_reference("app:1.2")]


def test_an_image_of_several_platforms_is_read_whole(write: Write, multi: Image) -> None:
    source = OciLayoutSource(write(layout_files({"multi": multi})))

    assert read_image(source, multi.root) == multi.contents


def test_a_blob_is_read_from_the_middle_on(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))

    assert read_blob(source, blob(digest_of(image.config), image.config), 10) == image.config[10:]


def test_an_image_that_is_named_by_its_sha512_is_read_under_that_name(write: Write, image: Image) -> None:
    content = image.contents[image.digest]
    named = Descriptor(OCI_MANIFEST, digest_of(content, "sha512"), len(content))
    files = {
        **layout_files({"x": image}),
        "index.json": encode({"manifests": [named.to_json()]}),
        f"blobs/{named.digest.replace(':', '/')}": content,
    }

    assert OciLayoutSource(write(files)).fetch_manifest(named).descriptor == named


def test_a_manifest_that_is_not_what_its_digest_names_is_damaged(write: Write, image: Image) -> None:
    path = f"blobs/{image.digest.replace(':', '/')}"
    files = layout_files({"app": image})
    source = OciLayoutSource(write({**files, path: files[path].replace(b"amd64", b"arm64") + b" "}))

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} in .* is damaged"):
        source.fetch_manifest(image.root)


@pytest.mark.parametrize("delta", [-1, 1])
def test_manifest_of_size_other_than_declared_is_refused(write: Write, image: Image, delta: int) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))
    size = image.root.size

    with pytest.raises(DigestMismatchError, match=f"has {size} bytes, but its descriptor says {size + delta}"):
        source.fetch_manifest(replace(image.root, size=size + delta))


def test_a_missing_manifest_is_told_with_its_platform(write: Write, multi: Image) -> None:
    child = Descriptor.from_json(multi.manifest["manifests"][1])
    source = OciLayoutSource(write(layout_files({"multi": multi}, leave_out=[child.digest])))

    with pytest.raises(SourceError, match=rf"has no image for linux/arm64: manifest {child.digest} is missing"):
        read_image(source, multi.root)


def test_a_missing_blob_is_told(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image}, leave_out=[image.layers[1]])))

    with pytest.raises(SourceError, match=f"does not have the blob {image.layers[1]}"):
        read_image(source, image.root)


def test_a_blob_of_another_length_is_not_even_opened(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))
    lying = Descriptor("application/octet-stream", digest_of(image.config), 10**9)

    with pytest.raises(SourceError, match=f"has {len(image.config)} bytes, but should have 1000000000"):
        read_blob(source, lying)


def test_a_manifest_beyond_the_limit_is_not_read(write: Write) -> None:
    content = b"{" + b" " * MAXIMUM_SIZE + b"}"
    root = Descriptor(OCI_MANIFEST, digest_of(content), len(content))
    path = f"blobs/{root.digest.replace(':', '/')}"
    source = OciLayoutSource(write({"index.json": encode({"manifests": [root.to_json()]}), path: content}))

    with pytest.raises(SourceError, match=f"has {MAXIMUM_SIZE + 2} bytes; the limit is {MAXIMUM_SIZE}"):
        source.fetch_manifest(root)


def test_a_manifest_of_schema_1_is_told_with_its_place_and_what_to_do(write: Write) -> None:
    content = encode({"schemaVersion": 1, "name": "app"})
    image = Image(Descriptor("application/json", digest_of(content), len(content)), {digest_of(content): content})
    source = OciLayoutSource(write(layout_files({"app": image})))

    with pytest.raises(SourceError, match=rf"{image.digest} in .*layout.* schema 1.*Pull and push the image once"):
        source.fetch_manifest(image.root)


def test_indexes_in_a_circle_are_refused(write: Write) -> None:
    # A digest cannot be in what it names, so a circle can only be feigned: by depth.
    nested = make_image()
    for _level in range(10):
        nested = make_index({"linux/amd64": nested})
    source = OciLayoutSource(write(layout_files({"deep": nested})))

    with pytest.raises(SourceError, match="nested deeper than 8"):
        read_image(source, nested.root)


def test_what_has_no_index_is_no_layout(write: Write) -> None:
    with pytest.raises(SourceError, match=r"is not an OCI layout: it has no index.json"):
        OciLayoutSource(write({"oci-layout": b"{}"}))


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{",
        b"[]",
        b'{"manifests": {"a": 1}}',
        b'{"manifests": ["x"]}',
        b'{"manifests": [{"mediaType": "x", "digest": "sha256:../../../etc/passwd", "size": 1}]}',
        b'{"manifests":' * 100_000,
    ],
)
def test_a_damaged_index_is_told(write: Write, index: bytes) -> None:
    with pytest.raises(SourceError, match=r"index.json in .* is damaged"):
        OciLayoutSource(write({"index.json": index}))


@pytest.mark.parametrize("place", ["index.json", "blobs", "blobs/sha256", "config"])
@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_a_link_in_a_folder_is_refused_wherever_it_is(folder: Path, image: Image, place: str, target: str) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    link = folder / (f"blobs/{config.digest.replace(':', '/')}" if place == "config" else place)
    outside = folder.parent / "outside"
    link.rename(outside)
    link.symlink_to(outside if target == "absolute" else os.path.relpath(outside, link.parent))

    with pytest.raises(SourceError, match=rf"{link} is a link that may point outside the folder. Copy .* cp -rL"):
        read_image(OciLayoutSource(FolderFiles(folder)), image.root)


def test_the_folder_itself_may_be_reached_by_a_link(folder: Path, image: Image) -> None:
    write_layout(folder.parent / "media", {"app": image})
    folder.symlink_to("media")

    assert read_image(OciLayoutSource(FolderFiles(folder)), image.root) == image.contents


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_a_folder_is_refused_without_reading_it(
    folder: Path, image: Image, make: Callable[[Path], None]
) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    place = folder / f"blobs/{config.digest.replace(':', '/')}"
    place.unlink()
    make(place)

    with pytest.raises(SourceError, match=rf"{place} is not a regular file"):
        read_image(OciLayoutSource(FolderFiles(folder)), image.root)


def test_a_blob_that_grows_while_it_is_read_is_read_as_far_as_it_was(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    source = OciLayoutSource(FolderFiles(folder))

    with source.open_blob(config) as blocks:
        with (folder / f"blobs/{config.digest.replace(':', '/')}").open("ab") as file:
            file.write(b"more")
        content = b"".join(bytes(block) for block in blocks)

    assert content == image.config


def test_reading_a_folder_leaves_nothing_open(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    free = free_descriptor()
    source = OciLayoutSource(FolderFiles(folder))

    read_image(source, image.root)
    source.files.size("blobs/sha256/lacking")
    source.close()

    assert free_descriptor() == free


def test_manifests_of_more_bytes_than_an_image_has_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        f"linux/{number}": make_image(architecture=str(number), annotations={"a": "x" * 500}) for number in range(9)
    }
    source = OciLayoutSource(write(layout_files({"app": make_index(parts)})))
    monkeypatch.setattr("ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph._MAXIMUM_BYTES", 5000)

    with pytest.raises(SourceError, match=r"more than 5000 bytes of them"):
        read_image(source, source.entries[0])


@pytest.mark.parametrize("place", ["blobs", "blobs/sha256"])
def test_nothing_is_written_through_a_link(folder: Path, image: Image, place: str) -> None:
    write_layout(folder, {"app": image})
    outside = folder.parent / "outside"
    (folder / place).rename(outside)
    (folder / place).symlink_to(outside)

    with pytest.raises(DestinationError, match=rf"{folder / place} is a link that may point outside the folder"):
        open_destination(folder)


def test_an_image_is_written_as_it_was(folder: Path, multi: Image) -> None:
    put_all(folder, multi, "example.com/multi:1")

    source = OciLayoutSource(FolderFiles(folder))
    (found,) = source.images("example.com/multi:1")
    assert read_image(source, found.root) == multi.contents
    assert {path.name for path in folder.iterdir()} == {"oci-layout", "index.json", "blobs"}
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


def test_a_new_image_takes_the_name_and_leaves_the_other_images(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app": image, "old": image})

    put_all(folder, other_image, "app")

    source = OciLayoutSource(FolderFiles(folder))
    assert source.images("app")[0].root == other_image.root
    assert read_image(source, source.images("old")[0].root) == image.contents


def test_what_a_layout_says_of_its_other_images_stays(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app:1": image})
    platform = {"architecture": "amd64", "os": "windows", "os.version": "10.0.1"}
    more = {"artifactType": "application/x", "urls": ["https://example.com/x"], "platform": platform}
    entry = {**image.root.to_json(), **more, "annotations": {REFERENCE_NAME: "app:1"}}
    (folder / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [entry]}))
    destination = OciLayoutDestination(folder)

    put(destination, other_image, "app:2")
    destination.commit()

    assert json.loads((folder / "index.json").read_bytes())["manifests"][0] == entry


def test_two_runs_at_the_same_folder_keep_each_others_images(folder: Path, image: Image, other_image: Image) -> None:
    first, second = open_destination(folder), open_destination(folder)
    put(first, image, "app:1")
    put(second, other_image, "app:2")

    first.commit()
    second.commit()

    source = OciLayoutSource(FolderFiles(folder))
    assert source.images("app:1")[0].root == image.root
    assert source.images("app:2")[0].root == other_image.root


def test_no_other_thread_finds_the_umask_changed(folder: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    # What another thread makes in that moment, everybody could write to.
    changes: list[int] = []
    monkeypatch.setattr(os, "umask", changes.append)

    put_all(folder, image, "app")

    assert not changes


def test_a_blob_is_read_where_the_system_cannot_read_into_a_buffer(
    write: Write, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    source = OciLayoutSource(write(layout_files({"app": image})))

    assert read_image(source, image.root) == image.contents


def test_an_image_without_a_name_is_listed_once(folder: Path, image: Image) -> None:
    destination = open_destination(folder)

    put(destination, image, None)
    put(destination, image, None)
    destination.commit()

    assert [found.root for found in OciLayoutSource(FolderFiles(folder)).images()] == [image.root]


def test_an_image_without_a_name_leaves_its_named_entry_be(folder: Path, image: Image) -> None:
    destination = open_destination(folder)

    put(destination, image, "app")
    put(destination, image, None)
    destination.commit()

    assert OciLayoutSource(FolderFiles(folder)).images("app")[0].root == image.root


def test_a_layout_tells_what_it_has(folder: Path, image: Image, other_image: Image) -> None:
    write_layout(folder, {"app": image})
    destination = open_destination(folder)

    assert destination.resolve("app") == destination.resolve(image.digest) == image.root
    assert destination.resolve("other") is None
    assert destination.has_manifest(image.root)
    assert destination.has_blob(blob(digest_of(image.config), image.config))
    assert not destination.has_blob(blob(digest_of(other_image.config), other_image.config))


def test_a_manifest_that_no_image_names_may_lack_its_parts(folder: Path, multi: Image) -> None:
    child = Descriptor.from_json(multi.manifest["manifests"][0])
    write_layout(folder, {"multi": multi})

    assert not open_destination(folder).has_manifest(child)


def test_a_blob_of_the_wrong_length_counts_as_missing(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    (folder / f"blobs/{image.layers[0].replace(':', '/')}").write_bytes(b"cut")

    assert not open_destination(folder).has_blob(blob(image.layers[0], image.blobs[image.layers[0]]))


def test_layout_has_no_damaged_blob(folder: Path, image: Image) -> None:
    digest = image.layers[0]
    write_layout(folder, {"app": image})
    (folder / f"blobs/{digest.replace(':', '/')}").write_bytes(bytes(len(image.blobs[digest])))
    destination = open_destination(folder)

    assert not destination.has_blob(blob(digest, image.blobs[digest]))
    assert not destination.has_manifest(image.root)


def test_files_are_made_with_the_mode_that_openly_made_files_have(folder: Path, image: Image, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()

    put_all(folder, image, "app")

    modes = {path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_layout_as_it_was(folder: Path, image: Image, large_image: Image) -> None:
    write_layout(folder, {"app": image})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    with pytest.raises(DestinationError, match=r"cannot be written: File too large. The previous content is unchanged"):
        put(open_destination(folder), large_image, "app")

    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    config = folder / f"blobs/{digest_of(large_image.config).replace(':', '/')}"
    assert after == {**before, config: large_image.config}


def test_a_layout_whose_first_image_failed_can_be_gone_on_with(folder: Path, image: Image) -> None:
    destination = open_destination(folder)
    destination.put_blob(blob(digest_of(image.config), image.config), content_of(image.config))

    put_all(folder, image, "app")

    assert read_image(OciLayoutSource(FolderFiles(folder)), image.root) == image.contents


def test_the_name_is_the_last_thing_that_is_written(folder: Path, image: Image) -> None:
    destination = open_destination(folder)
    content = image.contents[image.digest]

    for digest, part in image.blobs.items():
        destination.put_blob(blob(digest, part), content_of(part))
    destination.put_manifest(parse_manifest(content))

    assert not (folder / "index.json").exists()


def test_a_folder_with_other_files_is_not_written_to(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").touch()

    with pytest.raises(DestinationError, match=r"has files but no OCI layout. Choose an empty or a new folder"):
        open_destination(folder)


def test_a_file_is_no_place_for_a_layout(folder: Path) -> None:
    folder.touch()

    with pytest.raises(DestinationError, match=r"is not a folder. For an archive, write oci-archive:"):
        open_destination(folder)


def test_an_empty_folder_is_a_place_for_a_layout(folder: Path, image: Image) -> None:
    folder.mkdir()

    put_all(folder, image, "app")

    assert OciLayoutSource(FolderFiles(folder)).images("app")[0].root == image.root
