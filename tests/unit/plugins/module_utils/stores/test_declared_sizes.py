# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The size in each descriptor is compared with the content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from unit.plugins.module_utils.support.images import Image, encode, layout_files, make_index, tar, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer

Run = Callable[..., dict[str, Any]]
PARTS = ("config", "layer", "manifest", "index")
DELTAS = (-1, 1)


def misdescribed(image: Image, part: str, delta: int) -> Image:
    """Return an index of an image with a wrong size in one descriptor. All digests are correct."""
    manifest = image.manifest
    if part in ("config", "layer"):
        described = manifest["config"] if part == "config" else manifest["layers"][-1]
        described["size"] += delta
    content = encode(manifest)
    root = Descriptor(OCI_MANIFEST, digest_of(content), len(content) + (delta if part == "manifest" else 0))
    contents = {digest: image.contents[digest] for digest in image.blobs}
    index = make_index({"linux/amd64": replace(image, root=root, contents={**contents, root.digest: content})})
    return replace(index, root=replace(index.root, size=index.root.size + (delta if part == "index" else 0)))


def files_with_listing(image: Image, index: Image) -> dict[str, bytes]:
    """Return the files of a layout that is also a Docker archive."""
    path = {digest: f"blobs/{digest.replace(':', '/')}" for digest in image.contents}
    listed = {
        "Config": path[digest_of(image.config)],
        "RepoTags": ["example.com/app:1"],
        "Layers": [path[digest] for digest in image.layers],
    }
    return {**layout_files({"example.com/app:1": index}), "manifest.json": encode([listed])}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_push_rejects_size_other_than_declared(
    push: Run,
    server: RegistryServer,
    tmp_path: Path,
    image: Image,
    transport: str,
    part: str,
    delta: int,
    existing: bool,
) -> None:
    if existing:
        server.fill("app", "other", image)
    index = misdescribed(image, part, delta)
    path = tmp_path / "app"
    if transport == "oci":
        write_layout(path, {"example.com/app:1": index})
    else:
        path.write_bytes(tar(*files_with_listing(image, index).items()))

    result = push(f"{transport}:{path}")

    assert result["failed"]
    assert "bytes" in result["msg"]
    assert "1" not in server.manifests.get("app", {})


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("part", PARTS[:-1])
@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_pull_rejects_size_other_than_declared(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, transport: str, part: str, delta: int
) -> None:
    server.fill("team/app", "1", misdescribed(image, part, delta))

    result = pull({"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app"})

    assert result["failed"]
    assert "bytes" in result["msg"]
    assert not (tmp_path / "app" / "index.json").exists()
    assert not (tmp_path / "app").is_file()


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("part", ["config", "layer"])
def test_push_rejects_size_other_than_declared_and_copies_valid_image(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, part: str, delta: int
) -> None:
    wrong = misdescribed(image, part, delta)
    write_layout(tmp_path, {"example.com/app:sound": image, "example.com/app:wrong": wrong})

    result = push(f"oci:{tmp_path}")

    assert ["error" in pushed for pushed in result["images"]] == [False, True]
    assert "wrong" not in server.manifests["app"]
