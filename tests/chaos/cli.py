# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command line of the chaos test: number of deliveries, seed and output file."""

from __future__ import annotations

import argparse
import os
import queue
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from cluster import cluster

from . import report
from .checks import Outcome
from .delivery import deliver
from .faults import CLUSTER_FAULTS, FAULTS
from .plan import Plan, draw_plan
from .testbed import ClusterTestbed, Testbed, prepare

_TESTBEDS = 4


def main() -> int:
    """Run the deliveries and print the results; return 1 if a check failed."""
    options = _parser().parse_args()
    prepare(options.seed)
    plans = [draw_plan(options.seed, number) for number in options.only or range(options.deliveries)]
    if options.spare_cluster:
        plans = [plan for plan in plans if not plan.exclusive]
    start = time.monotonic()
    outcomes = sorted(_deliver_all(plans, options.parallel), key=lambda each: each.number)
    seconds = time.monotonic() - start
    rows = report.summary(outcomes, [fault.description() for fault in (*CLUSTER_FAULTS, *FAULTS)])
    print(report.table(rows, report.COLUMNS))
    failed = [each for each in outcomes if each.problems]
    for outcome in failed:
        _print_problems(outcome)
    print(f"\n{len(outcomes)} deliveries in {seconds:.0f} s with seed {options.seed}: {len(failed)} failed a check.")
    if not any(outcome.faults for outcome in outcomes):
        print("No fault was injected in any delivery, so nothing was tested.", file=sys.stderr, flush=True)
        return 1
    if options.json:
        about = {"seed": options.seed, "seconds": round(seconds), "date": time.strftime("%Y-%m-%d", time.gmtime())}
        report.write(options.json, outcomes, rows, about)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 tests/chaos", description="Run deliveries with random faults.")
    parser.add_argument(
        "--deliveries", type=int, default=1000, metavar="N", help="number of deliveries (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="seed of the random faults (default: a random one)"
    )
    parser.add_argument(
        "--only", type=int, action="append", metavar="NUMBER", help="run only this delivery; repeatable"
    )
    parser.add_argument(
        "--parallel",
        type=int,
        default=_TESTBEDS,
        metavar="N",
        help="number of parallel deliveries (default: %(default)s)",
    )
    parser.add_argument(
        "--spare-cluster", action="store_true", help="skip faults of the cluster itself, if others use the cluster"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the details of all deliveries to this file")
    return parser


def _deliver_all(plans: Sequence[Plan], count: int) -> list[Outcome]:
    """Run deliveries in parallel testbeds, then the exclusive ones one at a time."""
    parallel, exclusive = ([plan for plan in plans if plan.exclusive is wanted] for wanted in (False, True))
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="k8scr-chaos-")))
        testbeds: queue.SimpleQueue[Testbed] = queue.SimpleQueue()
        for number in range(max(1, min(count, len(parallel)))):
            testbeds.put(Testbed(folder / str(number), f"chaos-{os.getpid()}-{number}", opened))

        def work(plan: Plan) -> Outcome:
            testbed = testbeds.get()
            try:
                return _deliver(plan, testbed)
            finally:
                testbeds.put(testbed)

        with ThreadPoolExecutor(testbeds.qsize()) as workers:
            outcomes = [*workers.map(work, parallel), *(work(plan) for plan in exclusive if not plan.in_cluster)]
        in_cluster = [plan for plan in exclusive if plan.in_cluster]
        if in_cluster:
            # The controller manager exits if the API server is unreachable at its start.
            cluster.up()
            testbed = ClusterTestbed(folder / "cluster", f"chaos-{os.getpid()}-cluster", opened)
            outcomes += [_deliver(plan, testbed) for plan in in_cluster]
        return outcomes


def _deliver(plan: Plan, testbed: Testbed) -> Outcome:
    try:
        outcome = deliver(plan, testbed)
    except Exception:  # noqa: BLE001 - the other deliveries continue
        outcome = Outcome(plan.number, problems=[traceback.format_exc()])
    shutil.rmtree(testbed.folder / "runs", ignore_errors=True)
    _print_problems(outcome)
    return outcome


def _print_problems(outcome: Outcome) -> None:
    """Print failed checks: during the run, and again at the end."""
    for problem in outcome.problems:
        print(f"delivery {outcome.number} ({'; '.join(outcome.faults)}): {problem}", file=sys.stderr, flush=True)
