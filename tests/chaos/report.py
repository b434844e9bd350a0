# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report of all deliveries: a table in Markdown, and the details in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .checks import Outcome

MEGABYTE = 10**6


def summary(outcomes: Sequence[Outcome], faults: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per injected fault and one for all deliveries; a delivery counts for each of its faults."""
    rows = [_row(fault, [each for each in outcomes if fault in each.faults]) for fault in faults]
    return [*(row for row in rows if row["deliveries"]), _row("all deliveries", outcomes)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    columns = ["fault", "deliveries", "succeeded", "failed as expected", "incorrect"]
    columns += ["required, MB", "transferred, MB", "lost, MB"]
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        sizes = " | ".join(f"{row[key] / MEGABYTE:.1f}" for key in ("required", "transferred", "lost"))
        counts = " | ".join(str(row[key]) for key in ("deliveries", "succeeded", "failed", "incorrect"))
        lines.append(f"| {row['fault']} | {counts} | {sizes} |")
    return "\n".join(lines)


def write(path: Path, outcomes: Sequence[Outcome], rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write the details of all deliveries to a JSON file."""
    value = {**about, "summary": list(rows), "deliveries": [asdict(outcome) for outcome in outcomes]}
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
