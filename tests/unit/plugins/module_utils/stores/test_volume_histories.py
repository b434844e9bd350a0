# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random histories of a bundle on volumes, with runs that are killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.volume_destination import VolumesDestination
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.bundles import contents_of, description, volume_files, write_images
from unit.plugins.module_utils.support.fuzzing import fuzzed
from unit.plugins.module_utils.support.images import layer, make_image
from unit.plugins.module_utils.support.interruptions import run_killed_after
from unit.plugins.module_utils.support.stores import blob, read_image


def _layer(name: str, kib: int) -> bytes:
    return layer(name, hashlib.shake_256(name.encode()).digest(kib << 10))


_SHARED = _layer("shared", 20)
IMAGES = {
    "a.example/one:1": make_image(_SHARED, _layer("one", 3)),
    "b.example/two:1": make_image(_layer("two", 40), _SHARED),
    "c.example/three:1": make_image(_layer("three", 100)),
    "d.example/four:1": make_image(_layer("three", 100), _layer("four", 230)),
    "e.example/five:1": make_image(*(_layer(f"five {number}", 9) for number in range(6))),
}
EXTRAS = {"extras/a.txt": b"a" * 9000, "extras/sub/b.txt": b"b" * 30000}


@dataclass(frozen=True)
class Run:
    """A run that writes a bundle with these images and files.

    Attributes:
        size: The KiB of a volume.
        kills: The steps after which earlier attempts are killed.
    """

    images: frozenset[str]
    extras: frozenset[str]
    size: int
    kills: tuple[int, ...]

    def write(self, folder: Path) -> None:
        """Write the bundle."""
        images = [(name, IMAGES[name]) for name in sorted(self.images)]
        extras = {path: EXTRAS[path] for path in sorted(self.extras)}
        store = VolumesDestination(folder, self.size << 10)
        store.begin()
        store.remove(sorted(IMAGES.keys() - self.images), sorted(EXTRAS.keys() - self.extras))
        write_images(store, *images, extras=extras)
        store.finish(description(*images, extras=extras))

    def check(self, folder: Path) -> None:
        """Check that the volumes have what was written, and nothing else."""
        images = [IMAGES[name] for name in self.images]
        store = VolumesDestination(folder, self.size << 10)
        assert store.bundle is not None
        assert all(volume.bytes <= self.size << 10 for volume in store.volumes())
        assert list(store.verify()) == []
        with closing(open_bundle(folder)) as source:
            assert {str(image.name) for image in source.images()} == self.images if images else not source.entries
            found = {image.root.digest: read_image(source, image.root) for image in (source.images() if images else ())}
        assert found == {image.root.digest: dict(image.contents) for image in images}
        blobs = {name.partition("/")[2]: data for name, data in volume_files(folder).items() if "/blobs/" in name}
        whole = {f"{name.split('/')[1]}:{name.split('/')[2]}" for name in blobs}
        cut = {digest for digest, data in contents_of(*images).items() if digest not in whole}
        assert whole | cut == set(contents_of(*images))
        assert all(digest_of(data, name.split("/")[1]) == name[6:].replace("/", ":") for name, data in blobs.items())
        parts = {name.partition("/")[2].split(".")[0] for name in volume_files(folder) if "/parts/" in name}
        assert parts == {f"parts/{digest.partition(':')[2][:32]}" for digest in cut}
        extras = {name.partition("/")[2] for name in volume_files(folder) if "/extras/" in name}
        assert extras == self.extras


runs = st.builds(
    Run,
    st.frozensets(st.sampled_from(sorted(IMAGES))),
    st.frozensets(st.sampled_from(sorted(EXTRAS))),
    st.sampled_from([64, 80, 128, 1024]),
    st.lists(st.integers(0, 150), max_size=1).map(tuple),
)


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk; a killed process loses nothing that it has written."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@fuzzed
@given(st.lists(runs, min_size=1, max_size=3))
def test_killed_runs_leave_the_bytes_of_uninterrupted_runs(history: Sequence[Run]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, twin = Path(temporary, "bundle"), Path(temporary, "twin")
        for run in history:
            for steps in run.kills:
                run_killed_after(steps, partial(run.write, folder))
            run.write(folder)
            run.write(twin)
            run.check(folder)
            assert volume_files(folder) == volume_files(twin)


def test_written_blobs_can_be_read_after_a_run_is_killed_while_it_cuts_or_joins_them(tmp_path: Path) -> None:
    name = "d.example/four:1"
    folder, copy = tmp_path / "bundle", tmp_path / "copy"
    small, large = (Run(frozenset([name]), frozenset(), size, ()) for size in (64, 1024))
    small.write(folder)
    for target in (large, small):
        # The first steps mark the bundle as incomplete; the last steps describe the volumes.
        for steps in range(10, 160, 9):
            shutil.copytree(folder, copy)
            run_killed_after(steps, partial(target.write, copy))
            store = VolumesDestination(copy, target.size << 10)
            assert all(store.has_blob(blob(digest, IMAGES[name].contents[digest])) for digest in IMAGES[name].layers)
            shutil.rmtree(copy)
        target.write(folder)
