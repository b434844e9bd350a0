# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one delivery: creates the images, runs the module with faults, repeats it until it succeeds, and checks it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import requests

from . import checks, inspection
from .checks import Outcome
from .faults.base import Fault, FaultContext
from .faults.injector import Faults
from .module_process import Run
from .plan import Plan
from .sources import Source, write
from .testbed import DIRECT, Testbed


def deliver(plan: Plan, testbed: Testbed) -> Outcome:
    """Run a delivery and return its outcome.

    Args:
        plan: The delivery's plan.
        testbed: The delivery's testbed.
    """
    start = time.monotonic()
    outcome = _Delivery(plan, testbed).run()
    outcome.seconds = time.monotonic() - start
    return outcome


class _Delivery:
    def __init__(self, plan: Plan, testbed: Testbed) -> None:
        self._plan = plan
        self._testbed = testbed
        self._disk = testbed.client_disk
        self._names = ["chaos/first", "chaos/second"][: len(plan.images)]
        self._problems: list[str] = []
        self._runs = 0

    def run(self) -> Outcome:
        """Run the delivery."""
        plan, testbed = self._plan, self._testbed
        testbed.reset()
        (self._disk / "tmp").mkdir()
        transport = plan.transport if plan.action == "push" else "oci"
        sources = [
            write(self._disk / f"source-{number}", transport, layers, plan.platforms)
            for number, layers in enumerate(plan.images)
        ]
        old = self._push_old() if plan.old else None
        if plan.action == "pull":
            self._push(sources)
        existing = inspection.stored_blobs(testbed.registry.storage) if plan.action == "push" else {}
        context = FaultContext(
            testbed, sources if plan.action == "push" else [], self._names[0], old, self._start_concurrent
        )
        faults = Faults(context)
        try:
            runs = self._run(context, faults)
            for run in context.concurrent_runs:
                run.wait()
        finally:
            faults.clear()
        outcome = Outcome(plan.number, [fault.description() for fault in faults.injected], problems=self._problems)
        self._check(outcome, runs, context, faults.injected, sources, existing)
        return outcome

    def _push_old(self) -> str:
        """Push another image with the first image's tag, and return its digest."""
        source = write(self._disk / "old", "oci", self._plan.old)
        self._push([source])
        shutil.rmtree(self._disk / "old")
        return source.identity

    def _push(self, sources: list[Source]) -> None:
        self._sources = sources
        options = {**self._testbed.options(DIRECT, False), **self._images("push", "")}
        run = self._new_run("push", options, cache="other")
        run.wait()
        if not run.succeeded:
            raise RuntimeError(f"push without faults failed: {run.result} {run.stderr}")

    def _run(self, context: FaultContext, faults: Faults) -> list[Run]:
        """Run the module and inject the faults; restart the module each time a fault killed it."""
        self._sources = context.sources
        runs: list[Run] = []
        pending, done = dict(self._plan.faults), 0
        while True:
            steps = {step - done: step for step in pending}
            context.run = self._start(self._plan.action, "pulled", steps)
            runs.append(context.run)

            def inject(at: int, steps: dict[int, int] = steps) -> None:
                nonlocal done
                done = steps[at]
                self._inspect_tags(context)
                for fault in pending.pop(done):
                    faults.inject(fault)

            context.run.wait(inject)
            if not context.run.killed or context.run.hung:
                return runs

    def _inspect_tags(self, context: FaultContext) -> None:
        """Check during the delivery that each existing tag refers to a complete image."""
        if context.destroyed:
            return
        for name in self._names:
            try:
                found = inspection.in_registry(self._testbed.registry.address, name, "1")
            except requests.RequestException:
                return
            self._problems += [f"{name} during the delivery: {problem}" for problem in found.problems]

    def _check(
        self,
        outcome: Outcome,
        runs: list[Run],
        context: FaultContext,
        injected: list[Fault],
        sources: list[Source],
        existing: Collection[str],
    ) -> None:
        testbed, action = self._testbed, self._plan.action
        destination = self._destination("pulled") if action == "pull" else None
        single_run = len(runs) == 1 and not context.concurrent_runs
        outcome.error = checks.check_result(outcome, runs[-1], injected, fault_at_start=len(runs) > 1)
        outcome.succeeded = not outcome.error
        for run in context.concurrent_runs:
            error = checks.check_result(outcome, run, injected, fault_at_start=True)
            if "concurrent-pull" in str(run.result) and not error:
                checks.check_concurrent_pull(
                    outcome, self._destination("concurrent-pull"), self._names[0], sources[0], context.old
                )
        checks.check_images(outcome, testbed.registry, destination, self._names, sources, context.old)
        if outcome.succeeded and single_run:
            checks.check_returned_values(outcome, runs[-1].result or {}, context.old if action == "push" else None)
        if action == "pull" and context.destroyed:
            self._push(sources)
        if not outcome.succeeded:
            runs.append(self._start(action, "pulled"))
            runs[-1].wait()
            if checks.check_result(outcome, runs[-1], []):
                return
            checks.check_images(outcome, testbed.registry, destination, self._names, sources, None, delivered=True)
        repeated = self._start(action, "pulled")
        repeated.wait()
        checks.check_idempotence(outcome, repeated)
        all_runs = [*runs, *context.concurrent_runs, repeated]
        concurrent, connections = bool(context.concurrent_runs), self._plan.connections
        checks.check_leftovers(outcome, all_runs, testbed.registry.storage, self._disk, connections, concurrent)
        lost = context.destroyed + context.wasted
        checks.check_traffic(outcome, runs, testbed.registry, destination, self._names, existing, lost)

    def _start(self, action: str, dest: str, pauses: Iterable[int] = ()) -> Run:
        options = {
            **self._testbed.options(self._plan.connection, self._plan.registry_proxy),
            **self._images(action, dest),
        }
        return self._new_run(action, options, pauses)

    def _start_concurrent(self, action: str) -> Run:
        return self._start(action, "concurrent-pull")

    def _new_run(self, action: str, options: dict[str, Any], pauses: Iterable[int] = (), cache: str = "cache") -> Run:
        self._runs += 1
        timeout = min(fault.timeout for faults in self._plan.faults.values() for fault in faults)
        options = {**options, "timeout": timeout, "connections": self._plan.connections}
        environment = {"XDG_CACHE_HOME": str(self._disk / cache), "TMPDIR": str(self._disk / "tmp")}
        folder = self._testbed.folder / "runs" / f"{self._plan.number}-{self._runs}"
        return Run(folder, action, options, pauses, environment)

    def _images(self, action: str, dest: str) -> dict[str, Any]:
        names = [f"docker.io/{name}:1" for name in self._names]
        if action == "push":
            return {"images": [{"source": each.location, "name": name} for each, name in zip(self._sources, names)]}
        transport = self._plan.transport if self._plan.action == "pull" else "oci"
        return {"images": [{"name": name, "dest": f"{transport}:{self._destination(dest)}"} for name in names]}

    def _destination(self, dest: str) -> Path:
        return self._disk / (f"{dest}.tar" if self._plan.transport == "oci-archive" else dest)
