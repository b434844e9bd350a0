# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: what to measure, how often, and where to write it."""

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
from cluster.errors import ClusterError

from . import bars, report
from .comparisons import COMPARISONS
from .measure import Failed
from .neighbour import measure_neighbour
from .registry import deployed
from .results import Results
from .runner import Runner, say
from .works import Works

NEIGHBOUR = "neighbour"
"""What the command line calls how others fare."""
_NAMES = (*COMPARISONS, NEIGHBOUR)


def main() -> int:
    """Measure, write the results and the report, and print the report; the exit status is 1 where that failed."""
    options = _parser().parse_args()
    if options.list:
        for comparison in COMPARISONS.values():
            print(f"{comparison.name:20} {comparison.title}")
        print(f"{NEIGHBOUR:20} How others fare at the API server meanwhile")
        return 0
    # Who ends it with a signal wants nothing left behind either.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    results = Results(options.output / "results.json", options.scale)
    started = time.monotonic()
    try:
        failed = _measure(_wanted(options), options.rounds, options.scale, results)
    except (Failed, ClusterError, images.Failed) as problem:
        say(f"error: {problem}")
        return 1
    finally:
        print(report.write(results, options.output))
    say(f"measured in {time.monotonic() - started:.0f} s; the report is in {options.output}")
    if failed:
        say(f"error: not measured: {', '.join(failed)}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS='…'", description="Measure, side by side.")
    parser.add_argument("--list", action="store_true", help="say what can be measured, and measure nothing")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="what sizes are multiplied with, as 0.1 for a trial")
    parser.add_argument("--quick", action="store_true", help="only what the bars are about")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only these, as push-1g or 'pull-*'; can be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=layout.CACHE / "benchmark",
        metavar="FOLDER",
        help="where the report goes, beside the results, to which later runs add (default: %(default)s)",
    )
    return parser


def _wanted(options: argparse.Namespace) -> Mapping[str, set[str]]:
    """What is measured by name, with its ways."""
    if options.quick:
        return bars.needed()
    names = [name for name in _NAMES if any(fnmatch.fnmatch(name, pattern) for pattern in options.only or ["*"])]
    if not names:
        raise SystemExit(f"nothing is called {', '.join(options.only)}; there are {', '.join(_NAMES)}")
    return {name: set(COMPARISONS[name].ways) if name in COMPARISONS else set() for name in names}


def _measure(wanted: Mapping[str, set[str]], rounds: int, scale: float, results: Results) -> list[str]:
    """Measure, and return the names of what could not be measured."""
    failed = []
    cluster.up()
    programs.ensure(["crane", "regctl", "oras", "seed", "seed-today", "toxiproxy"])
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=layout.CACHE)))
        registry = stack.enter_context(deployed())
        works = Works(scratch, scale, stack)
        runner = Runner(registry, works, scratch)
        for name, ways in wanted.items():
            try:
                if name == NEIGHBOUR:
                    results.keep_neighbour(measure_neighbour(registry, works, 15 * scale))
                    continue
                comparison = COMPARISONS[name]
                figures = runner.run(comparison, ways, rounds)
                results.keep(name, works.get(comparison.work).size, figures)
            except Exception as problem:  # noqa: BLE001 - whatever becomes of one, the others are still measured
                say(f"  {name}: {problem}")
                failed.append(name)
    return failed
