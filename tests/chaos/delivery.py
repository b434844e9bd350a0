# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One delivery: its images are made, its task runs while faults strike, runs again until it succeeds, and is judged."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import requests

from . import judge, look
from .faults.fault import Fault, Scene
from .judge import Outcome
from .plan import Plan
from .running import Run
from .sources import Source, write
from .world import DIRECT, World


def deliver(plan: Plan, world: World) -> Outcome:
    """Do what was drawn, and say what is to be said of it.

    Args:
        plan: What was drawn.
        world: Where it takes place.
    """
    start = time.monotonic()
    outcome = _Delivery(plan, world).perform()
    outcome.seconds = time.monotonic() - start
    return outcome


class _Delivery:
    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._disk = world.client_disk
        self._names = ["chaos/first", "chaos/second"][: len(plan.images)]
        self._problems: list[str] = []
        self._runs = 0

    def perform(self) -> Outcome:
        """Perform it."""
        plan, world = self._plan, self._world
        world.reset()
        (self._disk / "tmp").mkdir()
        form = plan.transport if plan.action == "push" else "oci"
        sources = [
            write(self._disk / f"source-{number}", form, layers, plan.platforms)
            for number, layers in enumerate(plan.images)
        ]
        old = self._have_old() if plan.old else None
        if plan.action == "pull":
            self._push_before(sources)
        before = look.stored_blobs(world.registry.storage) if plan.action == "push" else {}
        scene = Scene(world, sources if plan.action == "push" else [], self._names[0], old, self._start_beside)
        faults = _Faults(scene)
        try:
            runs = self._run(scene, faults)
            for run in scene.others:
                run.attend()
        finally:
            faults.mend()
        outcome = Outcome(plan.number, [fault.what() for fault in faults.struck], problems=self._problems)
        self._judge(outcome, runs, scene, faults.struck, sources, before)
        return outcome

    def _have_old(self) -> str:
        """Have the first image's tag stand for another image; its digest."""
        source = write(self._disk / "old", "oci", self._plan.old)
        self._push_before([source])
        shutil.rmtree(self._disk / "old")
        return source.identity

    def _push_before(self, sources: list[Source]) -> None:
        self._sources = sources
        options = {**self._world.options(DIRECT, False), **self._images("push", "")}
        run = self._new_run("push", options, cache="other")
        run.attend()
        if not run.succeeded:
            raise RuntimeError(f"what is there before cannot be pushed: {run.result} {run.complaints}")

    def _run(self, scene: Scene, faults: _Faults) -> list[Run]:
        """Run the task while faults strike, and again each time that it was killed."""
        self._sources = scene.sources
        runs: list[Run] = []
        left, done = dict(self._plan.faults), 0
        while True:
            steps = {step - done: step for step in left}
            scene.run = self._start(self._plan.action, "pulled", steps)
            runs.append(scene.run)

            def strike(at: int, steps: dict[int, int] = steps) -> None:
                nonlocal done
                done = steps[at]
                self._look_meanwhile(scene)
                for fault in left.pop(done):
                    faults.strike(fault)

            scene.run.attend(strike)
            if not scene.run.killed or scene.run.hung:
                return runs

    def _look_meanwhile(self, scene: Scene) -> None:
        """See that whoever comes by now finds no tag whose image is not whole."""
        if scene.destroyed:
            return
        for name in self._names:
            try:
                found = look.in_registry(self._world.registry.address, name, "1")
            except requests.RequestException:
                return
            self._problems += [f"seen meanwhile at {name}: {problem}" for problem in found.problems]

    def _judge(
        self,
        outcome: Outcome,
        runs: list[Run],
        scene: Scene,
        struck: list[Fault],
        sources: list[Source],
        before: Collection[str],
    ) -> None:
        world, action = self._world, self._plan.action
        place = self._place("pulled") if action == "pull" else None
        undisturbed = len(runs) == 1 and not scene.others
        outcome.error = judge.claims(outcome, runs[-1], struck, began_in_a_fault=len(runs) > 1)
        outcome.succeeded = not outcome.error
        for run in scene.others:
            error = judge.claims(outcome, run, struck, began_in_a_fault=True)
            if "meanwhile" in str(run.result) and not error:
                judge.pulled_meanwhile(outcome, self._place("meanwhile"), self._names[0], sources[0], scene.old)
        judge.whereabouts(outcome, world.registry, place, self._names, sources, scene.old)
        if outcome.succeeded and undisturbed:
            judge.report(outcome, runs[-1].result or {}, scene.old if action == "push" else None)
        if action == "pull" and scene.destroyed:
            self._push_before(sources)
        if not outcome.succeeded:
            runs.append(self._start(action, "pulled"))
            runs[-1].attend()
            if judge.claims(outcome, runs[-1], []):
                return
            judge.whereabouts(outcome, world.registry, place, self._names, sources, None, delivered=True)
        again = self._start(action, "pulled")
        again.attend()
        judge.nothing_to_do(outcome, again)
        everyone = [*runs, *scene.others, again]
        shared, connections = bool(scene.others), self._plan.connections
        judge.leftovers(outcome, everyone, world.registry.storage, self._disk, connections, shared)
        judge.cost(outcome, runs, world.registry, place, self._names, before, scene.destroyed + scene.spoilt)

    def _start(self, action: str, dest: str, stops: Iterable[int] = ()) -> Run:
        options = {**self._world.options(self._plan.front, self._plan.back), **self._images(action, dest)}
        return self._new_run(action, options, stops)

    def _start_beside(self, action: str) -> Run:
        return self._start(action, "meanwhile")

    def _new_run(self, action: str, options: dict[str, Any], stops: Iterable[int] = (), cache: str = "cache") -> Run:
        self._runs += 1
        timeout = min(fault.timeout for faults in self._plan.faults.values() for fault in faults)
        options = {**options, "timeout": timeout, "connections": self._plan.connections}
        environment = {"XDG_CACHE_HOME": str(self._disk / cache), "TMPDIR": str(self._disk / "tmp")}
        folder = self._world.folder / "runs" / f"{self._plan.number}-{self._runs}"
        return Run(folder, action, options, stops, environment)

    def _images(self, action: str, dest: str) -> dict[str, Any]:
        names = [f"docker.io/{name}:1" for name in self._names]
        if action == "push":
            return {"images": [{"source": each.location, "name": name} for each, name in zip(self._sources, names)]}
        transport = self._plan.transport if self._plan.action == "pull" else "oci"
        return {"images": [{"name": name, "dest": f"{transport}:{self._place(dest)}"} for name in names]}

    def _place(self, dest: str) -> Path:
        return self._disk / (f"{dest}.tar" if self._plan.transport == "oci-archive" else dest)


class _Faults:
    """The faults that have struck, each of which is mended once: when its time is over, or all at the end."""

    def __init__(self, scene: Scene) -> None:
        self.struck: list[Fault] = []
        self._scene = scene
        self._broken: list[Fault] = []
        self._timers: list[threading.Timer] = []
        self._lock = threading.Lock()

    def strike(self, fault: Fault) -> None:
        """Let a fault happen."""
        with self._lock:
            self.struck.append(fault)
            fault.strike(self._scene)
            self._broken.append(fault)
        if fault.seconds is not None:
            timer = threading.Timer(fault.seconds, self._mend, [fault])
            timer.start()
            self._timers.append(timer)

    def mend(self) -> None:
        """End all that have not ended."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        for fault in list(reversed(self._broken)):
            self._mend(fault)

    def _mend(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._broken:
                self._broken.remove(fault)
                fault.mend(self._scene)
