# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deliveries by the thousand, some at a time."""

from __future__ import annotations

import argparse
import os
import queue
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from cluster import cluster, programs

from . import report
from .delivery import deliver
from .faults import CLUSTER_FAULTS, FAULTS
from .judge import Outcome
from .plan import Plan, draw_plan
from .world import ClusterWorld, World, forget_disks

_WORLDS = 4


def main() -> int:
    """Deliver, and say what came of it; the exit status is 1 if something was not as it must be."""
    options = _parser().parse_args()
    # Whoever stops us finds everything cleared away.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    cluster.up()
    programs.ensure(["toxiproxy"])
    forget_disks()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    plans = [draw_plan(options.seed, number) for number in options.only or range(options.deliveries)]
    if options.spare_cluster:
        plans = [plan for plan in plans if not plan.alone]
    start = time.monotonic()
    outcomes = sorted(_deliver_all(plans, options.worlds), key=lambda each: each.number)
    seconds = time.monotonic() - start
    rows = report.summary(outcomes, [fault.what() for fault in (*CLUSTER_FAULTS, *FAULTS)])
    print(report.table(rows))
    wrong = [each for each in outcomes if each.problems]
    for outcome in wrong:
        _say_what_is_wrong(outcome)
    print(
        f"\n{len(outcomes)} deliveries in {seconds:.0f} s with seed {options.seed}: {len(wrong)} not as they must be."
    )
    if not any(outcome.faults for outcome in outcomes):
        print("No fault struck in any delivery: nothing was tested.", file=sys.stderr, flush=True)
        return 1
    if options.json:
        about = {"seed": options.seed, "seconds": round(seconds), "date": time.strftime("%Y-%m-%d", time.gmtime())}
        report.write(options.json, outcomes, rows, about)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 tests/chaos")
    parser.add_argument("--deliveries", type=int, default=1000, metavar="N")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="what is drawn by lot; any by default"
    )
    parser.add_argument("--only", type=int, action="append", metavar="NUMBER", help="do just this delivery; repeatable")
    parser.add_argument("--worlds", type=int, default=_WORLDS, metavar="N", help="how many deliveries at a time")
    parser.add_argument(
        "--spare-cluster", action="store_true", help="leave out what breaks the cluster itself, where others use it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that is known of each to this file")
    return parser


def _deliver_all(plans: Sequence[Plan], count: int) -> list[Outcome]:
    """Deliver in so many worlds at a time, and at last, one after the other, what no other bears beside it."""
    together, alone = ([plan for plan in plans if plan.alone is wanted] for wanted in (False, True))
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="k8scr-chaos-")))
        worlds: queue.SimpleQueue[World] = queue.SimpleQueue()
        for number in range(max(1, min(count, len(together)))):
            worlds.put(World(folder / str(number), f"chaos-{os.getpid()}-{number}", opened))

        def work(plan: Plan) -> Outcome:
            world = worlds.get()
            try:
                return _deliver(plan, world)
            finally:
                worlds.put(world)

        with ThreadPoolExecutor(worlds.qsize()) as workers:
            outcomes = [*workers.map(work, together), *(work(plan) for plan in alone if not plan.in_cluster)]
        in_cluster = [plan for plan in alone if plan.in_cluster]
        if in_cluster:
            # A controller manager ends by itself where the API server is away when it starts.
            cluster.up()
            world = ClusterWorld(folder / "cluster", f"chaos-{os.getpid()}-cluster", opened)
            outcomes += [_deliver(plan, world) for plan in in_cluster]
        return outcomes


def _deliver(plan: Plan, world: World) -> Outcome:
    try:
        outcome = deliver(plan, world)
    except Exception:  # noqa: BLE001 - the others go on
        outcome = Outcome(plan.number, problems=[traceback.format_exc()])
    shutil.rmtree(world.folder / "runs", ignore_errors=True)
    _say_what_is_wrong(outcome)
    return outcome


def _say_what_is_wrong(outcome: Outcome) -> None:
    """While the others go on, and once more at the end, where it is read."""
    for problem in outcome.problems:
        print(f"delivery {outcome.number} ({'; '.join(outcome.faults)}): {problem}", file=sys.stderr, flush=True)
