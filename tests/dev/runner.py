# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs stages of the checks, and prints their results and times."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.errors import log

from . import collection, venv
from .commands import Failed, describe
from .stages import EXTRA, GROUPS, RESULTS, STAGES, WITHOUT_CLUSTER, Context

BACKGROUND = (*WITHOUT_CLUSTER, "live-concurrent")
"""Stages that run in this order, at the same time as the others."""
AFTER = {
    # chaos kills components of the cluster, and the integration tests configure mirrors on the nodes, as the guides do.
    "live-concurrent": ("cluster", "chaos", "chaos-prunes", "integration"),
    # Their tests kill components of the cluster too, read the audit log, and measure times and memory.
    "live-others": BACKGROUND,
    "live": BACKGROUND,
    "charts": BACKGROUND,
}
"""The stages that must end before a stage starts."""


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

    Stages in the background run at the same time as the others, with their own copy of the collection.
    """
    start = time.monotonic()
    programs = venv.ensure()
    shutil.rmtree(RESULTS, ignore_errors=True)
    named = {stage for name in names for stage in GROUPS.get(name, (name,))}
    background = [stage for stage in BACKGROUND if stage in named]
    others = [stage for stage in {**STAGES, **EXTRA} if stage in named - set(background)]
    results = Results()

    def context(root: Path) -> Context:
        return Context(programs, collection.copy(root), arguments, skipped=results.skipped)

    if not others:
        _run(background, context(collection.SOURCE_ROOT), results)
    elif not background:
        _run(others, context(collection.CLUSTER_SOURCE_ROOT), results)
    else:
        contexts = context(collection.SOURCE_ROOT), context(collection.CLUSTER_SOURCE_ROOT)
        _run_both(background, others, contexts, results)
    return _report(results, time.monotonic() - start, fail_on_skips)


def _run(stages: Iterable[str], context: Context, results: Results) -> None:
    """Run stages, and print their output while they run."""
    for stage in stages:
        log(f"==== {stage}")
        results.run(stage, context)


def _run_both(
    background: Sequence[str], others: Sequence[str], contexts: tuple[Context, Context], results: Results
) -> None:
    """Run stages in a thread and the others in this one, each after those that must end before."""
    ended = {stage: threading.Event() for stage in (*background, *others)}
    cancelled = threading.Event()

    def await_earlier(stage: str) -> None:
        for earlier in AFTER.get(stage, ()):
            if earlier in ended:
                ended[earlier].wait()

    def run_background() -> None:
        try:
            for stage in background:
                await_earlier(stage)
                if not cancelled.is_set():
                    _run_silently(stage, contexts[0], results)
                ended[stage].set()
        finally:
            _set_all(ended)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run_background)
        try:
            for stage in others:
                await_earlier(stage)
                _run([stage], contexts[1], results)
                ended[stage].set()
            running.result()
        finally:
            cancelled.set()
            _set_all(ended)


def _set_all(events: Mapping[str, threading.Event]) -> None:
    """Let no thread wait for stages that will not run."""
    for event in events.values():
        event.set()


def _run_silently(stage: str, context: Context, results: Results) -> None:
    """Run a stage, and print its output as a whole at its end, between lines of other stages."""
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
