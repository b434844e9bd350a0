# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs stages of the checks, and prints their results and times."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from cluster.errors import log

from . import collection, venv
from .commands import Failed, describe
from .stages import EXTRA, GROUPS, RESULTS, STAGES, WITHOUT_CLUSTER, Context

QUIET = ("live", "charts")
"""Stages that measure times and memory: they start after the end of the stages without a cluster."""


@dataclass
class Results:
    """The seconds of each stage that ended, and the failures."""

    times: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def run(self, stage: str, context: Context) -> None:
        """Run one stage and add its result."""
        start = time.monotonic()
        try:
            {**STAGES, **EXTRA}[stage](context)
        except (subprocess.CalledProcessError, Failed) as error:
            self.failed[stage] = describe(error)
        self.times[stage] = time.monotonic() - start


def run_stages(names: Sequence[str], arguments: Sequence[str] = (), *, fail_on_skips: bool) -> bool:
    """Run all of the stages, even after a failure; return whether all passed.

    Stages without a cluster run at the same time as stages on the cluster. Both have their own copy of the collection.
    """
    start = time.monotonic()
    programs = venv.ensure()
    shutil.rmtree(RESULTS, ignore_errors=True)
    stages = [stage for name in names for stage in GROUPS.get(name, (name,))]
    local = [stage for stage in stages if stage in WITHOUT_CLUSTER]
    on_cluster = [stage for stage in stages if stage not in WITHOUT_CLUSTER]
    results = Results()
    if not on_cluster:
        _run(local, Context(programs, collection.copy(), arguments, skipped=results.skipped), results)
    else:
        context = Context(programs, collection.copy(collection.CLUSTER_SOURCE_ROOT), arguments, skipped=results.skipped)
        if local:
            _run_both(local, replace(context, copy=collection.copy()), on_cluster, context, results)
        else:
            _run(on_cluster, context, results)
    return _report(results, time.monotonic() - start, fail_on_skips)


def _run(stages: Iterable[str], context: Context, results: Results) -> None:
    """Run stages, and print their output while they run."""
    for stage in stages:
        log(f"==== {stage}")
        results.run(stage, context)


def _run_both(
    local: Sequence[str], local_context: Context, on_cluster: Sequence[str], context: Context, results: Results
) -> None:
    """Run stages without a cluster in a thread, and the stages on the cluster in this one."""
    cancelled = threading.Event()

    def run_local() -> None:
        for stage in local:
            if not cancelled.is_set():
                _run_in_background(stage, local_context, results)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run_local)
        try:
            for stage in on_cluster:
                if stage in QUIET:
                    running.result()
                _run([stage], context, results)
            running.result()
        finally:
            cancelled.set()


def _run_in_background(stage: str, context: Context, results: Results) -> None:
    """Run a stage, and print its output as a whole at its end, between lines of the stages on the cluster."""
    lines: list[str] = []
    results.run(stage, replace(context, write=lines.append))
    log(
        "\n".join(
            [f"==== {stage} ended after {results.times[stage]:.0f} s; its output:", *lines, f"==== end of {stage}"]
        )
    )


def _report(results: Results, seconds: float, fail_on_skips: bool) -> bool:
    """Print skipped tests, failures and times; return whether all passed."""
    failed = dict(results.failed)
    if results.skipped:
        log("\n".join(f"skipped: {test}" for test in results.skipped))
        if fail_on_skips:
            failed["no skips"] = f"{len(results.skipped)} tests were skipped"
    # Print failures last, where users look first.
    for stage, last_lines in failed.items():
        log(f"==== {stage} failed:\n{last_lines}")
    outcome = f"FAILED: {', '.join(failed)}" if failed else "all passed"
    per_stage = ", ".join(f"{stage} {taken:.0f}" for stage, taken in results.times.items())
    log(f"==== {outcome}; {seconds:.0f} seconds: {per_stage}")
    return not failed
