# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Divide bundles into volumes, and read them in place."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.volume_destination import VolumesDestination
from unit.plugins.module_utils.support.bundles import (
    NAME,
    OTHER,
    contents_of,
    description,
    volume_files,
    write_bundle,
    write_images,
)
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.stores import blob, read_blob, read_image

SIZE = 64 << 10
"""Bytes of a volume."""


def random_layer(name: str, size: int) -> bytes:
    """Return a layer that cannot be compressed."""
    return layer(name, hashlib.shake_256(name.encode()).digest(size))


@pytest.fixture
def small() -> Image:
    """An image that fits on a volume."""
    return make_image(random_layer("small", 8 << 10))


@pytest.fixture
def medium() -> Image:
    """An image whose layers fit on two volumes."""
    return make_image(*(random_layer(f"medium {number}", 24 << 10) for number in range(3)))


@pytest.fixture
def huge() -> Image:
    """An image with a layer that is larger than two volumes."""
    return make_image(random_layer("huge", 150 << 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for the volumes."""
    return tmp_path / "bundle"


def read_all(path: Path) -> dict[str, bytes]:
    """Return the content of all images of a bundle, by digest."""
    with closing(open_bundle(path)) as source:
        return {key: data for image in source.images() for key, data in read_image(source, image.root).items()}


def test_volumes_have_the_written_images(folder: Path, small: Image, medium: Image) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, small), (OTHER, medium))

    assert read_all(folder) == contents_of(small, medium)
    assert sorted(path.name for path in folder.iterdir()) == ["volume-1", "volume-2"]


def test_no_volume_exceeds_its_size(folder: Path, small: Image, medium: Image, huge: Image) -> None:
    store = VolumesDestination(folder, SIZE)

    write_bundle(store, (NAME, small), (OTHER, medium), ("huge:1", huge), extras={"extras/a": bytes(30 << 10)})

    assert [volume.number for volume in store.volumes()] == [1, 2, 3, 4, 5, 6]
    assert all(volume.bytes <= SIZE for volume in store.volumes())


def test_large_layer_is_cut_and_read_across_volumes(folder: Path, huge: Image) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, huge))

    whole = huge.contents[huge.layers[0]]
    with closing(open_bundle(folder)) as source:
        for offset in (0, 1, 60 << 10, len(whole) - 1, len(whole)):
            assert read_blob(source, blob(huge.layers[0], whole), offset) == whole[offset:]
    parts = [name for name in volume_files(folder) if "/parts/" in name]
    assert [part.partition("/")[0] for part in parts] == ["volume-1", "volume-2", "volume-3"]
    assert not any(huge.layers[0][7:] in name for name in volume_files(folder) if "/blobs/" in name)


def test_sums_of_each_volume_are_valid_and_complete(folder: Path, small: Image, huge: Image) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, small), (OTHER, huge), extras={"extras/a.txt": b"more"})

    for volume in folder.iterdir():
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=volume, check=True)
        listed = {line.partition("  ")[2] for line in (volume / "SHA256SUMS").read_text().splitlines()}
        assert listed | {"SHA256SUMS"} == volume_files(volume).keys()


def test_extra_files_are_on_the_first_volume(folder: Path, medium: Image) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, medium), extras={"extras/a.txt": b"more"})

    assert (folder / "volume-1/extras/a.txt").read_bytes() == b"more"
    with closing(open_bundle(folder)) as source:
        assert source.bundle.extras == description(extras={"extras/a.txt": b"more"}).extras


def test_volumes_are_independent_of_the_order_of_the_images(tmp_path: Path, small: Image, huge: Image) -> None:
    write_bundle(VolumesDestination(tmp_path / "a", SIZE), (NAME, small), (OTHER, huge))
    write_bundle(VolumesDestination(tmp_path / "b", SIZE), (OTHER, huge), (NAME, small))

    assert volume_files(tmp_path / "a") == volume_files(tmp_path / "b")


def test_existing_blobs_stay_on_their_volumes(folder: Path, small: Image, medium: Image) -> None:
    size = 1 << 20
    cut = make_image(random_layer("cut", 5 << 19))
    write_bundle(VolumesDestination(folder, size), (NAME, medium), ("cut:1", cut))
    before = {name: data for name, data in volume_files(folder).items() if "/parts/" in name or "/blobs/" in name}

    again = VolumesDestination(folder, size)
    assert again.has_blob(blob(cut.layers[0], cut.contents[cut.layers[0]]))
    write_bundle(again, (NAME, medium), ("cut:1", cut), ("a:1", small))

    after = volume_files(folder)
    assert {name: after.get(name) for name in before} == before
    assert read_all(folder) == contents_of(small, medium, cut)


def test_unchanged_volumes_are_known_to_the_next_run(folder: Path, small: Image) -> None:
    assert VolumesDestination(folder, SIZE).bundle is None
    write_bundle(VolumesDestination(folder, SIZE), (NAME, small))
    before = volume_files(folder)

    bundle = VolumesDestination(folder, SIZE).bundle

    assert bundle
    assert bundle.volumes
    assert (bundle.volumes.count, bundle.volumes.size) == (1, SIZE)
    assert volume_files(folder) == before


@pytest.mark.parametrize("size", [40 << 10, 100 << 10, 1 << 20])
def test_volumes_get_another_size_without_the_sources(folder: Path, medium: Image, huge: Image, size: int) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, medium), (OTHER, huge))

    again = VolumesDestination(folder, size)
    again.begin()
    again.finish(description((NAME, medium), (OTHER, huge)))

    assert all(volume.bytes <= size for volume in again.volumes())
    assert read_all(folder) == contents_of(medium, huge)


def test_removed_image_frees_its_volumes(folder: Path, small: Image, huge: Image, tmp_path: Path) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, small), (OTHER, huge), extras={"extras/a": b"more"})

    again = VolumesDestination(folder, SIZE)
    again.begin()
    again.remove([OTHER], ["extras/a"])
    again.finish(description((NAME, small)))

    write_bundle(VolumesDestination(tmp_path / "new", SIZE), (NAME, small))
    assert volume_files(folder) == volume_files(tmp_path / "new")


def test_unfinished_volumes_are_incomplete(folder: Path, small: Image, medium: Image) -> None:
    write_bundle(VolumesDestination(folder, SIZE), (NAME, small))

    write_images(VolumesDestination(folder, SIZE), (OTHER, medium))

    for path in (folder, folder / "volume-1"):
        with pytest.raises(SourceError, match="is incomplete"):
            open_bundle(path)


def test_volumes_that_are_too_small_are_rejected(folder: Path, small: Image) -> None:
    with pytest.raises(DestinationError, match=r"volumes of 2048 bytes are too small.*Set a size of at least"):
        write_bundle(VolumesDestination(folder, 2048), (NAME, small))


def test_extra_file_that_is_larger_than_a_volume_is_rejected(folder: Path, small: Image) -> None:
    with pytest.raises(DestinationError, match="the file extras/a has 70000 bytes; a file on a volume can have"):
        write_bundle(VolumesDestination(folder, SIZE), (NAME, small), extras={"extras/a": bytes(70000)})


def test_folder_with_other_files_is_rejected(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("my thesis")

    with pytest.raises(DestinationError, match=r"has other files than volumes, such as thesis.txt"):
        VolumesDestination(folder, SIZE)


@pytest.fixture
def volumes(folder: Path, small: Image, medium: Image, huge: Image) -> Path:
    """A bundle with a small image on volume 1, and an image and a cut layer on several volumes."""
    write_bundle(VolumesDestination(folder, SIZE), ("a.example/small:1", small), (NAME, medium), (OTHER, huge))
    return folder


def test_image_on_one_volume_is_read_without_the_others(volumes: Path, small: Image) -> None:
    with closing(open_bundle(volumes / "volume-1")) as source:
        (found,) = source.images("a.example/small:1")
        assert read_image(source, found.root) == small.contents
        assert source.missing_volumes == (2, 3, 4, 5)


def test_missing_volume_is_named(volumes: Path, medium: Image) -> None:
    shutil.rmtree(volumes / "volume-2")

    with closing(open_bundle(volumes)) as source:
        (found,) = source.images(NAME)
        with pytest.raises(SourceError, match=r"is on volume 2, which.*Insert volume 2 of 5 \(bundle [0-9a-f]{12}\)"):
            read_image(source, found.root)


def test_volumes_may_have_any_folder_names(volumes: Path, small: Image, medium: Image, huge: Image) -> None:
    for number, name in enumerate(("z", "dvd", "some disk", "a"), 1):
        (volumes / f"volume-{number}").rename(volumes / name)

    assert read_all(volumes) == contents_of(small, medium, huge)


def test_volumes_of_two_bundles_are_rejected(volumes: Path, tmp_path: Path, small: Image, medium: Image) -> None:
    write_bundle(VolumesDestination(tmp_path / "other", SIZE), (NAME, small), (OTHER, medium))
    shutil.rmtree(volumes / "volume-2")
    shutil.copytree(tmp_path / "other/volume-2", volumes / "volume-2")

    with pytest.raises(SourceError, match=r"has volume 2 of the bundle \w{12}, and .*volume-1 has a volume of \w{12}"):
        open_bundle(volumes)


def test_volume_of_another_run_is_rejected(volumes: Path, small: Image, medium: Image, tmp_path: Path) -> None:
    shutil.copytree(volumes / "volume-1", tmp_path / "old")
    again = VolumesDestination(volumes, SIZE)
    again.begin()
    again.remove([OTHER], [])
    again.finish(description(("a.example/small:1", small), (NAME, medium)))
    shutil.rmtree(volumes / "volume-1")
    shutil.copytree(tmp_path / "old", volumes / "volume-1")

    with pytest.raises(SourceError, match="has volume 2 of the bundle"):
        open_bundle(volumes)


def test_volume_with_the_description_of_another_is_rejected(volumes: Path) -> None:
    path = volumes / "volume-2/volume.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bundle": "0" * 64}))

    with pytest.raises(SourceError, match="do not belong together"):
        open_bundle(volumes)


def test_undamaged_bundle_has_no_faults(volumes: Path) -> None:
    assert list(VolumesDestination(volumes, SIZE).verify()) == []


@pytest.mark.parametrize("folder_name", ["blobs/sha256", "parts", "."])
def test_changed_bit_is_found_in_every_file(volumes: Path, folder_name: str) -> None:
    for volume in sorted(volumes.iterdir()):
        for path in sorted(each for each in (volume / folder_name).glob("*") if each.is_file()):
            if path.name in ("bundle.json", "volume.json"):
                continue
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            number = int(volume.name[-1])
            try:
                faults = list(VolumesDestination(volumes, SIZE).verify())
            except SourceError:
                # The index of the first volume cannot be read.
                faults = []
                assert path.name == "index.json"
            else:
                assert (number, path.relative_to(volume).as_posix()) in [(each.volume, each.path) for each in faults]
            path.write_bytes(content)


def test_missing_volume_is_a_fault_with_its_images(volumes: Path) -> None:
    shutil.rmtree(volumes / "volume-5")

    with closing(open_bundle(volumes)) as source:
        assert source.missing_volumes == (5,)
    (fault,) = VolumesDestination(volumes, SIZE).verify()

    assert (fault.volume, fault.images, fault.problem) == (5, (OTHER,), "is missing")


def test_cut_layer_is_read_until_its_missing_part(volumes: Path, huge: Image) -> None:
    with closing(open_bundle(volumes)) as source:
        assert source.bundle.volumes
        first, second, *_rest = source.bundle.volumes.cut[huge.layers[0]]
    shutil.rmtree(volumes / f"volume-{second.volume}")
    content = huge.contents[huge.layers[0]]

    with closing(open_bundle(volumes)) as source:
        with source.open_blob(blob(huge.layers[0], content)) as blocks:
            read = b"".join(bytes(next(blocks)) for _block in range(1))
            with pytest.raises(SourceError, match=f"Insert volume {second.volume} of 5"):
                next(blocks)
        end = first.size + second.size
        assert read == content[: first.size]
        assert [source.end(blob(huge.layers[0], content), at) for at in (0, end)] == [first.size, len(content)]
        assert read_blob(source, blob(huge.layers[0], content), end) == content[end:]


def test_exchanged_parts_of_a_layer_are_found(volumes: Path, huge: Image) -> None:
    one, two = (next(volumes.glob(f"*/parts/*.{number}")) for number in (1, 2))
    content = one.read_bytes(), two.read_bytes()
    assert len(content[0]) == len(content[1])
    one.write_bytes(content[1])
    two.write_bytes(content[0])

    faults = list(VolumesDestination(volumes, SIZE).verify())

    assert [(fault.path, fault.images) for fault in faults] == [
        (path.relative_to(path.parents[1]).as_posix(), (OTHER,)) for path in (one, two)
    ]
