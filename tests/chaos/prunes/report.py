# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summary of all prunes: one row for each fault, and the figures of the whole campaign."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .checks import PruneOutcome

NO_FAULT = "no fault"
COLUMNS = {
    "fault": "fault",
    "prunes": "prunes",
    "first": "succeeded at once",
    "repeated": "succeeded when repeated",
    "incorrect": "incorrect",
    "damaged": "damaged images",
    "failed_pulls": "failed pulls",
    "seconds": "seconds, median",
    "longest": "seconds, maximum",
}
"""The columns of the table, with the keys of their values."""


def summary(outcomes: Sequence[PruneOutcome], faults: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per injected fault, one for prunes without faults, and one for all prunes.

    A prune counts for each of its faults.
    """
    rows = [_row(fault, [each for each in outcomes if fault in each.faults]) for fault in faults]
    rows.append(_row(NO_FAULT, [each for each in outcomes if not each.faults]))
    return [*(row for row in rows if row["prunes"]), _row("all prunes", outcomes)]


def totals(outcomes: Sequence[PruneOutcome]) -> dict[str, Any]:
    """Return the figures of the whole campaign."""
    exact = [each for each in outcomes if each.leaked is not None]
    return {
        "kept": sum(each.kept for each in outcomes),
        "deleted": sum(each.deleted for each in outcomes),
        "damaged": sum(each.damaged for each in outcomes),
        "reclaimed": sum(max(0, each.bytes_before - each.bytes_after) for each in outcomes),
        "exact": len(exact),
        "leaked": sum(each.leaked or 0 for each in exact),
        "requests": sum(each.requests for each in outcomes),
        "pulls": sum(each.pulls for each in outcomes),
        "failed_pulls": sum(each.failed_pulls for each in outcomes),
        "pushes": sum(each.pushes for each in outcomes),
        "pushes_repeated": sum(each.pushes_repeated for each in outcomes),
        "collection_seconds": _median([each.collection_seconds for each in outcomes if each.collection_seconds]),
        "uploads": outcomes[-1].uploads if outcomes else 0,
    }


def sentences(figures: dict[str, Any]) -> str:
    """Return the figures of the whole campaign as text."""
    template = (
        "{kept} times an image was kept and {deleted} times deleted; {reclaimed} bytes were reclaimed.\n"
        "{damaged} kept images were damaged.\n"
        "{leaked} bytes were leaked after {exact} prunes that no push and no kill disturbed.\n"
        "{failed_pulls} pulls failed, of {requests} HTTP requests and {pulls} pulls with containerd on two nodes.\n"
        "{pushes} pushes ran during the prunes; {pushes_repeated} of them were repeated.\n"
        "The garbage collection took {collection_seconds} s (median). {uploads} upload sessions are open."
    )
    return template.format(**figures)


def _row(name: str, outcomes: Sequence[PruneOutcome]) -> dict[str, Any]:
    succeeded = [each for each in outcomes if each.succeeded]
    return {
        "fault": name,
        "prunes": len(outcomes),
        "first": sum(each.runs == 1 for each in succeeded),
        "repeated": sum(each.runs > 1 for each in succeeded),
        "incorrect": sum(bool(each.problems) for each in outcomes),
        "damaged": sum(each.damaged for each in outcomes),
        "failed_pulls": sum(each.failed_pulls for each in outcomes),
        "seconds": _median([each.seconds for each in succeeded]),
        "longest": round(max((each.seconds for each in succeeded), default=0), 1),
    }


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 1) if values else 0.0
