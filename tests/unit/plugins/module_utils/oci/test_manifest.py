# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests and indexes, and what each points to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAXIMUM_SIZE,
    OCI_INDEX,
    OCI_MANIFEST,
    parse_manifest,
)
from unit.plugins.module_utils.support.images import Image, encode, make_image, make_index


def changed(image: Image, **members: Any) -> bytes:
    """Return an image's manifest with other members; ``None`` leaves one out."""
    return encode({key: value for key, value in {**image.manifest, **members}.items() if value is not None})


@pytest.mark.parametrize(("docker", "media_type"), [(False, OCI_MANIFEST), (True, DOCKER_MANIFEST)])
def test_a_manifest_points_to_its_config_and_its_layers(docker: bool, media_type: str) -> None:
    image = make_image(docker=docker)

    manifest = parse_manifest(image.contents[image.digest])

    assert manifest.descriptor == image.root
    assert manifest.descriptor.media_type == media_type
    assert [blob.digest for blob in manifest.blobs] == list(image.blobs)
    assert manifest.manifests == ()


@pytest.mark.parametrize(("docker", "media_type"), [(False, OCI_INDEX), (True, DOCKER_INDEX)])
def test_an_index_points_to_its_manifests_with_their_platforms(docker: bool, media_type: str) -> None:
    child = make_image(docker=docker)
    image = make_index({"linux/amd64": child}, docker=docker)

    index = parse_manifest(image.contents[image.digest])

    assert index.descriptor.media_type == media_type
    assert [(entry.digest, str(entry.platform)) for entry in index.manifests] == [(child.digest, "linux/amd64")]
    assert index.blobs == ()


def test_a_manifest_keeps_its_exact_bytes(image: Image) -> None:
    content = json.dumps(image.manifest, indent=3).encode()

    manifest = parse_manifest(content)

    assert (manifest.content, manifest.descriptor.digest) == (content, digest_of(content))


def test_a_blob_that_is_named_twice_is_needed_once(image: Image) -> None:
    first = image.manifest["layers"][0]

    manifest = parse_manifest(changed(image, layers=[first, first]))

    assert [blob.digest for blob in manifest.blobs] == [image.manifest["config"]["digest"], first["digest"]]


def test_a_manifest_that_does_not_say_its_kind_is_what_it_is_named_as(image: Image) -> None:
    manifest = parse_manifest(changed(image, mediaType=None), DOCKER_MANIFEST)

    assert manifest.descriptor.media_type == DOCKER_MANIFEST


@pytest.mark.parametrize("whole", [make_image(), make_index({"linux/amd64": make_image()})])
def test_the_members_tell_a_manifest_from_an_index_where_nothing_else_does(whole: Image) -> None:
    assert parse_manifest(changed(whole, mediaType=None)).descriptor.media_type == whole.root.media_type


def test_a_manifest_that_is_named_by_its_sha512_keeps_that_name(image: Image) -> None:
    content = image.contents[image.digest]

    manifest = parse_manifest(content, OCI_MANIFEST, digest_of(content, "sha512"))

    assert manifest.descriptor.digest == digest_of(content, "sha512")


def test_a_manifest_that_contradicts_its_name_is_refused(image: Image) -> None:
    # One of both would be taken for the other by someone: CVE-2021-41190.
    with pytest.raises(InputError, match=r"instead of application/vnd.oci.image.index"):
        parse_manifest(image.contents[image.digest], OCI_INDEX)


def test_schema_1_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"schema 1.*Pull and push the image once"):
        parse_manifest(encode({"schemaVersion": 1, "name": "app", "fsLayers": []}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"mediaType": "text/html"}',
        b'{"mediaType": ["application/json"]}',
        b'{"mediaType": 7}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion": ' + b"9" * 5000 + b"}",
        b'{"schemaVersion": NaN, "config": {}, "layers": []}',
        b'{"schemaVersion": -Infinity}',
        b'{"note": "\\ud83d"}',
        b'\xef\xbb\xbf{"schemaVersion": 2}',
        '{"schemaVersion": 2}'.encode("utf-16"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        parse_manifest(content)


@pytest.mark.parametrize(
    "members",
    [
        {"config": None},
        {"config": []},
        {"config": {"mediaType": "x", "digest": "sha256:abc", "size": 1}},
        {"layers": {"a": 1}},
        {"layers": ["text"]},
        {"layers": [{"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": -1}]},
    ],
)
def test_a_manifest_with_a_part_that_cannot_be_named_is_refused(image: Image, members: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parse_manifest(changed(image, **members))


@pytest.mark.parametrize("text", [rb"\ud83d\ude00", rb"\uD83D\uDE00", "😀".encode(), rb"\\ud83d", rb"\u00e9"])
def test_a_whole_character_is_one_however_it_is_written(image: Image, text: bytes) -> None:
    content = changed(image, annotations={"note": "NOTE"}).replace(b"NOTE", text)

    assert parse_manifest(content).content == content


def test_the_largest_manifest_that_registries_take_is_taken(image: Image) -> None:
    content = image.contents[image.digest]

    assert parse_manifest(content + b" " * (MAXIMUM_SIZE - len(content))).descriptor.size == MAXIMUM_SIZE


def test_a_larger_manifest_than_registries_take_is_refused(image: Image) -> None:
    content = image.contents[image.digest]

    with pytest.raises(InputError, match=f"more than the {MAXIMUM_SIZE} that registries accept"):
        parse_manifest(content + b" " * (MAXIMUM_SIZE + 1 - len(content)))
