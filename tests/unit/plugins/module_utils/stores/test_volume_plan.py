# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Assign content to volumes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import (
    BundleManifest,
    Volumes,
    bundle_content,
    parse_bundle,
    with_identity,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.volume_plan import VolumeContent, plan_volumes
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.fuzzing import fuzzed

GIB = 1 << 30
MIB = 1 << 20
DVD = 4480 * MIB


def digest(name: str) -> str:
    """Return a digest."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def content(*images: Mapping[str, int], files: Mapping[str, int] | None = None, manifests: int = 20) -> VolumeContent:
    """Return content with blobs of these sizes by name."""
    every = {f"blobs/sha256/{number:064x}": 2000 for number in range(manifests)}
    blobs = [{digest(name): size for name, size in image.items()} for image in images]
    return VolumeContent(every, blobs, files or {})


def bytes_on(volumes: Volumes, planned: VolumeContent) -> list[int]:
    """Return the bytes of the files on each volume, with the lists of files and folders."""
    described = len(bundle_content(with_identity(BundleManifest(volumes=volumes))))
    used = [sum(planned.every.values()) + described for _number in range(volumes.count)]
    sizes = {name: size for image in planned.blobs for name, size in image.items()}
    for name, number in volumes.blobs.items():
        used[number - 1] += sizes[name] + 150
    for path, number in volumes.files.items():
        used[number - 1] += planned.files[path] + len(path) + 70
    for parts in volumes.cut.values():
        for part in parts:
            used[part.volume - 1] += part.size + 150
    return used


def test_blob_of_more_than_4_gib_is_cut_on_a_large_volume() -> None:
    volumes = plan_volumes(content({"large": 9 * GIB, "small": MIB}), 64 * GIB)

    assert volumes.count == 1
    assert sum(part.size for part in volumes.cut[digest("large")]) == 9 * GIB
    assert all(part.size < 4 * GIB for part in volumes.cut[digest("large")])


def test_blobs_of_an_image_are_on_one_volume() -> None:
    first = {"a": 3 * GIB}
    second = {"b": 1 * GIB, "c": 1 * GIB, "d": 2 * GIB}

    volumes = plan_volumes(content(first, second, {"e": MIB}), DVD)

    assert [volumes.blobs[digest(name)] for name in "abcde"] == [1, 2, 2, 2, 1]


def test_image_that_fits_on_one_volume_is_not_divided() -> None:
    volumes = plan_volumes(content({"a": 3900 * MIB}, {"b": 2 * GIB}, {"c": GIB, "d": GIB}), DVD)

    assert [volumes.blobs[digest(name)] for name in "abcd"] == [1, 2, 2, 2]


@pytest.mark.parametrize(
    "image", [{"config": 5000, "b": 3 * GIB, "c": 3 * GIB}, {"config": 5000, "b": 9 * GIB}], ids=["layers", "cut"]
)
def test_small_blobs_are_on_a_volume_of_their_divided_image(image: Mapping[str, int]) -> None:
    volumes = plan_volumes(content({"a": 3900 * MIB}, image), DVD)

    assert volumes.blobs[digest("a")] == 1
    assert volumes.blobs[digest("config")] in {*volumes.of(digest("b")), *volumes.of(digest("c"))} - {1}


def test_files_are_on_the_first_volume() -> None:
    volumes = plan_volumes(content({"a": 3900 * MIB}, files={"extras/a": GIB, "registry.tar": 20 * MIB}), DVD)

    assert set(volumes.files.values()) == {1}
    assert volumes.blobs[digest("a")] == 2


def test_added_manifests_do_not_move_parts_or_blobs() -> None:
    before = plan_volumes(content({"a": 12 * GIB, "b": GIB}), DVD)

    after = plan_volumes(content({"a": 12 * GIB, "b": GIB}, {"new": MIB}, manifests=400), DVD, before)

    assert after.cut == before.cut
    assert after.blobs == {**before.blobs, digest("new"): after.blobs[digest("new")]}


def test_existing_blobs_stay_where_another_version_placed_them() -> None:
    planned = content({"a": 3900 * MIB}, {"config": 5000, "b": 3 * GIB, "c": 3 * GIB})
    placed = plan_volumes(planned, DVD)
    before = replace(placed, blobs={**placed.blobs, digest("config"): 1})

    assert placed.blobs[digest("config")] != 1
    assert plan_volumes(planned, DVD, before) == before


def test_plan_of_image_with_thousands_of_blobs_takes_seconds() -> None:
    image = {str(number): 30 * MIB for number in range(12_000)}
    begin = time.process_time()

    volumes = plan_volumes(content(image), 64 * GIB)

    assert volumes.count == 6
    assert time.process_time() - begin < 5


def test_manifests_that_fill_a_volume_are_an_error() -> None:
    with pytest.raises(DestinationError, match=r"volumes of 1048576 bytes are too small.*Set a size of at least"):
        plan_volumes(content({"a": 1}, manifests=400), MIB)


names = st.sampled_from("abcdefghij")
contents = st.builds(
    lambda images, files, manifests: content(*images, files=files, manifests=manifests),
    st.lists(st.dictionaries(names, st.integers(0, 90 * MIB), max_size=5), max_size=4).map(
        # A blob has one size.
        lambda images: [
            {name: 7 * MIB * (ord(name) - 96) + min(image.values()) // 9 for name in image} for image in images
        ]
    ),
    st.dictionaries(st.sampled_from(["extras/a", "extras/b", "registry.tar"]), st.integers(0, 4 * MIB)),
    st.integers(1, 30),
)


@fuzzed
@given(st.lists(st.tuples(contents, st.sampled_from([10 * MIB, 24 * MIB, 300 * MIB])), min_size=1, max_size=4))
def test_plan_fits_and_has_all_content_after_any_history(history: list[tuple[VolumeContent, int]]) -> None:
    previous = None
    for planned, size in history:
        blobs: dict[str, int] = {}
        unique = replace(
            planned, blobs=[{k: blobs.setdefault(k, v) for k, v in image.items()} for image in planned.blobs]
        )

        volumes = plan_volumes(unique, size, previous)

        assert max(bytes_on(volumes, unique)) <= size
        assert volumes.blobs.keys() | volumes.cut.keys() == blobs.keys()
        assert all(sum(part.size for part in parts) == blobs[name] for name, parts in volumes.cut.items())
        assert volumes.files.keys() == unique.files.keys()
        assert {*range(1, volumes.count + 1)} == {
            *volumes.blobs.values(),
            *volumes.files.values(),
            *(part.volume for parts in volumes.cut.values() for part in parts),
        } or volumes.count == 1
        assert plan_volumes(unique, size, volumes) == volumes
        previous = volumes


def test_plan_is_read_as_it_was_written() -> None:
    bundle = with_identity(BundleManifest(volumes=plan_volumes(content({"a": 12 * GIB, "b": GIB}), DVD)))

    assert parse_bundle(bundle_content(bundle)) == (bundle, True)
