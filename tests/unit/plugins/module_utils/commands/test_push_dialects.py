# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes of archives as other tools write them, imitated after the documentation and the source of these tools."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from unit.plugins.module_utils.support.images import (
    REFERENCE_NAME,
    Image,
    describe,
    encode,
    layer,
    layout_files,
    make_image,
    make_index,
    tar,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Push = Callable[..., dict[str, Any]]

BUILDKIT_NAMES = {REFERENCE_NAME: "1", "io.containerd.image.name": "example.com/app:1"}


def with_index(files: dict[str, bytes], *entries: dict[str, Any]) -> dict[str, bytes]:
    """Return the files of a layout with other entries in its index."""
    return {**files, "index.json": encode({"schemaVersion": 2, "manifests": entries})}


def write(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive. Return the source, as users write it."""
    path.write_bytes(tar(*files.items()))
    return str(path)


def test_push_copies_archive_of_buildkit_with_attestations(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    statement = make_image(layer("statement", b"{}"), architecture="unknown")
    index = make_index({"linux/amd64": image, "unknown/unknown": statement})
    entry = {**index.root.to_json(), "annotations": {**BUILDKIT_NAMES, "org.opencontainers.image.created": "now"}}

    result = push(write(tmp_path / "app.tar", with_index(layout_files({"": index}), entry)))

    assert result["images"][0]["name"] == "example.com/app:1"
    assert server.digest_of("app", "1") == index.digest


def test_push_copies_archive_of_containerd_with_nested_index(
    push: Push, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    content = encode({"schemaVersion": 2, "mediaType": multi.root.media_type, "manifests": [multi.root.to_json()]})
    outer = describe(content, multi.root.media_type, annotations=BUILDKIT_NAMES)
    files = {**layout_files({"": multi}), f"blobs/{digest_of(content).replace(':', '/')}": content}

    push(write(tmp_path / "app.tar", with_index(files, outer)))

    assert server.digest_of("app", "1") == digest_of(content)
    assert server.digest_of("app", multi.digest) == multi.digest


def test_push_selects_image_by_position_in_layout_without_names(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    files = layout_files({"one": image, "two": other_image})
    write_layout(tmp_path, {"one": image, "two": other_image})
    without_names = with_index(files, image.root.to_json(), other_image.root.to_json())
    (tmp_path / "index.json").write_bytes(without_names["index.json"])

    ambiguous = push({"source": f"oci:{tmp_path}", "name": "example.com/app:1"})
    push({"source": f"oci:{tmp_path}:@1", "name": "example.com/app:1"})

    assert f"Select one by its name or its position: oci:{tmp_path}:@0 is the first" in ambiguous["msg"]
    assert server.digest_of("app", "1") == other_image.digest


def test_push_uses_name_of_entry_for_image_with_two_names(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    archive = write_docker_archive(tmp_path / "app.tar", [(["example.com/app:1", "example.com/app:latest"], image)])

    push({"source": f"docker-archive:{archive}", "name": "example.com/team/app:2"})

    assert server.digest_of("team/app", "2")


def test_push_reads_repeated_layer_through_link(push: Push, server: RegistryServer, tmp_path: Path) -> None:
    empty, app = layer("empty", b""), layer("app", b"the program")
    image = make_image(empty, app, empty)
    paths = [f"{digest_of(file).partition(':')[2]}/layer.tar" for file in (empty, app)]
    listing = [{"Config": "config.json", "RepoTags": ["example.com/app:1"], "Layers": [*paths, "again/layer.tar"]}]
    files = dict(zip(paths, (empty, app)))
    path = tmp_path / "app.tar"
    path.write_bytes(tar(*files.items(), ("config.json", image.config), ("manifest.json", encode(listing))))
    link = tarfile.TarInfo("again/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, f"../{paths[0]}"
    with tarfile.open(path, "a") as archive:
        archive.addfile(link)

    (pushed,) = push(str(path))["images"]

    layers = parse_manifest(server.manifests["app"]["1"][1]).layers
    assert pushed["sent"]["blobs"] == 3
    assert [gzip.decompress(server.blobs["app"][part.digest]) for part in layers] == [empty, app, empty]


def test_push_copies_archive_of_rules_oci_with_compressed_layers(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    paths = [f"blobs/{digest.replace(':', '/')}" for digest in image.blobs]
    listing = [{"Config": paths[0], "RepoTags": ["example.com/app:1"], "Layers": paths[1:]}]
    files = dict(zip(paths, image.blobs.values()))

    push(write(tmp_path / "app.tar", {**files, "manifest.json": encode(listing)}))

    assert set(server.blobs["app"]) == set(image.blobs)
