# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command line of the benchmark: comparisons, number of rounds and output folder."""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import images
from cluster import cluster, layout, programs
from cluster.errors import ClusterError, log

from . import report, targets
from .api_latency import measure_api_latency
from .comparisons import COMPARISONS
from .measure import Failed
from .pod_creation import PODS, measure_pod_creation
from .registry import deployed_registry
from .results import Results
from .runner import Runner, UpstreamRunner
from .upstream import upstream_registry
from .workloads import Workloads

API_LATENCY = "neighbour"
"""Name of the API latency measurement on the command line."""
POD_CREATION = "pod-creation"
"""Name of the measurement of the creation of Pods on the command line."""
_NAMES = (*COMPARISONS, API_LATENCY, POD_CREATION)


def main() -> int:
    """Measure, write the results and the report, and print the report; return 1 if a measurement failed."""
    options = _parser().parse_args()
    if options.list:
        for comparison in COMPARISONS.values():
            print(f"{comparison.name:20} {comparison.title}")
        print(f"{API_LATENCY:20} {report.API_LATENCY_TITLE}")
        print(f"{POD_CREATION:20} {report.POD_CREATION_TITLE}")
        return 0
    # Clean up after SIGTERM as after an exception.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    results = Results(options.output / "results.json", options.scale)
    started = time.monotonic()
    try:
        failed = _measure(_selected(options), options.rounds, options.scale, results)
    except (Failed, ClusterError, images.Failed) as problem:
        log(f"error: {problem}")
        return 1
    finally:
        print(report.write(results, options.output))
    log(f"measured in {time.monotonic() - started:.0f} s; the report is in {options.output}")
    if failed:
        log(f"error: measurement failed: {', '.join(failed)}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS='…'", description="Measure pushes and pulls side by side with other clients."
    )
    parser.add_argument("--list", action="store_true", help="list the comparisons and exit")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements of each client (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all sizes, for example 0.1 for a trial")
    parser.add_argument("--quick", action="store_true", help="measure only what the performance targets need")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="measure only these comparisons, for example push-1g or 'pull-*'; repeatable",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=layout.CACHE / "benchmark",
        metavar="FOLDER",
        help="folder of the report and of the results, to which later runs add (default: %(default)s)",
    )
    return parser


def _selected(options: argparse.Namespace) -> Mapping[str, set[str]]:
    """Return the names of the selected comparisons, each with its clients."""
    if options.quick:
        return targets.required_measurements()
    names = [name for name in _NAMES if any(fnmatch.fnmatch(name, pattern) for pattern in options.only or ["*"])]
    if not names:
        raise SystemExit(f"no comparison matches {', '.join(options.only)}. Available: {', '.join(_NAMES)}")
    return {name: set(COMPARISONS[name].clients) if name in COMPARISONS else set() for name in names}


def _measure(selected: Mapping[str, set[str]], rounds: int, scale: float, results: Results) -> list[str]:
    """Measure the selected comparisons, and return the names of those that failed."""
    failed = []
    cluster.up()
    programs.ensure(["crane", "regctl", "oras", "seed", "seed-today", "toxiproxy"])
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=layout.CACHE)))
        registry = stack.enter_context(deployed_registry())
        workloads = Workloads(scratch, scale, stack)
        upstream = stack.enter_context(upstream_registry(scratch))
        runners = {False: Runner(registry, workloads, scratch), True: UpstreamRunner(upstream, workloads, scratch)}
        for name, clients in selected.items():
            try:
                if name == API_LATENCY:
                    results.save_api_latency(measure_api_latency(registry, workloads, 15 * scale))
                    continue
                if name == POD_CREATION:
                    results.save_pod_creation(measure_pod_creation(max(2, int(PODS * scale)), rounds))
                    continue
                comparison = COMPARISONS[name]
                figures = runners[comparison.upstream].run(comparison, clients, rounds)
                results.save(name, workloads.get(comparison.workload).size, figures)
            except Exception as problem:  # noqa: BLE001 - the other comparisons are still measured
                log(f"  {name}: {problem}")
                failed.append(name)
    return failed
