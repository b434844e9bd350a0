# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any sequence of tasks of ``k8scr_bundle``, interrupted or not, leaves the bundle that the last successful ones state.

Each run tries a few histories; the environment variable ``K8SCR_FUZZ_EXAMPLES`` sets another number.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_check import check_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_source import open_bundle
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from unit.plugins.module_utils.support.bundle_tasks import bundle_to
from unit.plugins.module_utils.support.fuzzing import fuzzed
from unit.plugins.module_utils.support.images import layer, make_image, make_index
from unit.plugins.module_utils.support.interruptions import full_disk_after, run_killed_after
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

LAYERS = [layer(f"file-{number}", hashlib.shake_256(b"%d" % number).digest(5 << 18)) for number in range(3)]
IMAGES = [make_image(*(LAYERS[number] for number in numbers)) for numbers in ((0, 1), (1, 2), (2,))]
IMAGES.append(make_index({"linux/amd64": IMAGES[0], "linux/arm64": make_image(LAYERS[2], architecture="arm64")}))
"""Images with common layers. Each layer is larger than 1 MiB, because smaller partial files are not kept."""
NAMES = ("app:1", "app:2", "web:1")
FILE = "extras/files/notes"


class Task(NamedTuple):
    """A task.

    Attributes:
        images: The number of the image of each name.
        notes: The content of an extra file; ``None`` without it.
    """

    images: dict[str, int]
    notes: str | None
    prune: bool


TASKS = st.builds(
    Task,
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, len(IMAGES) - 1), min_size=1),
    st.sampled_from([None, "one", "other"]),
    st.booleans(),
)
STEPS = st.integers(0, 60)


class State(NamedTuple):
    """The content of a bundle: its images and its extra files."""

    images: dict[str, str]
    notes: str | None


class Bundle(RuleBasedStateMachine):
    """A bundle in a folder, an archive or on volumes.

    Attributes:
        complete: The content after the last task that succeeded.
        possible: The contents that interrupted tasks since then were to have.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exit_stack = ExitStack()
        self._folder = Path(self._exit_stack.enter_context(tempfile.TemporaryDirectory()))
        self._server = self._exit_stack.enter_context(RegistryServer().running())
        self._options: dict[str, Any] = {"upstreams": settings(self._server)}
        self._dest, self._path = "", self._folder
        self.complete = State({}, None)
        self.possible: list[State] = []

    @initialize(kind=st.sampled_from(["folder", "archive", "volumes"]))
    def choose_kind(self, kind: str) -> None:
        self._path = self._folder / "out"
        self._dest = f"{'oci-archive:' if kind == 'archive' else ''}{self._path}"
        if kind == "volumes":
            self._options["volumes"] = {"size": 1 << 20}

    @rule(task=TASKS)
    def succeed(self, task: Task) -> None:
        planned = self._run(task, check_mode=True)
        result = self._run(task)

        assert "failed" not in result, result
        assert (planned["changed"], planned["removed"]) == (result["changed"], result["removed"])
        assert self._run(task)["changed"] is False
        found, expected = self._state(), self._after(task)
        if self.possible and not task.prune:
            self.possible.append(expected)
            # Images and files of interrupted tasks may stay.
            assert found.images.items() >= self._names(task).items()
            assert self._is_mixed(found)
            assert found.notes in [each.notes for each in (self.complete, *self.possible)]
        else:
            assert found == expected
        self.complete, self.possible = found, []

    @rule(task=TASKS, steps=STEPS)
    def kill(self, task: Task, steps: int) -> None:
        self.possible.append(self._after(task))
        run_killed_after(steps, lambda: self._run(task))

    @rule(task=TASKS, steps=STEPS)
    def fill_disk(self, task: Task, steps: int) -> None:
        self.possible.append(self._after(task))
        with full_disk_after(steps), suppress(Exception):
            self._run(task)

    @rule(task=TASKS, digest=st.sampled_from([digest for image in IMAGES[:3] for digest in image.layers]))
    def lose_blob(self, task: Task, digest: str) -> None:
        self.possible.append(self._after(task))
        self._server.fail("GET", digest, Response(404, {}))
        self._run(task)
        self._server.faults.clear()

    @invariant()
    def is_complete_or_incomplete(self) -> None:
        if not self._path.exists():
            return
        try:
            bundle = open_bundle(self._path)
        except SourceError:
            assert self.possible, "a bundle is incomplete after a task that succeeded"
            return
        with closing(bundle):
            assert list(check_bundle(bundle)) == []
        if not self.possible:
            assert self._state() == self.complete

    def _state(self) -> State:
        with closing(open_bundle(self._path)) as bundle:
            notes = [each.sha256 for each in bundle.bundle.extras if each.path == FILE]
            return State({each.name: each.digest for each in bundle.bundle.images}, notes[0] if notes else None)

    def _is_mixed(self, found: State) -> bool:
        """Whether one of the tasks published each image: an interrupted task may have published some of its images."""
        known = [self.complete, *self.possible]
        return all(any(each.images.get(name) == digest for each in known) for name, digest in found.images.items())

    def teardown(self) -> None:
        self._exit_stack.close()

    def _after(self, task: Task) -> State:
        names = self._names(task)
        kept = {} if task.prune else self.complete.images
        notes = hashlib.sha256(task.notes.encode()).hexdigest() if task.notes else None
        return State({**kept, **names}, notes or (None if task.prune else self.complete.notes))

    def _names(self, task: Task) -> dict[str, str]:
        return {f"{host(self._server)}/team/{name}": IMAGES[number].digest for name, number in task.images.items()}

    def _run(self, task: Task, check_mode: bool = False) -> dict[str, Any]:
        for name, number in task.images.items():
            repository, _colon, tag = name.partition(":")
            self._server.fill(f"team/{repository}", tag, IMAGES[number])
        options = dict(self._options)
        if task.notes:
            (self._folder / "notes").write_text(task.notes)
            options["extras"] = {"files": [str(self._folder / "notes")]}
        images = [source(self._server, f"team/{name}") for name in task.images]
        return bundle_to(self._dest, *images, prune=task.prune, check_mode=check_mode, **options)


TestBundle = Bundle.TestCase
TestBundle.settings = hypothesis_settings(fuzzed, stateful_step_count=10)
