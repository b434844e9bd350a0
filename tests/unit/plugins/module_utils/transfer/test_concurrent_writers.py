# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the transfer that several runs update at the same time."""

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


def lock_image(folder: Path, run: int, barrier: Barrier) -> None:
    """Lock the image of this run."""
    lock = ImageLock(folder / "images.lock.json", enforced=False)
    barrier.wait()
    lock.update([(parse_reference(f"team/app-{run}:1"), digest_of(b"%d" % run))])
    lock.save()


def has_locked_image(folder: Path, run: int) -> bool:
    """Return whether the lock file has the image of a run."""
    lock = ImageLock(folder / "images.lock.json", enforced=True)
    return lock.digest_of(parse_reference(f"team/app-{run}:1")) == digest_of(b"%d" % run)


def record_different_images(folder: Path, run: int, barrier: Barrier) -> None:
    """Record the push of the image of this run."""
    pushed = PushedImages(folder, "cluster")
    barrier.wait()
    pushed.remember(digest_of(b"%d" % run), "team/app")
    pushed.save()


def has_different_image(folder: Path, run: int) -> bool:
    """Return whether the push of a run is recorded."""
    return PushedImages(folder, "cluster").repositories(digest_of(b"%d" % run)) == ("team/app",)


def record_same_image(folder: Path, run: int, barrier: Barrier) -> None:
    """Record the push of one image, the same in all runs, to the repository of this run."""
    pushed = PushedImages(folder, "cluster")
    barrier.wait()
    pushed.remember(IMAGE, f"team/app-{run}")
    pushed.save()


def has_same_image(folder: Path, run: int) -> bool:
    """Return whether the repository of a run is recorded."""
    return f"team/app-{run}" in PushedImages(folder, "cluster").repositories(IMAGE)


def record_compressed_layer(folder: Path, run: int, barrier: Barrier) -> None:
    """Record the compression of the layer of this run."""
    layers = compressed_layers(folder)
    barrier.wait()
    layers.remember(layer(b"%d" % run), layer(b"compressed %d" % run))


def has_compressed_layer(folder: Path, run: int) -> bool:
    """Return whether the compressed layer of a run is recorded."""
    return compressed_layers(folder).get(layer(b"%d" % run)) == layer(b"compressed %d" % run)


def compressed_layers(folder: Path) -> CompressedLayers:
    """Return the compressed layers recorded in a folder."""
    compression = find_compression("gzip")
    assert compression
    return CompressedLayers(folder, compression)


def layer(content: bytes) -> Descriptor:
    """Return the descriptor of a layer with this content."""
    return Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(content), len(content))


@pytest.mark.parametrize(
    ("write", "is_kept"),
    [
        (lock_image, has_locked_image),
        (record_different_images, has_different_image),
        (record_same_image, has_same_image),
        (record_compressed_layer, has_compressed_layer),
    ],
)
def test_shared_file_keeps_entries_of_concurrent_runs(
    tmp_path: Path, write: Callable[[Path, int, Barrier], None], is_kept: Callable[[Path, int], bool]
) -> None:
    context = multiprocessing.get_context("forkserver")
    # The server imports these modules once for all processes.
    context.set_forkserver_preload(
        ["pytest", *(kind.__module__ for kind in (CompressedLayers, ImageLock, PushedImages))]
    )
    barrier = context.Barrier(RUNS)
    runs = [context.Process(target=write, args=(tmp_path, run, barrier)) for run in range(RUNS)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    assert [run.exitcode for run in runs] == [0] * RUNS
    assert all(is_kept(tmp_path, run) for run in range(RUNS))
