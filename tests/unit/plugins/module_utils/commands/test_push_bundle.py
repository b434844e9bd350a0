# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_push`` from bundles: whole ones, volumes and deltas."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_archive import BundleArchive
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_folder import BundleFolder
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import (
    BundleImage,
    BundleManifest,
    OmittedBlob,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.volume_destination import VolumesDestination
from unit.plugins.module_utils.support.bundle_tasks import bundle_to
from unit.plugins.module_utils.support.bundles import NAME, OTHER, description, write_bundle
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.stores import put

from ..transfer.test_referrer_jobs import referrers_tag

Push = Callable[..., dict[str, Any]]
SIZE = 64 << 10


@pytest.fixture
def medium() -> Image:
    """An image whose layers need two volumes."""
    return make_image(*(layer(name, hashlib.shake_256(name.encode()).digest(24 << 10)) for name in "abc"))


def write_delta(path: Path, name: str, image: Image, omitted: Sequence[str], repository: str = "team/app") -> None:
    """Write a bundle of an image without some of its layers."""
    with closing(BundleFolder(path)) as store:
        store.omitted = set(omitted)
        store.begin()
        kept = {digest: data for digest, data in image.contents.items() if digest not in omitted}
        put(store, Image(image.root, kept), name)
        store.commit()
        bundle = replace(
            description((name, image)),
            base=(BundleImage("example.com/team/base:1", f"sha256:{'0' * 64}", 1),),
            omitted={digest: OmittedBlob(len(image.contents[digest]), (repository,)) for digest in omitted},
        )
        store.finish(bundle)


def test_push_from_empty_drive_says_what_to_check(push: Push, tmp_path: Path) -> None:
    message = push(f"bundle:{tmp_path}")["msg"]

    assert f"the folder {tmp_path} is not a bundle: it has no bundle.json. Check the path, and that" in message


@pytest.mark.parametrize("prefix", ["", "bundle:"])
@pytest.mark.parametrize("kind", [BundleFolder, BundleArchive, lambda path: VolumesDestination(path, SIZE)])
def test_push_uploads_images_of_every_kind_of_bundle(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, multi: Image, kind: Any, prefix: str
) -> None:
    write_bundle(kind(tmp_path / "bundle"), (NAME, image), (OTHER, multi), extras={"extras/a": b"more"})

    result = push(f"{prefix}{tmp_path}/bundle")

    assert [each["name"] for each in result["images"]] == [NAME, OTHER]
    assert server.digest_of("team/app", "1") == image.digest
    assert server.digest_of("team/other", "1") == multi.digest
    assert push(f"{prefix}{tmp_path}/bundle")["changed"] is False


def test_push_uploads_one_image_of_bundle(push: Push, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    write_bundle(BundleFolder(tmp_path / "bundle"), (NAME, image), (OTHER, image))

    result = push(f"bundle:{tmp_path}/bundle:{OTHER}")

    assert [each["name"] for each in result["images"]] == [OTHER]


def test_push_of_incomplete_bundle_fails_before_upload(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    store = BundleFolder(tmp_path / "bundle")
    write_bundle(store, (NAME, image))
    store.begin()

    result = push(str(tmp_path / "bundle"))

    assert "is incomplete. Run the task with k8scr_bundle again until it succeeds" in result["msg"]
    assert not server.manifests


def test_push_continues_with_the_next_volume(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, medium: Image
) -> None:
    write_bundle(VolumesDestination(tmp_path / "bundle", SIZE), (NAME, image), (OTHER, medium))
    drive = tmp_path / "drive"
    drive.symlink_to(tmp_path / "bundle/volume-1")

    first = push(f"bundle:{drive}")

    assert first["failed"]
    assert [each.get("error") is None for each in first["images"]] == [True, False]
    assert "Insert volume 2 of 2 (bundle" in first["msg"]
    assert server.digest_of("team/app", "1") == image.digest
    drive.unlink()
    drive.symlink_to(tmp_path / "bundle/volume-2")
    second = push(f"bundle:{drive}")
    assert not second.get("failed")
    assert server.digest_of("team/other", "1") == medium.digest
    assert [each["changed"] for each in second["images"]] == [False, True]


def test_images_that_need_the_same_volume_share_a_reason_of_the_message(
    push: Push, tmp_path: Path, medium: Image
) -> None:
    other = make_image(*(layer(name, hashlib.shake_256(name.encode()).digest(24 << 10)) for name in "bcd"))
    write_bundle(VolumesDestination(tmp_path / "bundle", SIZE), (NAME, medium), (OTHER, other))

    count, reason, *names, advice = push(f"bundle:{tmp_path}/bundle/volume-2")["msg"].split("\n")

    assert count == "2 of 2 images failed."
    assert reason.startswith("a blob is on volume 1, which the bundle in")
    assert names == [f"  {NAME}", f"  {OTHER}"]
    assert advice.startswith("Insert volume 1")


def test_push_with_one_drive_uploads_cut_layer_part_by_part(
    push: Push, registry: ClusterRegistry, server: RegistryServer, tmp_path: Path
) -> None:
    registry.records = UploadRecords(tmp_path / "uploads", "cluster")
    cut = make_image(layer("cut", hashlib.shake_256(b"cut").digest(5 << 20)))
    write_bundle(VolumesDestination(tmp_path / "bundle", 2 << 20), (NAME, cut))
    messages: list[str] = []

    for number in (2, 1, 2, 3):
        drive = tmp_path / f"drive-{len(messages)}"
        (tmp_path / f"bundle/volume-{number}").rename(drive)
        messages.append(push(f"bundle:{drive}").get("msg", ""))
        drive.rename(tmp_path / f"bundle/volume-{number}")

    assert [re.findall(r"Insert volume (\d) of 3", message)[:1] for message in messages] == [["1"], ["2"], ["3"], []]
    assert server.digest_of("team/app", "1") == cut.digest
    assert sum(len(data) for data in server.blobs["team/app"].values()) == sum(map(len, cut.blobs.values()))


def damage(file: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("chunk", [None, 300_000])
def test_push_with_one_drive_names_damaged_part_of_layer(
    push: Push, registry: ClusterRegistry, server: RegistryServer, tmp_path: Path, chunk: int | None
) -> None:
    registry.records = UploadRecords(tmp_path / "uploads", "cluster")
    registry.chunks.size = chunk
    cut = make_image(layer("cut", hashlib.shake_256(b"cut").digest(5 << 20)))
    write_bundle(VolumesDestination(tmp_path / "bundle", 2 << 20), (NAME, cut))
    shutil.copytree(tmp_path / "bundle/volume-1", tmp_path / "damaged")
    (part,) = (tmp_path / "damaged/parts").iterdir()
    damage(part)

    volumes = ("damaged", "bundle/volume-1", "bundle/volume-2", "bundle/volume-3")
    first, *others = [push(f"bundle:{tmp_path}/{volume}").get("msg", "") for volume in volumes]

    assert f"parts/{part.name} on volume 1 of the bundle in {tmp_path}/damaged is damaged" in first
    assert "Copy volume 1 again" in first
    assert [re.findall(r"Insert volume (\d) of 3", message)[:1] for message in others] == [["2"], ["3"], []]
    assert server.digest_of("team/app", "1") == cut.digest


def test_push_names_damaged_layer_before_missing_volume(push: Push, tmp_path: Path, medium: Image) -> None:
    made = VolumesDestination(tmp_path / "bundle", SIZE)
    write_bundle(made, (NAME, medium))
    volumes = {layer: path for layer in medium.layers for path in (tmp_path / "bundle").rglob(layer[7:])}
    assert not list((tmp_path / "bundle/volume-2").rglob(medium.layers[0][7:]))
    damage(volumes[medium.layers[-1]])

    result = push(f"bundle:{tmp_path}/bundle/volume-2")

    assert (
        f"blob {medium.layers[-1]} on volume 2 of the bundle in {tmp_path}/bundle/volume-2 is damaged" in result["msg"]
    )
    assert "Insert volume" not in result["msg"]


def test_check_of_push_names_the_missing_volume(push: Push, tmp_path: Path, image: Image, medium: Image) -> None:
    write_bundle(VolumesDestination(tmp_path / "bundle", SIZE), (NAME, image), (OTHER, medium))

    result = push(f"bundle:{tmp_path}/bundle/volume-1", check_mode=True)

    assert "Insert volume 2 of 2 (bundle" in result["msg"]


def test_push_of_delta_uses_blobs_of_its_base(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    write_delta(tmp_path / "delta", NAME, other_image, [image.layers[0]])

    result = push(str(tmp_path / "delta"))

    assert result["changed"]
    assert server.digest_of("team/app", "1") == other_image.digest


def test_push_of_delta_mounts_blobs_from_other_repositories(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/elsewhere", "1", image)
    write_delta(tmp_path / "delta", NAME, other_image, [image.layers[0]], "team/elsewhere")

    (pushed,) = push(str(tmp_path / "delta"))["images"]

    assert [each["action"] for each in pushed["blobs"] if each["digest"] == image.layers[0]] == ["mounted"]
    assert server.digest_of("team/app", "1") == other_image.digest


@pytest.mark.parametrize("check_mode", [False, True])
def test_push_of_delta_without_its_base_fails_before_upload(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, check_mode: bool
) -> None:
    write_delta(tmp_path / "delta", NAME, image, [image.layers[0]])

    result = push(str(tmp_path / "delta"), check_mode=check_mode)

    assert f"leaves out the blob {image.layers[0]}, and the destination does not have it" in result["msg"]
    assert f"Deliver the base of this bundle first: example.com/team/base:1 (sha256:{'0' * 64})" in result["msg"]
    assert NAME in result["msg"]
    assert not server.blobs


def test_push_of_base_and_delta_in_one_task_succeeds(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_bundle(BundleFolder(tmp_path / "base"), (NAME, image))
    write_delta(tmp_path / "delta", OTHER, other_image, [image.layers[0]])

    result = push(str(tmp_path / "base"), str(tmp_path / "delta"))

    assert not result.get("failed")
    assert server.digest_of("team/other", "1") == other_image.digest


def test_push_of_changed_bundle_names_the_image(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_bundle(BundleFolder(tmp_path / "bundle"), (NAME, image))
    index = tmp_path / "bundle/index.json"
    index.write_text(index.read_text().replace(image.digest, other_image.digest))

    result = push(str(tmp_path / "bundle"))

    assert f"index.json in the folder {tmp_path}/bundle has {other_image.digest} for {NAME}" in result["msg"]
    assert not server.manifests


def leave_out(path: Path, name: str, image: Image, **changes: Any) -> None:
    """Let a bundle leave out an image, because the other side should have it."""
    with closing(BundleFolder(path)) as store:
        listed = (BundleImage(name, image.digest, image.root.size),)
        store.begin()
        store.finish(replace(store.previous or BundleManifest(), base=listed, left_out=listed, **changes))


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("lost", ["image", "tag"])
def test_push_of_delta_names_the_image_that_the_registry_lost_before_upload(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, lost: str, check_mode: bool
) -> None:
    if lost == "tag":
        server.fill("team/other", "1", image)
    before = {name: dict(blobs) for name, blobs in server.blobs.items()}
    write_bundle(BundleFolder(tmp_path / "delta"), (NAME, image))
    leave_out(tmp_path / "delta", OTHER, other_image)

    result = push(str(tmp_path / "delta"), check_mode=check_mode)

    assert [(each["name"], "error" in each) for each in result["images"]] == [(NAME, True), (OTHER, True)]
    assert "leaves out images that the destination does not have" in result["msg"]
    assert f"Deliver the base of this bundle first: {OTHER} ({other_image.digest})" in result["msg"]
    assert {name: dict(blobs) for name, blobs in server.blobs.items()} == before


def test_push_of_delta_looks_up_the_image_that_it_leaves_out_once(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/other", "1", other_image)
    write_bundle(BundleFolder(tmp_path / "delta"), (NAME, image))
    leave_out(tmp_path / "delta", OTHER, other_image)

    result = push(str(tmp_path / "delta"))

    assert not result.get("failed")
    assert [each["name"] for each in result["images"]] == [NAME]
    assert [each for each in server.received("GET", "HEAD") if "team/other" in each] == [
        "HEAD /v2/team/other/manifests/1"
    ]


def test_push_of_delta_and_of_the_image_that_it_leaves_out_in_one_task_succeeds(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_bundle(BundleFolder(tmp_path / "base"), (OTHER, other_image))
    write_bundle(BundleFolder(tmp_path / "delta"), (NAME, image))
    leave_out(tmp_path / "delta", OTHER, other_image)

    result = push(str(tmp_path / "delta"), str(tmp_path / "base"))

    assert not result.get("failed")
    assert server.digest_of("team/other", "1") == other_image.digest


def test_push_of_delta_without_images_succeeds_if_the_registry_has_its_base(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    write_bundle(BundleFolder(tmp_path / "delta"))
    leave_out(tmp_path / "delta", NAME, image)

    result = push(str(tmp_path / "delta"))

    assert (result["changed"], result["images"], result.get("failed")) == (False, [], None)


def test_push_of_one_image_of_delta_does_not_need_its_base(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_bundle(BundleFolder(tmp_path / "delta"), (NAME, image))
    leave_out(tmp_path / "delta", OTHER, other_image)

    result = push(f"bundle:{tmp_path}/delta:{NAME}")

    assert not result.get("failed")
    assert server.digest_of("team/app", "1") == image.digest


def test_push_with_one_drive_copies_referrer_that_is_on_another_volume_than_its_image(
    push: Push, server: RegistryServer, tmp_path: Path
) -> None:
    image = make_image(layer("app", hashlib.shake_256(b"app").digest(600 << 10)))
    signature = make_image(layer("signature", hashlib.shake_256(b"signature").digest(700 << 10)))
    write_layout(tmp_path / "layout", {NAME: image, referrers_tag(image, ".sig"): signature})
    bundle_to(tmp_path / "bundle", f"oci:{tmp_path}/layout", volumes={"size": 1 << 20})

    planned = push(f"bundle:{tmp_path}/bundle/volume-1", check_mode=True)
    first = push(f"bundle:{tmp_path}/bundle/volume-1")

    assert "Insert volume 2 of 2 (bundle" in planned["msg"]
    assert "Insert volume 2 of 2 (bundle" in first["msg"]
    assert server.digest_of("team/app", "1") is None
    second = push(f"bundle:{tmp_path}/bundle/volume-2")
    assert not second.get("failed")
    assert server.digest_of("team/app", "1") == image.digest
    assert server.digest_of("team/app", referrers_tag(image, ".sig")) == signature.digest
