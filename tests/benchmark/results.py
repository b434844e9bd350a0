# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured, as a file that further runs add to."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cluster import catalogue


@dataclass(frozen=True)
class Cell:
    """One figure of one way in one comparison.

    Attributes:
        comparison: The comparison's name.
        way: The way's.
        field: One of :class:`measure.Measured`'s.
    """

    comparison: str
    way: str
    field: str = "seconds"


class Results:
    """What was measured on one machine, at one scale.

    Args:
        file: Where it is kept. What is there of another machine or scale is not read.
        scale: What sizes were multiplied with.
    """

    def __init__(self, file: Path, scale: float) -> None:
        self._file = file
        self.content: dict[str, Any] = {"machine": machine(), "scale": scale, "comparisons": {}, "neighbour": {}}
        if file.exists():
            before = json.loads(file.read_text())
            if (before["machine"], before["scale"]) == (machine(), scale):
                self.content = before

    def keep(self, comparison: str, size: int, ways: dict[str, Any]) -> None:
        """Keep what was measured of a comparison, in place of what was measured before."""
        self.content["comparisons"][comparison] = {**now(), "size": size, "ways": ways}
        self._save()

    def keep_neighbour(self, conditions: dict[str, Any]) -> None:
        """Keep how others fared."""
        self.content["neighbour"] = {**now(), "conditions": conditions}
        self._save()

    def all(self, cell: Cell) -> list[float]:
        """A figure in all rounds; nothing where it was not measured."""
        ways = self.content["comparisons"].get(cell.comparison, {}).get("ways", {})
        rounds = ways.get(cell.way, {}).get("rounds", [])
        return [one[cell.field] for one in rounds if one[cell.field] is not None]

    def median(self, cell: Cell) -> float | None:
        """Its median."""
        figures = self.all(cell)
        return statistics.median(figures) if figures else None

    def ratio(self, over: Cell, under: Cell) -> float | None:
        """How many times one figure is another: the median of the rounds' ratios where they have rounds in common."""
        above, below = self.all(over), self.all(under)
        if not above or not below:
            return None
        if over.comparison == under.comparison and len(above) == len(below):
            return statistics.median(one / other for one, other in zip(above, below))
        return statistics.median(above) / statistics.median(below)

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n")
        temporary.replace(self._file)


def now() -> dict[str, Any]:
    """When something was measured, and how busy the machine was with other things just before."""
    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "load": os.getloadavg()[0]}


def machine() -> dict[str, Any]:
    """What the figures are of."""
    processor, memory = "unknown", 0
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            memory = round(int(line.split()[1]) / (1 << 20))
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "memory_gib": memory,
        "kernel": os.uname().release,
        "kubernetes": catalogue.KUBERNETES,
        "distribution": catalogue.DISTRIBUTION,
        "go_containerregistry": catalogue.GO_CONTAINERREGISTRY,
        "regctl": catalogue.REGCLIENT,
        "oras": catalogue.ORAS,
    }
