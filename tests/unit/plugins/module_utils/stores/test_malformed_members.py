# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Malformed files in archives. Each error names the archive, and the file or its digest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    MAXIMUM_CONFIG_SIZE,
    MAXIMUM_SIZE,
    OCI_INDEX,
    OCI_MANIFEST,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import open_source, parse_location
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    layout_files,
    read_tar,
    tar,
    write_docker_archive,
)
from unit.plugins.module_utils.support.stores import read_image
from unit.plugins.module_utils.support.tar_entries import END, entry

Change = Callable[[str, bytes], bytes]

LARGEST = {"manifest.json": MAXIMUM_SIZE, "index.json": MAXIMUM_SIZE, "config": MAXIMUM_CONFIG_SIZE}
CONTENTS = {
    "empty": b"",
    "not JSON": b"<html>",
    "cut": b'[{"manifests": [',
    "a number": b"7",
    "a string": b'"text"',
    "wrong members of a list": b'[{"Config": 7, "Layers": 7}]',
    "wrong members of an object": b'{"manifests": 7, "layers": 7, "rootfs": {"diff_ids": 7}}',
    "NaN": b'{"manifests": NaN, "rootfs": NaN}',
    "deep nesting": b"[" * 100_000,
    "wrong UTF-8": b'{"\xff": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a character": b'{"a": "\\ud800"}',
    "a large number": b"9" * 5000,
}


def members_of(kind: str, folder: Path, image: Image) -> dict[str, bytes]:
    """Return the files of an archive."""
    if kind == "index.json":
        return layout_files({"example.com/app:1": image})
    return read_tar(write_docker_archive(folder / "whole.tar", [(["example.com/app:1"], image)]))


def name_of(kind: str, members: dict[str, bytes]) -> str:
    """Return the name of the file of a kind."""
    return kind if kind in members else next(name for name in members if name.endswith(".json"))


def read_images(path: Path) -> None:
    """Read all images of an archive."""
    with closing(open_source(parse_location(str(path)))) as source:
        for image in source.images():
            read_image(source, image.root)


def failure_of(path: Path) -> str:
    """Return the error of reading all images of an archive."""
    with pytest.raises(K8scrError) as failure:
        read_images(path)
    return str(failure.value)


def require_names(error: str, path: Path, member: str) -> None:
    """Require one line with the names of an archive and of a file in it."""
    assert str(path) in error
    assert member in error
    assert error.isprintable()


@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
@pytest.mark.parametrize("kind", LARGEST)
def test_malformed_member_is_reported_with_archive_and_member(
    path: Path, tmp_path: Path, image: Image, kind: str, content: bytes
) -> None:
    members = members_of(kind, tmp_path, image)
    name = name_of(kind, members)
    if kind == "config":
        # The digest in the name of a config is compared first.
        members["manifest.json"] = members["manifest.json"].replace(name.encode(), b"config")
        del members[name]
        name = "config"
    path.write_bytes(tar(*{**members, name: content}.items()))

    require_names(failure_of(path), path, name)


def missing(_name: str, _content: bytes) -> bytes:
    return b""


def folder(name: str, _content: bytes) -> bytes:
    return entry(name, kind=b"5")


def dangling(name: str, _content: bytes) -> bytes:
    return entry(name, kind=b"2", link="nothing")


def circular(name: str, _content: bytes) -> bytes:
    return entry(name, kind=b"2", link=name)


def duplicate(name: str, content: bytes) -> bytes:
    """The last of several entries with one name is valid (POSIX.1-2001, pax, "Extended Description")."""
    return entry(name, content) + entry(name, b"{")


@pytest.mark.parametrize("change", [missing, folder, dangling, circular, duplicate])
@pytest.mark.parametrize("kind", LARGEST)
def test_unreadable_member_is_reported_with_archive_and_member(
    path: Path, tmp_path: Path, image: Image, kind: str, change: Change
) -> None:
    members = members_of(kind, tmp_path, image)
    changed = name_of(kind, members)
    parts = [change(name, content) if name == changed else entry(name, content) for name, content in members.items()]
    path.write_bytes(b"".join(parts) + END)

    require_names(failure_of(path), path, changed)


@pytest.mark.parametrize(("kind", "limit"), LARGEST.items())
def test_too_large_member_is_reported_with_archive_member_and_limit(
    path: Path, tmp_path: Path, image: Image, kind: str, limit: int
) -> None:
    members = members_of(kind, tmp_path, image)
    name = name_of(kind, members)
    path.write_bytes(tar(*{**members, name: bytes(limit + 1)}.items()))

    error = failure_of(path)

    assert f"{name} in the archive {path} has {limit + 1} bytes; the limit is {limit}" in error


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
def test_malformed_manifest_is_reported_with_archive_and_digest(path: Path, content: bytes, media_type: str) -> None:
    digest = digest_of(content)
    index = encode({"schemaVersion": 2, "manifests": [describe(content, media_type)]})
    path.write_bytes(tar(("index.json", index), (f"blobs/{digest.replace(':', '/')}", content)))

    error = failure_of(path)

    assert f"manifest {digest} in the archive {path} cannot be used" in error


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, None])
def test_document_that_is_a_manifest_and_an_index_is_rejected(path: Path, image: Image, media_type: str | None) -> None:
    both = {**image.manifest, "manifests": [describe(b"", OCI_MANIFEST)], "mediaType": media_type}
    content = encode({key: value for key, value in both.items() if value})
    digest = digest_of(content)
    index = encode({"schemaVersion": 2, "manifests": [describe(content, media_type or OCI_MANIFEST)]})
    path.write_bytes(tar(("index.json", index), (f"blobs/{digest.replace(':', '/')}", content)))

    error = failure_of(path)

    assert f"{digest} in the archive {path} cannot be used: the document has both layers and manifests" in error


def test_image_config_of_several_mebibytes_is_accepted(path: Path, image: Image) -> None:
    config = encode({"rootfs": {"diff_ids": [digest_of(file) for file in image.files]}, "sbom": "x" * (5 << 20)})
    listed = [{"Config": "config", "RepoTags": ["example.com/app:1"], "Layers": ["one", "two"]}]
    files = (("config", config), ("one", image.files[0]), ("two", image.files[1]), ("manifest.json", encode(listed)))
    path.write_bytes(tar(*files))

    with closing(open_source(parse_location(str(path)))) as source:
        (found,) = source.images()
        contents = read_image(source, found.root)

    assert contents[digest_of(config)] == config


@pytest.mark.parametrize("kind", ["oci-archive", "oci"])
def test_image_config_above_the_limit_is_rejected_in_layouts_too(path: Path, image: Image, kind: str) -> None:
    manifest = image.manifest
    manifest["config"]["size"] = MAXIMUM_CONFIG_SIZE + 1
    content = encode(manifest)
    digest = digest_of(content)
    index = encode({"schemaVersion": 2, "manifests": [describe(content, OCI_MANIFEST)]})
    files = {"index.json": index, f"blobs/{digest.replace(':', '/')}": content}
    if kind == "oci":
        for name, part in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(part)
    else:
        path.write_bytes(tar(*files.items()))

    with closing(open_source(parse_location(str(path)))) as source, pytest.raises(SourceError) as failure:
        source.fetch_manifest(source.images()[0].root)

    expected = f"the image's config {digest_of(image.config)} has {MAXIMUM_CONFIG_SIZE + 1} bytes; the limit is"
    assert str(path) in str(failure.value)
    assert expected in str(failure.value)
