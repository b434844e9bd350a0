# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles on DVDs and USB sticks are pushed in place, and other tools read bundles."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import images
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import BundleImage, BundleManifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import Location, open_bundle_store
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from cluster import layout, packages, programs

from .conftest import Task
from .media import Medium, dvd, usb_stick
from .upstream_registries import upstream_registry

MIB = 1 << 20
SIZE = 14 * MIB
"""Bytes of a volume."""


def write_bundle(location: Location, named: Mapping[str, images.Image], volume_size: int | None = None) -> None:
    """Write images to a bundle under these names."""
    with closing(open_bundle_store(location, volume_size)) as store:
        store.begin()
        jobs, listed = [], []
        for name, image in named.items():
            source = OciLayoutSource(FolderFiles(image.layout))
            root = next(entry for entry in source.entries if entry.digest == image.digest)
            jobs.append(ImageJob(name, ImageCopy(source, SourceImage(root), store, name)))
            listed.append(BundleImage(name, root.digest, root.size))
        assert [result.error for result in Transfer(2).run(jobs)] == [None] * len(jobs)
        store.finish(BundleManifest(tuple(listed)))


def digest_of(address: str, name: str) -> str:
    """Return the digest of an image in the registry, as crane finds it."""
    reference = f"{address}/{name.partition('/')[2]}"
    return subprocess.run(
        [layout.BIN / "crane", "digest", "--insecure", reference], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Install the programs that write and mount the media."""
    packages.ensure(packages.TESTS)


@pytest.fixture
def named(repository: str) -> dict[str, images.Image]:
    """A small image, one with layers on two volumes, and one with a layer that is larger than a volume."""
    return {
        f"docker.io/{repository}/a:1": images.ensure("busybox"),
        f"docker.io/{repository}/b:1": images.ensure_random(24 * MIB, 3),
        f"docker.io/{repository}/c:1": images.ensure_random(20 * MIB, 1),
    }


@pytest.mark.parametrize("medium", [dvd, usb_stick])
def test_push_reads_volumes_on_mounted_media(
    task: Task, address: str, tmp_path: Path, named: dict[str, images.Image], medium: Medium
) -> None:
    write_bundle(Location("", tmp_path / "out"), named, SIZE)

    with ExitStack() as mounts:
        for volume in (tmp_path / "out").iterdir():
            mounts.enter_context(medium(volume, tmp_path / "media" / f"disk {volume.name[-1]}"))
        result = task("k8scr_push", images=[f"bundle:{tmp_path}/media"])

    assert not result.get("failed"), result["msg"]
    assert {name: digest_of(address, name) for name in named} == {name: image.digest for name, image in named.items()}


def insert_dvds(task: Task, folder: Path, wanted: str) -> list[str]:
    """Push volumes of one drive, the given one and then those that the messages name. Return their numbers.

    Args:
        folder: The folder with the bundle in ``out``.
    """
    count = len(list((folder / "out").iterdir()))
    inserted = list[str]()
    while wanted and len(inserted) <= 2 * count:
        inserted.append(wanted)
        with dvd(folder / f"out/volume-{wanted}", folder / f"drive-{len(inserted)}") as drive:
            result = task("k8scr_push", images=[f"bundle:{drive}"])
        found = re.search(rf"Insert volume (\d) of {count}", result.get("msg", ""))
        wanted = found[1] if found else ""
    assert not result.get("failed"), result["msg"]
    return inserted


def test_push_with_one_drive_names_next_dvd_until_all_layers_are_uploaded(
    task: Task, address: str, tmp_path: Path, named: dict[str, images.Image]
) -> None:
    write_bundle(Location("", tmp_path / "out"), named, SIZE)
    count = len(list((tmp_path / "out").iterdir()))

    inserted = insert_dvds(task, tmp_path, "1")

    assert {name: digest_of(address, name) for name in named} == {name: image.digest for name, image in named.items()}
    assert set(inserted) == set(map(str, range(1, count + 1)))


def test_push_with_one_drive_names_damaged_part_and_completes_with_new_copy_of_dvd(
    task: Task, address: str, tmp_path: Path, repository: str
) -> None:
    name, image = f"docker.io/{repository}/c:1", images.ensure_random(20 * MIB, 1)
    write_bundle(Location("", tmp_path / "out"), {name: image}, SIZE)
    (part,) = (tmp_path / "out").glob("volume-*/parts/*.1")
    shutil.copytree(part.parents[1], tmp_path / "damaged")
    damage(tmp_path / "damaged/parts" / part.name)

    with dvd(tmp_path / "damaged", tmp_path / "media") as drive:
        result = task("k8scr_push", images=[f"bundle:{drive}"])

    assert f"parts/{part.name} on volume {part.parents[1].name[-1]}" in result["msg"]
    assert "is damaged" in result["msg"]
    inserted = insert_dvds(task, tmp_path, part.parents[1].name[-1])
    assert digest_of(address, name) == image.digest
    assert len(inserted) <= 3


def damage(file: Path) -> None:
    """Change the last byte of a file."""
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_push_names_damaged_layer_on_dvd(task: Task, tmp_path: Path, named: dict[str, images.Image]) -> None:
    write_bundle(Location("", tmp_path / "out"), named, SIZE)
    damaged = max((tmp_path / "out/volume-1/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    damage(damaged)

    with dvd(tmp_path / "out/volume-1", tmp_path / "media/1"), dvd(tmp_path / "out/volume-2", tmp_path / "media/2"):
        result = task("k8scr_push", images=[f"{tmp_path}/media"])

    assert damaged.name in result["msg"]
    assert "is damaged" in result["msg"]


@pytest.mark.parametrize("form", ["oci:{}", "oci-archive:{}", "oci:{}/volume-1"])
def test_other_tools_read_images_of_bundle(tmp_path: Path, named: dict[str, images.Image], form: str) -> None:
    transport, path = form.partition(":")[0], tmp_path / "bundle"
    write_bundle(Location(transport, path), named, SIZE if "volume" in form else None)
    name, image = next(iter(named.items()))
    place = form.format(path)

    def run(*command: str | Path) -> str:
        return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout.strip()

    run("skopeo", "--insecure-policy", "copy", "--all", f"{place}:{name}", f"oci:{tmp_path}/copy:1")
    assert run("skopeo", "inspect", "--format={{.Digest}}", f"oci:{tmp_path}/copy:1") == image.digest
    with TemporaryDirectory() as short:
        # podman rejects long paths.
        storage = ["--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver=vfs"]
        assert run("podman", *storage, "pull", "--quiet", f"{place}:{name}")
    oras = programs.ensure(["oras"])["oras"]
    descriptor = ["manifest", "fetch", "--oci-layout", "--descriptor"]
    assert image.digest in run(oras, *descriptor, f"{place.partition(':')[2]}@{image.digest}")


def test_crane_reads_image_of_bundle(tmp_path: Path, named: dict[str, images.Image]) -> None:
    name, image = next(iter(named.items()))
    write_bundle(Location("oci", tmp_path / "bundle"), {name: image})

    with upstream_registry("distribution-3", tmp_path / "upstream") as upstream:
        push = [layout.BIN / "crane", "push", "--insecure", tmp_path / "bundle", f"{upstream.address}/app:1"]
        subprocess.run([*map(str, push)], check=True)
        assert digest_of(upstream.address, "docker.io/app:1") == image.digest
