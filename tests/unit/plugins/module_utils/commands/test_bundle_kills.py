# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_bundle`` is killed at any time: a bundle is complete or marked as incomplete, and the next task completes it.

Each run tries a few kills; the environment variable ``K8SCR_BUNDLE_KILLS`` sets another number, as
``make bundle-kills`` does.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_check import check_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from unit.plugins.module_utils.support.bundle_tasks import bundle_to, tree
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.upstream_servers import settings, source

pytestmark = pytest.mark.usefixtures("no_credentials")

KILLS = int(os.environ.get("K8SCR_BUNDLE_KILLS", "12"))
SEED = int(os.environ.get("K8SCR_BUNDLE_SEED", "1"))
LAYERS = [layer(f"file-{number}", hashlib.shake_256(b"%d" % number).digest(5 << 18)) for number in range(5)]
# Larger than a partial file must be to be kept, and than a volume.
LARGE = layer("large", hashlib.shake_256(b"large").digest(3 << 20))


def _images() -> dict[str, Image]:
    first, second, third = (make_image(*(LAYERS[n] for n in numbers)) for numbers in ((0, 1), (1, 2), (3, 4)))
    return {
        "a:1": first,
        "a:2": second,
        "b:1": make_image(LARGE, LAYERS[0]),
        "c:1": make_index({"linux/amd64": third, "linux/arm64": make_image(LAYERS[3], architecture="arm64")}),
    }


class Task(NamedTuple):
    """A task that makes a bundle."""

    tags: tuple[str, ...]
    extra: bool


@pytest.fixture(scope="module")
def upstream() -> Iterator[RegistryServer]:
    """An upstream registry with images that share layers."""
    with RegistryServer().running() as running:
        for name, image in _images().items():
            repository, _colon, tag = name.partition(":")
            running.fill(f"team/{repository}", tag, image)
        yield running


class Bundling:
    """Tasks that write to one destination, a folder, an archive or volumes.

    Attributes:
        path: The folder or the archive.
    """

    def __init__(self, upstream: RegistryServer, folder: Path, kind: str, name: str = "out") -> None:
        self.path = folder / name
        self._upstream = upstream
        self._folder = folder
        self._kind = kind

    def run(self, task: Task, path: Path | None = None) -> dict[str, Any]:
        """Run a task to its end."""
        options: dict[str, Any] = {"volumes": {"size": 2 << 20}} if self._kind == "volumes" else {}
        if task.extra:
            options["extras"] = {"files": [str(self._folder / "extra.yml")]}
        prefix = "oci-archive:" if self._kind == "archive" else ""
        images = [source(self._upstream, f"team/{tag}") for tag in task.tags]
        return bundle_to(
            f"{prefix}{path or self.path}", *images, upstreams=settings(self._upstream), prune=True, **options
        )

    def run_killed_after(self, task: Task, seconds: float) -> None:
        """Run a task in a process that is killed after some time."""
        with warnings.catch_warnings():
            # The threads of the server are still running; the child needs none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            status = 1
            try:
                self.run(task)
                status = 0
            finally:
                os._exit(status)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _child, ended = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(ended) in (0, -signal.SIGKILL), "the task failed"

    def require_incomplete_or_undamaged(self) -> None:
        """Check that the bundle is not taken for complete, or is complete and undamaged."""
        if not self.path.exists():
            return
        with suppress(SourceError), closing(open_bundle(self.path)) as bundle:
            assert list(check_bundle(bundle)) == []

    def files(self, path: Path) -> dict[str, bytes]:
        """Return the files of a bundle, hidden ones too."""
        return {"": path.read_bytes()} if path.is_file() else tree(path)


@pytest.mark.parametrize("kind", ["folder", "archive", "volumes"])
def test_bundle_has_same_bytes_after_kills_at_any_time(upstream: RegistryServer, kind: str, tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} {kind}")
    (tmp_path / "extra.yml").write_text("kind: List\n")
    bundling = Bundling(upstream, tmp_path, kind)
    names = list(_images())
    kills = 0
    while kills < KILLS // 3:
        tasks = [
            Task(tuple(sorted(chance.sample(names, chance.randint(1, len(names))))), chance.random() < 0.3)
            for _number in range(chance.randint(1, 3))
        ]
        final = tasks[-1]
        if kind != "folder":
            # Blobs of other tasks stay on their volumes and at the end of archives, so only a repeated task has the
            # same bytes as a first one.
            tasks = [final] * len(tasks)
            bundling = Bundling(upstream, tmp_path, kind, f"out-{kills}")
        expected = tmp_path / f"expected-{kills}"
        started = time.monotonic()
        bundling.run(final, expected)
        duration = time.monotonic() - started
        for task in tasks:
            bundling.run_killed_after(task, chance.uniform(0, 1.1 * duration))
            kills += 1
            bundling.require_incomplete_or_undamaged()
        bundling.run(final)
        assert bundling.files(bundling.path) == bundling.files(expected), f"seed {SEED}, {tasks}"
        assert bundling.run(final)["changed"] is False
