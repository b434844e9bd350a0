# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read OCI layouts: folders and archives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
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
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import fallback_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores import layout_referrers
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_index import REFERENCE_NAME
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import (
    OciLayoutSource,
)
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    layout_files,
    make_image,
    make_index,
    tar,
    write_layout,
)
from unit.plugins.module_utils.support.stores import blob, read_blob, read_image
from unit.plugins.module_utils.support.tar_entries import free_descriptor

Write = Callable[[Mapping[str, bytes]], Files]


@pytest.fixture(params=["folder", "archive"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes files to a folder or to an archive, and opens it. Tests run with both."""

    def in_folder(files: Mapping[str, bytes]) -> Files:
        for name, content in files.items():
            (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "layout" / name).write_bytes(content)
        return FolderFiles(tmp_path / "layout")

    def in_archive(files: Mapping[str, bytes]) -> Files:
        (tmp_path / "layout.tar").write_bytes(tar(*files.items()))
        return TarFiles(tmp_path / "layout.tar")

    return in_folder if request.param == "folder" else in_archive


def test_layout_lists_all_images_with_names(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image, "example.com/app:2": other_image})))

    assert [(str(found.name), found.root.digest) for found in source.images()] == [
        ("example.com/app:1", image.digest),
        ("example.com/app:2", other_image.digest),
    ]


def test_image_of_layout_is_found_by_name(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image, "example.com/app:2": other_image})))

    assert [found.root.digest for found in source.images("example.com/app:2")] == [other_image.digest]


def test_image_of_layout_is_found_by_digest(write: Write, image: Image, other_image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"one": image, "two": other_image})))

    assert [found.root.digest for found in source.images(other_image.digest)] == [other_image.digest]


def test_missing_image_is_reported_with_existing_images(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"example.com/app:1": image})))

    with pytest.raises(SourceError, match=r"has no image 'example.com/app:2'. It has 1 images: example.com/app:1"):
        source.images("example.com/app:2")


def test_layout_without_images_is_rejected_as_source(write: Write) -> None:
    source = OciLayoutSource(write(layout_files({})))

    with pytest.raises(SourceError, match=r"has no image. It has 0 images"):
        source.images()


def test_single_word_is_not_the_full_name_of_an_image(write: Write, image: Image) -> None:
    # skopeo and buildah write the tag, containerd and Docker the tag or the name.
    source = OciLayoutSource(write(layout_files({"1.2": image})))

    assert [found.name for found in source.images("1.2")] == [None]


def test_full_name_of_containerd_is_the_name_of_the_image(write: Write, image: Image) -> None:
    names = {
        "org.opencontainers.image.ref.name": "1.2",
        "io.containerd.image.name": "docker.io/library/app:1.2",
    }
    entry = {**image.root.to_json(), "annotations": names}
    source = OciLayoutSource(write({**layout_files({"x": image}), "index.json": encode({"manifests": [entry]})}))

    for name in names.values():
        assert [found.name for found in source.images(name)] == [parse_reference("app:1.2")]


def test_image_with_several_platforms_is_read_completely(write: Write, multi: Image) -> None:
    source = OciLayoutSource(write(layout_files({"multi": multi})))

    assert read_image(source, multi.root) == multi.contents


def test_blob_is_read_from_an_offset(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))

    assert read_blob(source, blob(digest_of(image.config), image.config), 10) == image.config[10:]


def test_manifest_with_sha512_digest_is_read(write: Write, image: Image) -> None:
    content = image.contents[image.digest]
    named = Descriptor(OCI_MANIFEST, digest_of(content, "sha512"), len(content))
    files = {
        **layout_files({"x": image}),
        "index.json": encode({"manifests": [named.to_json()]}),
        f"blobs/{named.digest.replace(':', '/')}": content,
    }

    assert OciLayoutSource(write(files)).fetch_manifest(named).descriptor == named


def test_manifest_with_wrong_digest_is_rejected(write: Write, image: Image) -> None:
    path = f"blobs/{image.digest.replace(':', '/')}"
    files = layout_files({"app": image})
    source = OciLayoutSource(write({**files, path: files[path].replace(b"amd64", b"arm64") + b" "}))

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} in .* is damaged"):
        source.fetch_manifest(image.root)


@pytest.mark.parametrize("delta", [-1, 1])
def test_manifest_with_size_other_than_declared_is_rejected(write: Write, image: Image, delta: int) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))
    size = image.root.size

    with pytest.raises(DigestMismatchError, match=f"has {size} bytes instead of {size + delta} as in its descriptor"):
        source.fetch_manifest(replace(image.root, size=size + delta))


def test_missing_manifest_is_reported_with_platform(write: Write, multi: Image) -> None:
    child = Descriptor.from_json(multi.manifest["manifests"][1])
    source = OciLayoutSource(write(layout_files({"multi": multi}, leave_out=[child.digest])))

    with pytest.raises(SourceError, match=rf"has no image for linux/arm64: manifest {child.digest} is missing"):
        read_image(source, multi.root)


def test_missing_blob_is_reported(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image}, leave_out=[image.layers[1]])))

    with pytest.raises(SourceError, match=f"does not have the blob {image.layers[1]}"):
        read_image(source, image.root)


def test_blob_of_other_size_is_not_opened(write: Write, image: Image) -> None:
    source = OciLayoutSource(write(layout_files({"app": image})))
    lying = Descriptor("application/octet-stream", digest_of(image.config), 10**9)

    with pytest.raises(SourceError, match=f"has {len(image.config)} bytes, but should have 1000000000"):
        read_blob(source, lying)


def test_manifest_above_size_limit_is_not_read(write: Write) -> None:
    content = b"{" + b" " * MAXIMUM_SIZE + b"}"
    root = Descriptor(OCI_MANIFEST, digest_of(content), len(content))
    path = f"blobs/{root.digest.replace(':', '/')}"
    source = OciLayoutSource(write({"index.json": encode({"manifests": [root.to_json()]}), path: content}))

    with pytest.raises(SourceError, match=f"has {MAXIMUM_SIZE + 2} bytes; the limit is {MAXIMUM_SIZE}"):
        source.fetch_manifest(root)


def test_schema_1_manifest_is_rejected_with_location_and_advice(write: Write) -> None:
    content = encode({"schemaVersion": 1, "name": "app"})
    image = Image(Descriptor("application/json", digest_of(content), len(content)), {digest_of(content): content})
    source = OciLayoutSource(write(layout_files({"app": image})))

    with pytest.raises(SourceError, match=rf"{image.digest} in .*layout.* schema 1.*Pull and push the image once"):
        source.fetch_manifest(image.root)


def test_deeply_nested_indexes_are_rejected(write: Write) -> None:
    # Content cannot contain its own digest, so a cycle is impossible; only deep nesting is.
    nested = make_image()
    for _level in range(10):
        nested = make_index({"linux/amd64": nested})
    source = OciLayoutSource(write(layout_files({"deep": nested})))

    with pytest.raises(SourceError, match="nested deeper than 8"):
        read_image(source, nested.root)


def test_folder_without_index_json_is_rejected(write: Write) -> None:
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
def test_damaged_index_json_is_rejected(write: Write, index: bytes) -> None:
    with pytest.raises(SourceError, match=r"index.json in .* is damaged"):
        OciLayoutSource(write({"index.json": index}))


@pytest.mark.parametrize("name", ["index.json", "blobs", "blobs/sha256", "config"])
@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_link_in_layout_is_rejected(folder: Path, image: Image, name: str, target: str) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    link = folder / (f"blobs/{config.digest.replace(':', '/')}" if name == "config" else name)
    outside = folder.parent / "outside"
    link.rename(outside)
    link.symlink_to(outside if target == "absolute" else os.path.relpath(outside, link.parent))

    with pytest.raises(SourceError, match=rf"{link} is a link that may point outside the folder. Copy .* cp -rL"):
        read_image(OciLayoutSource(FolderFiles(folder)), image.root)


def test_link_to_layout_is_followed(folder: Path, image: Image) -> None:
    write_layout(folder.parent / "media", {"app": image})
    folder.symlink_to("media")

    assert read_image(OciLayoutSource(FolderFiles(folder)), image.root) == image.contents


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_special_file_in_layout_is_rejected_unread(folder: Path, image: Image, make: Callable[[Path], None]) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    path = folder / f"blobs/{config.digest.replace(':', '/')}"
    path.unlink()
    make(path)

    with pytest.raises(SourceError, match=rf"{path} is not a regular file"):
        read_image(OciLayoutSource(FolderFiles(folder)), image.root)


def test_blob_that_grows_during_read_is_read_to_its_original_size(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    config = blob(digest_of(image.config), image.config)
    source = OciLayoutSource(FolderFiles(folder))

    with source.open_blob(config) as blocks:
        with (folder / f"blobs/{config.digest.replace(':', '/')}").open("ab") as file:
            file.write(b"more")
        content = b"".join(bytes(block) for block in blocks)

    assert content == image.config


def test_read_layout_leaves_no_open_file(folder: Path, image: Image) -> None:
    write_layout(folder, {"app": image})
    free = free_descriptor()
    source = OciLayoutSource(FolderFiles(folder))

    read_image(source, image.root)
    source.files.size("blobs/sha256/missing")
    source.close()

    assert free_descriptor() == free


def test_manifests_above_total_size_limit_are_rejected(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        f"linux/{number}": make_image(architecture=str(number), annotations={"a": "x" * 500}) for number in range(9)
    }
    source = OciLayoutSource(write(layout_files({"app": make_index(parts)})))
    monkeypatch.setattr("ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph._MAXIMUM_BYTES", 5000)

    with pytest.raises(SourceError, match=r"more than 5000 bytes of manifests"):
        read_image(source, source.entries[0])


def test_blob_is_read_on_systems_without_preadv(write: Write, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    source = OciLayoutSource(write(layout_files({"app": image})))

    assert read_image(source, image.root) == image.contents


def test_layout_of_many_indexes_of_referrers_is_listed_in_linear_time(
    write: Write, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [digest_of(b"%d" % number, "sha512") for number in range(100)]
    entries = [{**image.root.to_json(), "annotations": {REFERENCE_NAME: fallback_tag(digest)}} for digest in digests]
    calls: list[str] = []

    def noted(digest: str) -> str:
        calls.append(digest)
        return fallback_tag(digest)

    monkeypatch.setattr(layout_referrers, "fallback_tag", noted)
    source = OciLayoutSource(write({"oci-layout": b"{}", "index.json": encode({"manifests": entries})}))

    found = source.images()

    assert len(found) == len(entries)
    assert len(calls) <= len(entries)
