# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse manifests and indexes."""

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
    """Return an image's manifest with replaced members; ``None`` removes one."""
    return encode({key: value for key, value in {**image.manifest, **members}.items() if value is not None})


@pytest.mark.parametrize(("docker", "media_type"), [(False, OCI_MANIFEST), (True, DOCKER_MANIFEST)])
def test_manifest_has_config_and_layers(docker: bool, media_type: str) -> None:
    image = make_image(docker=docker)

    manifest = parse_manifest(image.contents[image.digest])

    assert manifest.descriptor == image.root
    assert manifest.descriptor.media_type == media_type
    assert [blob.digest for blob in manifest.blobs] == list(image.blobs)
    assert manifest.manifests == ()


@pytest.mark.parametrize(("docker", "media_type"), [(False, OCI_INDEX), (True, DOCKER_INDEX)])
def test_index_has_manifests_with_platforms(docker: bool, media_type: str) -> None:
    child = make_image(docker=docker)
    image = make_index({"linux/amd64": child}, docker=docker)

    index = parse_manifest(image.contents[image.digest])

    assert index.descriptor.media_type == media_type
    assert [(entry.digest, str(entry.platform)) for entry in index.manifests] == [(child.digest, "linux/amd64")]
    assert index.blobs == ()


def test_manifest_keeps_its_exact_bytes(image: Image) -> None:
    content = json.dumps(image.manifest, indent=3).encode()

    manifest = parse_manifest(content)

    assert (manifest.content, manifest.descriptor.digest) == (content, digest_of(content))


def test_manifest_lists_repeated_blob_once(image: Image) -> None:
    first = image.manifest["layers"][0]

    manifest = parse_manifest(changed(image, layers=[first, first]))

    assert [blob.digest for blob in manifest.blobs] == [image.manifest["config"]["digest"], first["digest"]]


def test_manifest_without_media_type_gets_that_of_its_descriptor(image: Image) -> None:
    manifest = parse_manifest(changed(image, mediaType=None), DOCKER_MANIFEST)

    assert manifest.descriptor.media_type == DOCKER_MANIFEST


@pytest.mark.parametrize("whole", [make_image(), make_index({"linux/amd64": make_image()})])
def test_manifest_without_any_media_type_is_recognized_by_its_members(whole: Image) -> None:
    assert parse_manifest(changed(whole, mediaType=None)).descriptor.media_type == whole.root.media_type


def test_manifest_keeps_its_sha512_digest(image: Image) -> None:
    content = image.contents[image.digest]

    manifest = parse_manifest(content, OCI_MANIFEST, digest_of(content, "sha512"))

    assert manifest.descriptor.digest == digest_of(content, "sha512")


def test_manifest_with_other_media_type_than_expected_is_rejected(image: Image) -> None:
    # Some clients would parse it as a manifest, others as an index: CVE-2021-41190.
    with pytest.raises(InputError, match=r"instead of application/vnd.oci.image.index"):
        parse_manifest(image.contents[image.digest], OCI_INDEX)


def test_schema_1_manifest_is_rejected_with_advice() -> None:
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
def test_invalid_manifest_is_rejected(content: bytes) -> None:
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
def test_manifest_with_invalid_descriptor_is_rejected(image: Image, members: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parse_manifest(changed(image, **members))


@pytest.mark.parametrize("text", [rb"\ud83d\ude00", rb"\uD83D\uDE00", "😀".encode(), rb"\\ud83d", rb"\u00e9"])
def test_manifest_with_surrogate_pair_is_accepted(image: Image, text: bytes) -> None:
    content = changed(image, annotations={"note": "NOTE"}).replace(b"NOTE", text)

    assert parse_manifest(content).content == content


def test_manifest_of_maximum_size_is_accepted(image: Image) -> None:
    content = image.contents[image.digest]

    assert parse_manifest(content + b" " * (MAXIMUM_SIZE - len(content))).descriptor.size == MAXIMUM_SIZE


def test_manifest_above_maximum_size_is_rejected(image: Image) -> None:
    content = image.contents[image.digest]

    with pytest.raises(InputError, match=f"more than the {MAXIMUM_SIZE} that registries accept"):
        parse_manifest(content + b" " * (MAXIMUM_SIZE + 1 - len(content)))
