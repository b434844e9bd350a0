# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report of all deliveries: a table in Markdown, and the details in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .checks import FaultOutcome, Outcome

MEGABYTE = 10**6
COLUMNS = {
    "fault": "fault",
    "deliveries": "deliveries",
    "succeeded": "succeeded",
    "failed": "failed as expected",
    "incorrect": "incorrect",
    "required": "required, MB",
    "transferred": "transferred, MB",
    "lost": "lost, MB",
}
"""The columns of the table of deliveries, with the keys of their values."""


def summary(outcomes: Sequence[Outcome], faults: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per injected fault and one for all deliveries; a delivery counts for each of its faults."""
    rows = [_row(fault, [each for each in outcomes if fault in each.faults]) for fault in faults]
    return [*(row for row in rows if row["deliveries"]), _row("all deliveries", outcomes)]


def table(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> str:
    """Return the rows as a Markdown table.

    Args:
        rows: The rows.
        columns: Titles of the columns by key of a row; a title that ends in "MB" makes megabytes of bytes.
    """
    lines = [f"| {' | '.join(columns.values())} |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    lines += [f"| {' | '.join(_cells(row, columns))} |" for row in rows]
    return "\n".join(lines)


def list_table(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> str:
    """Return the rows as a table in reStructuredText, for the guide; see :func:`table`."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in [list(columns.values()), *(_cells(row, columns) for row in rows)]:
        lines += [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(cells)]
    return "\n".join(lines)


def _cells(row: dict[str, Any], columns: Mapping[str, str]) -> list[str]:
    return [f"{row[key] / MEGABYTE:.1f}" if title.endswith("MB") else str(row[key]) for key, title in columns.items()]


def write(
    path: Path,
    outcomes: Sequence[FaultOutcome],
    rows: Sequence[dict[str, Any]],
    about: dict[str, Any],
    name: str = "deliveries",
) -> None:
    """Write the details of all deliveries or prunes to a JSON file."""
    value = {**about, "summary": list(rows), name: [asdict(outcome) for outcome in outcomes]}
    path.write_text(json.dumps(value, indent=1) + "\n")


def _row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "fault": name,
        "deliveries": len(outcomes),
        "succeeded": sum(each.succeeded for each in outcomes),
        "failed": sum(not each.succeeded for each in outcomes),
        "incorrect": sum(bool(each.problems) for each in outcomes),
        "required": sum(each.required for each in outcomes),
        "transferred": sum(each.transferred for each in outcomes),
        "lost": sum(each.lost for each in outcomes),
        "uploads": sum(each.uploads for each in outcomes),
    }
