# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command line of the campaign: number of prunes and images, seed and output file."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .. import report as deliveries_report
from ..faults import PRUNE_FAULTS
from ..faults.base import Fault
from ..faults.disk import RegistryDiskFull
from ..testbed import prepare
from . import report
from .checks import PruneOutcome
from .plan import Plan, clean_plan, draw_plan
from .pool import Image, draw_images
from .step import prune
from .testbed import PruneTestbed


def main() -> int:
    """Run the prunes and print the results; return 1 if a check failed."""
    options = _parser().parse_args()
    prepare(options.seed)
    images = draw_images(options.seed, options.images)
    plans = [draw_plan(options.seed, number, images) for number in options.only or range(options.prunes)]
    start = time.monotonic()
    outcomes = _prune_all(plans, images)
    seconds = time.monotonic() - start
    kinds: tuple[type[Fault], ...] = (*PRUNE_FAULTS, RegistryDiskFull)
    rows = report.summary(outcomes, [kind.description() for kind in kinds])
    figures = report.totals(outcomes)
    table = deliveries_report.list_table if options.rst else deliveries_report.table
    print(table(rows, report.COLUMNS))
    print(f"\n{report.sentences(figures)}")
    failed = [each for each in outcomes if each.problems]
    for outcome in failed:
        _print_problems(outcome)
    print(f"\n{len(outcomes)} prunes in {seconds:.0f} s with seed {options.seed}: {len(failed)} failed a check.")
    if not figures["deleted"]:
        print("No prune deleted an image, so nothing was tested.", file=sys.stderr, flush=True)
        return 1
    if options.json:
        about = {"seed": options.seed, "images": options.images, "seconds": round(seconds)}
        about["date"] = time.strftime("%Y-%m-%d", time.gmtime())
        deliveries_report.write(options.json, outcomes, rows, {**about, "totals": figures}, "prunes")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 tests/chaos/prunes", description="Prune a registry with random faults."
    )
    parser.add_argument("--prunes", type=int, default=200, metavar="N", help="number of prunes (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=200, metavar="N", help="number of images in the registry (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="seed of the images and faults (default: random)"
    )
    parser.add_argument("--only", type=int, action="append", metavar="NUMBER", help="run only this prune; repeatable")
    parser.add_argument("--rst", action="store_true", help="print the table in reStructuredText, for the guide")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the details of all prunes to this file")
    return parser


def _prune_all(plans: Sequence[Plan], images: Sequence[Image]) -> list[PruneOutcome]:
    """Run the prunes one after the other, and a last one without faults after which all clients pull all images."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="k8scr-prunes-")))
        testbed = PruneTestbed(folder / "testbed", f"prunes-{os.getpid()}", opened)
        outcomes = [_prune(plan, images, testbed) for plan in plans]
        last = clean_plan(plans[-1]) if plans else None
        return [*outcomes, _prune(last, images, testbed, all_clients=True)] if last else outcomes


def _prune(plan: Plan, images: Sequence[Image], testbed: PruneTestbed, all_clients: bool = False) -> PruneOutcome:
    try:
        outcome = prune(plan, images, testbed, all_clients)
    except Exception:  # noqa: BLE001 - the other prunes continue
        outcome = PruneOutcome(plan.number, problems=[traceback.format_exc()])
    shutil.rmtree(testbed.folder / "runs", ignore_errors=True)
    print(
        f"prune {outcome.number}: {outcome.runs} runs, {outcome.seconds:.1f} s of {outcome.total_seconds:.1f} s; "
        f"{outcome.kept} kept, {outcome.deleted} deleted; {'; '.join(outcome.faults) or report.NO_FAULT}",
        file=sys.stderr,
        flush=True,
    )
    _print_problems(outcome)
    return outcome


def _print_problems(outcome: PruneOutcome) -> None:
    """Print failed checks: during the run, and again at the end."""
    for problem in outcome.problems:
        print(f"prune {outcome.number} ({'; '.join(outcome.faults)}): {problem}", file=sys.stderr, flush=True)
