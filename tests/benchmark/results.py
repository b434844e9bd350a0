# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of the benchmark, in a JSON file that later runs extend."""

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
    """One figure of one client in one comparison.

    Attributes:
        comparison: The comparison's name.
        client: The client's name.
        field: A field of :class:`measure.Measurement`.
    """

    comparison: str
    client: str
    field: str = "seconds"


class Results:
    """Results of one machine at one scale.

    Args:
        file: The JSON file. Results of another machine or scale are ignored.
        scale: Factor of all sizes.
    """

    def __init__(self, file: Path, scale: float) -> None:
        self._file = file
        self.content: dict[str, Any] = {"machine": machine(), "scale": scale, "comparisons": {}, "neighbour": {}}
        self.content["pod_creation"] = {}
        if file.exists():
            existing = json.loads(file.read_text())
            if (existing["machine"], existing["scale"]) == (machine(), scale):
                self.content.update(existing)

    def save(self, comparison: str, size: int, clients: dict[str, Any]) -> None:
        """Save the figures of a comparison, in place of earlier ones."""
        self.content["comparisons"][comparison] = {**now(), "size": size, "ways": clients}
        self._write()

    def save_api_latency(self, conditions: dict[str, Any]) -> None:
        """Save the latency of other API requests, by condition."""
        self.content["neighbour"] = {**now(), "conditions": conditions}
        self._write()

    def save_pod_creation(self, conditions: dict[str, Any]) -> None:
        """Save the latency of the creation of Pods, by condition."""
        self.content["pod_creation"] = {**now(), "conditions": conditions}
        self._write()

    def all(self, cell: Cell) -> list[float]:
        """Return a figure of all rounds; empty if it was not measured."""
        clients = self.content["comparisons"].get(cell.comparison, {}).get("ways", {})
        rounds = clients.get(cell.client, {}).get("rounds", [])
        return [one[cell.field] for one in rounds if one.get(cell.field) is not None]

    def median(self, cell: Cell) -> float | None:
        """Return the median of a figure over all rounds."""
        figures = self.all(cell)
        return statistics.median(figures) if figures else None

    def ratio(self, over: Cell, under: Cell) -> float | None:
        """Return the ratio of two figures: the median of the ratios of common rounds, or the ratio of the medians."""
        above, below = self.all(over), self.all(under)
        if not above or not below:
            return None
        if over.comparison == under.comparison and len(above) == len(below):
            return statistics.median(one / other for one, other in zip(above, below))
        return statistics.median(above) / statistics.median(below)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n")
        temporary.replace(self._file)


def now() -> dict[str, Any]:
    """Return the current time and the machine's load average."""
    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "load": os.getloadavg()[0]}


def machine() -> dict[str, Any]:
    """Describe the machine and the versions of all programs."""
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
