# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that several runs read, change and write at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.compression import find_compression
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.compressed_layers import CompressedLayers
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.lock import ImageLock
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.pushed_images import PushedImages

RUNS = 4
IMAGE = digest_of(b"image")


def add_to_lock_file(folder: Path, run: int, barrier: Barrier) -> None:
    """Lock an image that no other run locks."""
    lock = ImageLock(folder / "images.lock.json", enforced=False)
    barrier.wait()
    lock.update([(parse_reference(f"team/app-{run}:1"), digest_of(b"%d" % run))])
    lock.save()


def kept_by_lock_file(folder: Path, run: int) -> bool:
    """Whether the lock file has the image of a run."""
    lock = ImageLock(folder / "images.lock.json", enforced=True)
    return lock.digest_of(parse_reference(f"team/app-{run}:1")) == digest_of(b"%d" % run)


def push_different_images(folder: Path, run: int, barrier: Barrier) -> None:
    """Remember the push of an image that no other run pushes."""
    pushed = PushedImages(folder, "cluster")
    barrier.wait()
    pushed.remember(digest_of(b"%d" % run), "team/app")
    pushed.save()


def kept_of_different_images(folder: Path, run: int) -> bool:
    """Whether the push of a run is remembered."""
    return PushedImages(folder, "cluster").repositories(digest_of(b"%d" % run)) == ("team/app",)


def push_same_image(folder: Path, run: int, barrier: Barrier) -> None:
    """Remember the push of one image to a repository that no other run pushes to."""
    pushed = PushedImages(folder, "cluster")
    barrier.wait()
    pushed.remember(IMAGE, f"team/app-{run}")
    pushed.save()


def kept_of_same_image(folder: Path, run: int) -> bool:
    """Whether the repository of a run is remembered."""
    return f"team/app-{run}" in PushedImages(folder, "cluster").repositories(IMAGE)


def compress_layer(folder: Path, run: int, barrier: Barrier) -> None:
    """Remember the compression of a layer that no other run compresses."""
    layers = compressed_layers(folder)
    barrier.wait()
    layers.remember(layer(b"%d" % run), layer(b"compressed %d" % run))


def kept_of_compressed_layers(folder: Path, run: int) -> bool:
    """Whether the compressed layer of a run is remembered."""
    return compressed_layers(folder).get(layer(b"%d" % run)) == layer(b"compressed %d" % run)


def compressed_layers(folder: Path) -> CompressedLayers:
    """The compressed layers that a folder keeps."""
    compression = find_compression("gzip")
    assert compression
    return CompressedLayers(folder, compression)


def layer(content: bytes) -> Descriptor:
    """A layer with this content."""
    return Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(content), len(content))


@pytest.mark.parametrize(
    ("write", "kept"),
    [
        (add_to_lock_file, kept_by_lock_file),
        (push_different_images, kept_of_different_images),
        (push_same_image, kept_of_same_image),
        (compress_layer, kept_of_compressed_layers),
    ],
)
def test_shared_file_keeps_entries_of_all_runs_that_write_at_once(
    tmp_path: Path, write: Callable[[Path, int, Barrier], None], kept: Callable[[Path, int], bool]
) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RUNS)
    runs = [context.Process(target=write, args=(tmp_path, run, barrier)) for run in range(RUNS)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    assert [run.exitcode for run in runs] == [0] * RUNS
    assert all(kept(tmp_path, run) for run in range(RUNS))
