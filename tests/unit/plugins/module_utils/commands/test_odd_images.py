# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images with invalid names, null members or unusual manifests: each arrives, or fails alone with a reason."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_CONFIG, OCI_MANIFEST
from unit.plugins.module_utils.support.images import (
    REFERENCE_NAME,
    Image,
    describe,
    encode,
    index_of,
    make_image,
    make_index,
    tar,
    write_docker_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tool_layouts import CONTAINERD_NAME, Entry, named, write_entries

Run = Callable[..., dict[str, Any]]
SBOM = "application/vnd.example.sbom"
NEIGHBOR = make_image(annotations={"is": "the neighbor"})
ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"


def document(media_type: str, value: dict[str, Any], **contents: bytes) -> Image:
    """Return a manifest of any kind."""
    content = encode(value)
    return Image(Descriptor(media_type, digest_of(content), len(content)), {**contents, digest_of(content): content})


def config_of(value: dict[str, Any]) -> Image:
    """Return an image without layers that has this config."""
    config = encode(value)
    parts = {"config": describe(config, OCI_CONFIG), "layers": None}
    image = document(OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts})
    return Image(image.root, {digest_of(config): config, **image.contents}, config)


NAMES = {
    "chart:1.0+up2": r"'1.0\+up2' is not a valid tag. .*Helm writes _ in place of \+",
    "team/my app:1": "'team/my app' is not a valid repository path",
    "example.com/Team/App:1": r"upper case is not allowed",
    f"example.com/{'long/' * 60}app:1": "is longer than 255 characters",
    "<none>:<none>": "is not a valid image name",
    "app:1\n\x1b[31m": "is not a valid image name",
}


def write_named_archive(folder: Path, entries: list[tuple[str, Image]]) -> str:
    """Write images with these names to a Docker archive."""
    return f"docker-archive:{write_docker_archive(folder / 'app.tar', [([name], image) for name, image in entries])}"


def write_named_layout(folder: Path, entries: list[tuple[str, Image]]) -> str:
    """Write images with these names to a layout."""
    return f"oci:{write_entries(folder, [named(image, name) for name, image in entries])}"


@pytest.mark.parametrize("write", [write_named_archive, write_named_layout])
@pytest.mark.parametrize("name", NAMES)
def test_push_fails_only_image_whose_name_is_invalid(
    push: Run,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    write: Callable[[Path, list[tuple[str, Image]]], str],
    name: str,
) -> None:
    source = write(tmp_path, [("example.com/neighbor:1", image), (name, NEIGHBOR)])

    result = push(source)
    renamed = push({"source": f"{source}:@1", "name": "example.com/renamed:1"})

    assert result["msg"].startswith("1 of 2 images failed.\n")
    assert "Select it with @1 in place of a name, and set its name with the option name" in result["msg"]
    assert re.search(NAMES[name], result["msg"])
    assert not renamed.get("failed")
    assert set(server.manifests) == {"neighbor", "renamed"}


def nested(image: Image) -> Image:
    return make_index({"linux/amd64": make_index({"linux/amd64": image})})


def without_media_type(image: Image) -> Entry:
    value = {key: part for key, part in image.manifest.items() if key != "mediaType"}
    made = document(OCI_MANIFEST, value)
    entry, members = named(Image(made.root, {**image.contents, **made.contents}), "example.com/odd:1")
    return entry, {**members, "mediaType": None}


def embedded(image: Image) -> Entry:
    """Return an image whose config is only in the ``data`` of its descriptor, and an index that embeds a manifest."""
    config = image.manifest["config"]
    value = {**image.manifest, "config": {**config, "data": encoded(image.config)}}
    made = document(OCI_MANIFEST, value)
    manifest = {**made.root.to_json(), "data": encoded(made.contents[made.digest])}
    contents = {digest: content for digest, content in image.contents.items() if digest != config["digest"]}
    return named(index_of([manifest], Image(image.root, contents)), "example.com/odd:1")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def with_nulls(image: Image) -> Entry:
    layers = [
        {**each, "annotations": None, "urls": None, "data": None, "platform": None} for each in image.manifest["layers"]
    ]
    value = {**image.manifest, "layers": layers, "annotations": None, "subject": None, "artifactType": None}
    made = document(OCI_MANIFEST, value)
    listed = {**made.root.to_json(), "platform": None, "annotations": {"a": None}, "urls": None}
    odd = index_of([listed], image, made, annotations=None, subject=None)
    return odd, {"annotations": {CONTAINERD_NAME: None, **named(odd, "example.com/odd:1")[1]["annotations"]}}


ODD: dict[str, Callable[[Image], Entry]] = {
    "two conventions of names": lambda image: (
        image,
        {"annotations": {CONTAINERD_NAME: "example.com/odd:1", REFERENCE_NAME: "1"}},
    ),
    "containerd's name is not valid": lambda image: (
        image,
        {"annotations": {CONTAINERD_NAME: "A B:1", REFERENCE_NAME: "example.com/odd:1"}},
    ),
    "nested indexes": lambda image: named(nested(image), "example.com/odd:1"),
    "no media types": without_media_type,
    "embedded content": embedded,
    "null members": with_nulls,
    "no layers": lambda _image: named(config_of({"os": "linux", "architecture": "amd64"}), "example.com/odd:1"),
    "an index of nothing": lambda _image: named(index_of(None), "example.com/odd:1"),
    "an empty platform": lambda image: named(
        index_of([{**image.root.to_json(), "platform": {"os": "", "architecture": ""}}], image),
        "example.com/odd:1",
    ),
}


@pytest.mark.parametrize("form", ODD)
def test_odd_image_arrives_unchanged_and_is_pulled_back(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path, image: Image, form: str
) -> None:
    odd = ODD[form](image)
    source = write_entries(tmp_path / "source", [odd, named(NEIGHBOR, "example.com/team/neighbor:1")])

    pushed = push(f"oci:{source}")
    pulled = pull({"name": "example.com/odd:1", "dest": f"oci:{tmp_path}/pulled"})
    again = push({"source": f"oci:{tmp_path}/pulled", "name": "example.com/again:1"})

    for result in (pushed, pulled, again):
        assert (result.get("msg"), result["images"][0]["digest"]) == (None, odd[0].digest)
    assert server.digest_of("team/neighbor", "1") == NEIGHBOR.digest


REJECTED: dict[str, tuple[Image, str]] = {
    "schema 1": (
        document(
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            {"schemaVersion": 1, "name": "app", "fsLayers": []},
        ),
        "has Docker's schema 1",
    ),
    "draft of OCI 1.1": (
        document(ARTIFACT_MANIFEST, {"mediaType": ARTIFACT_MANIFEST, "artifactType": SBOM, "blobs": []}),
        "is an artifact manifest of a draft of OCI 1.1",
    ),
    "no config": (
        document(OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": None, "layers": []}),
        "has no config",
    ),
}


@pytest.mark.parametrize("form", REJECTED)
@pytest.mark.parametrize("in_index", [True, False])
def test_rejected_manifest_fails_alone_with_its_kind(
    push: Run, server: RegistryServer, tmp_path: Path, form: str, in_index: bool
) -> None:
    odd, reason = REJECTED[form]
    root = index_of([odd.root.to_json()], odd) if in_index else odd
    entries = [named(root, "example.com/odd:1"), named(NEIGHBOR, "example.com/team/neighbor:1")]

    result = push(f"oci:{write_entries(tmp_path, entries)}")

    assert result["msg"].startswith("1 of 2 images failed.\nexample.com/odd:1: ")
    assert reason in result["msg"]
    assert set(server.manifests) == {"team/neighbor"}


def test_damaged_entry_of_index_json_is_named_by_position(push: Run, tmp_path: Path, image: Image) -> None:
    entries = [named(image, "example.com/team/app:1"), named(image, "example.com/team/app:2", size=None)]

    result = push(f"oci:{write_entries(tmp_path, entries)}")

    assert "entry 1 of its manifests cannot be used: a descriptor's size is not a valid number" in result["msg"]


def test_embedded_content_with_other_digest_is_not_used(push: Run, tmp_path: Path, image: Image) -> None:
    other = encode({"architecture": "arm64"})
    value = {**image.manifest, "config": {**image.manifest["config"], "data": encoded(other)}}
    made = document(OCI_MANIFEST, value)
    contents = {digest: image.contents[digest] for digest in image.layers}
    source = write_entries(tmp_path, [named(Image(made.root, {**contents, **made.contents}), "example.com/app:1")])

    results = [push(f"oci:{source}", check_mode=check_mode) for check_mode in (True, False)]

    for result in results:
        assert f"does not have the blob {digest_of(image.config)}" in result["msg"]


def test_push_of_same_image_with_several_names_pushes_each(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    names = ["example.com/team/app:1", "example.com/team/app:2", "example.com/team/app:1"]

    result = push(f"oci:{write_entries(tmp_path, [named(image, name) for name in names])}")

    assert [each["name"] for each in result["images"]] == names
    assert server.digest_of("team/app", "1") == server.digest_of("team/app", "2") == image.digest


@pytest.mark.parametrize("rootfs", [{"type": "layers"}, {"type": "layers", "diff_ids": None}])
@pytest.mark.parametrize("layers", [{}, {"Layers": None}, {"Layers": []}])
def test_docker_archive_of_image_without_layers_is_pushed(
    push: Run, server: RegistryServer, tmp_path: Path, rootfs: dict[str, Any], layers: dict[str, Any]
) -> None:
    config = encode({"os": "linux", "architecture": "amd64", "rootfs": rootfs})
    listing = encode([{"Config": "config.json", "RepoTags": ["app:1"], **layers}])
    (tmp_path / "app.tar").write_bytes(tar(("config.json", config), ("manifest.json", listing)))

    result = push(f"docker-archive:{tmp_path}/app.tar")

    assert result.get("msg") is None
    assert server.blobs["library/app"] == {digest_of(config): config}


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
def test_image_without_layers_is_pulled_to_each_kind_of_file(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path, kind: str
) -> None:
    image = config_of({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}})
    server.fill("library/app", "1", image)

    pulled = pull({"name": "app:1", "dest": f"{kind}:{tmp_path}/app:app:1"})
    again = push({"source": f"{kind}:{tmp_path}/app", "name": "again:1"})

    for result in (pulled, again):
        assert (result.get("msg"), result["images"][0]["digest"]) == (None, image.digest)
