# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compression of uncompressed layers during a push. The images stay the same for later pushes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    OCI_LAYER,
    OCI_MANIFEST,
    parse_manifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.images import (
    OCI_LAYER_GZIP,
    Image,
    describe,
    encode,
    layer,
    layout_files,
    make_image,
    tar,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Push = Callable[..., dict[str, Any]]


def archive(folder: Path, image: Image, name: str = "app:1") -> str:
    """Write a Docker archive of one image. Return the source, as users write it."""
    path = folder / f"{name.replace(':', '-')}-{image.digest[-8:]}.tar"
    write_docker_archive(path, [([f"example.com/{name}"], image)])
    return f"docker-archive:{path}"


def uncompressed(image: Image) -> Image:
    """Return the same image with uncompressed layers, and with a manifest for these."""
    layers = [describe(file, OCI_LAYER) for file in image.files]
    content = encode({**image.manifest, "layers": layers})
    root = parse_manifest(content).descriptor
    parts = (image.config, *image.files, content)
    return replace(image, root=root, contents={digest_of(part): part for part in parts})


def save_as_docker_25(path: Path, image: Image) -> str:
    """Write an archive as Docker 25 and later save it: an OCI layout with ``manifest.json`` beside its index."""
    files = layout_files({"example.com/app:1": image})
    paths = [f"blobs/{digest.replace(':', '/')}" for digest in image.blobs]
    listing = [{"Config": paths[0], "RepoTags": ["example.com/app:1"], "Layers": paths[1:]}]
    path.write_bytes(tar(*files.items(), ("manifest.json", encode(listing))))
    return f"docker-archive:{path}"


def layers_of(server: RegistryServer, repository: str = "app", tag: str = "1") -> list[tuple[str, bytes]]:
    """Return the media types and the contents of the layers of an image in the registry."""
    manifest = parse_manifest(server.manifests[repository][tag][1])
    return [(part.media_type, server.blobs[repository][part.digest]) for part in manifest.layers]


def test_push_compresses_layers_of_docker_archive(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    (pushed,) = push(archive(tmp_path, image))["images"]

    layers = layers_of(server)
    assert [gzip.decompress(content) for _media_type, content in layers] == list(image.files)
    assert {media_type for media_type, _content in layers} == {OCI_LAYER_GZIP}
    assert pushed["digest"] == server.digest_of("app", "1")
    assert pushed["sent"]["bytes"] == len(image.config) + sum(len(content) for _media_type, content in layers)
    assert [blob.get("uncompressed") for blob in pushed["blobs"]] == [None, *map(digest_of, image.files)]


def test_push_keeps_layers_uncompressed_with_compression_none(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    (pushed,) = push(archive(tmp_path, image), compression="none")["images"]

    assert layers_of(server) == [(OCI_LAYER, file) for file in image.files]
    assert "uncompressed" not in pushed["blobs"][1]


@pytest.mark.parametrize("choice", ["auto", "none", "gzip", "zstd"])
@pytest.mark.parametrize("before", ["none", "gzip", "zstd"])
def test_push_changes_nothing_with_other_compression(
    push: Push, tmp_path: Path, image: Image, before: str, choice: str
) -> None:
    source = archive(tmp_path, image)
    digest = push(source, compression=before)["images"][0]["digest"]

    again = push(source, compression=choice)

    assert (again["changed"], again["images"][0]["digest"]) == (False, digest)


def test_check_mode_reports_uncompressed_sizes_of_layers_to_compress(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    result = push(archive(tmp_path, image), check_mode=True)

    (planned,) = result["images"]
    assert result["changed"] is True
    assert planned["digest"] is None
    assert planned["blobs"] == [
        {"digest": digest_of(image.config), "size": len(image.config), "action": "sent"},
        *(
            {"digest": None, "size": len(file), "action": "sent", "uncompressed": digest_of(file)}
            for file in image.files
        ),
    ]
    assert planned["sent"] == {"blobs": 3, "bytes": len(image.config) + sum(map(len, image.files))}
    assert result["diff"]["after"].startswith("app:1 (known after compression) (2 of 2 layers, ")
    assert result["diff"]["after"].endswith(" KiB uncompressed to copy)\n")
    assert server.received("POST", "PATCH", "PUT") == []


def test_check_mode_reports_digests_of_layers_compressed_before(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    source = archive(tmp_path, image)
    push(source)
    server.manifests.clear()

    planned = push(source, check_mode=True)

    assert planned == push(source)
    assert planned["images"][0]["digest"] == server.digest_of("app", "1")


def test_push_skips_existing_compressed_layer(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    push(archive(tmp_path, image))

    (pushed,) = push(archive(tmp_path, other_image))["images"]

    assert [blob["action"] for blob in pushed["blobs"]] == ["sent", "present", "sent"]
    assert [gzip.decompress(content) for _media_type, content in layers_of(server)] == list(other_image.files)


def test_push_skips_layers_of_interrupted_push(
    push: Push, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    source = archive(tmp_path, image)
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            push(source)

    (pushed,) = push(source)["images"]

    assert (pushed["changed"], pushed["sent"]["blobs"]) == (True, 0)


def test_push_keeps_existing_uncompressed_layer(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    push(archive(tmp_path, image), compression="none")

    (pushed,) = push(archive(tmp_path, other_image))["images"]

    assert [blob["action"] for blob in pushed["blobs"]] == ["sent", "present", "sent"]
    assert [media_type for media_type, _content in layers_of(server)] == [OCI_LAYER, OCI_LAYER_GZIP]


def test_push_compresses_and_uploads_common_layer_once(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    sources = [archive(tmp_path, image, "a:1"), archive(tmp_path, other_image, "b:1"), archive(tmp_path, image, "a:2")]

    first, second, third = push(*sources)["images"]

    assert [blob["action"] for blob in first["blobs"]] == ["sent", "sent", "sent"]
    assert [blob["action"] for blob in second["blobs"]] == ["sent", "mounted", "sent"]
    assert [blob["action"] for blob in third["blobs"]] == ["present", "present", "present"]
    assert [gzip.decompress(content) for _media_type, content in layers_of(server, "b")] == list(other_image.files)
    assert third["digest"] == first["digest"] == server.digest_of("a", "2")


def test_push_compresses_layer_again_after_rejected_mount(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    push(archive(tmp_path, image, "a:1"))
    server.mounts = False

    (pushed,) = push(archive(tmp_path, image, "b:1"))["images"]

    assert [blob["action"] for blob in pushed["blobs"]] == ["sent", "sent", "sent"]
    assert layers_of(server, "b") == layers_of(server, "a")


def test_push_stores_layer_compressed_and_uncompressed_for_two_images(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    raw = uncompressed(image)
    write_layout(tmp_path / "layout", {"example.com/raw:1": raw})

    push(archive(tmp_path, image, "app:1"), f"oci:{tmp_path}/layout")

    assert server.digest_of("raw", "1") == raw.digest
    assert layers_of(server, "raw") == [(OCI_LAYER, file) for file in image.files]


def test_push_keeps_layers_of_layout_unchanged(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    raw = uncompressed(image)
    write_layout(tmp_path, {"example.com/app:1": raw})

    push(f"oci:{tmp_path}", compression="gzip")

    assert server.digest_of("app", "1") == raw.digest


def test_push_compresses_uncompressed_layers_of_docker_25(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    push(save_as_docker_25(tmp_path / "app.tar", uncompressed(image)))

    assert [gzip.decompress(content) for _media_type, content in layers_of(server)] == list(image.files)
    assert server.manifests["app"]["1"][0] == OCI_MANIFEST


def test_push_keeps_manifest_of_image_with_compressed_layers(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    push(save_as_docker_25(tmp_path / "app.tar", image))

    assert server.digest_of("app", "1") == image.digest


def test_push_by_digest_keeps_layers_uncompressed(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    raw = uncompressed(image)
    source = save_as_docker_25(tmp_path / "app.tar", raw)

    (pushed,) = push({"source": source, "name": f"example.com/app@{raw.digest}"})["images"]

    assert (pushed["changed"], pushed["digest"]) == (True, raw.digest)


def test_push_sets_no_tag_for_damaged_layer(push: Push, server: RegistryServer, tmp_path: Path) -> None:
    image = make_image(layer("app", b"the program"))
    path = tmp_path / "app.tar"
    write_docker_archive(path, [(["example.com/app:1"], image)])
    path.write_bytes(path.read_bytes().replace(b"the program", b"the pr0gram"))

    (pushed,) = push(f"docker-archive:{path}")["images"]

    assert f"blob {digest_of(image.files[0])} in the archive {path} is damaged" in pushed["error"]
    assert "Create or copy it again" in pushed["error"]
    assert server.digest_of("app", "1") is None
