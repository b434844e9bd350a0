# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs comparisons in rounds; each round measures every client once."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.errors import log

from . import modules
from .comparison import Comparison
from .comparisons import label
from .registry import Registry
from .upstream import Upstream
from .workloads import Workload, Workloads

Figures = dict[str, Any]
"""Measurements of one client: ``rounds``, one dictionary per round, and ``failures``, one line per failure."""


class Runner:
    """Measures comparisons.

    Args:
        registry: The registry to push to and pull from.
        workloads: The workloads of the comparisons.
        scratch: Folder for pulled images.
    """

    def __init__(self, registry: Registry, workloads: Workloads, scratch: Path) -> None:
        self._registry = registry
        self._workloads = workloads
        self._scratch = scratch
        self._numbers = itertools.count()

    def run(self, comparison: Comparison, clients: Collection[str], rounds: int) -> dict[str, Figures]:
        """Measure these clients, and return the figures of each."""
        log(f"==== {comparison.title}")
        _warm_page_cache(self._workloads.get(comparison.workload))
        figures: dict[str, Figures] = {
            client: {"rounds": [], "failures": []} for client in comparison.clients if client in clients
        }
        order = list(figures)
        names: list[str] = []
        for number in range(min(rounds, comparison.rounds or rounds)):
            # Each round starts with another client.
            for client in order[number % len(order) :] + order[: number % len(order)]:
                names = self._measure(comparison, client, names if comparison.keep else [], figures[client])
        self._registry.empty()
        return figures

    def _measure(self, comparison: Comparison, client: str, names: list[str], figures: Figures) -> list[str]:
        """Measure one client once.

        Args:
            comparison: The comparison.
            client: The client's name.
            names: The images' names in the registry; empty if the registry must be prepared.
            figures: The client's figures; the measurement is added.

        Returns:
            The images' names in the registry.
        """
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            names = names or self._prepare(comparison)
            workload = self._workloads.get(comparison.workload)
            measured = comparison.clients[client](self._registry, workload, names, folder)
            figures["rounds"].append(asdict(measured))
            log(f"  {label(client)}: {measured.seconds:.2f} s")
        except Exception as problem:  # noqa: BLE001 - the other clients are still measured
            figures["failures"].append(f"{type(problem).__name__}: {problem}")
            log(f"  {label(client)}: {problem}")
        finally:
            shutil.rmtree(folder)
        return names

    def _prepare(self, comparison: Comparison) -> list[str]:
        """Reset the registry to the content that the comparison starts from, and return the images' names."""
        self._registry.empty()
        initial = self._workloads.get(comparison.initial or comparison.workload)
        token = f"bench/{next(self._numbers)}-{time.time_ns()}"
        names = [f"{token}-{number}:1" for number in range(len(initial.sources))]
        if comparison.initial:
            self._fill(initial, names)
        return names

    def _fill(self, initial: Workload, names: list[str]) -> None:
        modules.push()(self._registry, initial, names, self._scratch)


class UpstreamRunner(Runner):
    """Measures comparisons whose clients read from the upstream registry."""

    def __init__(self, registry: Upstream, workloads: Workloads, scratch: Path) -> None:
        super().__init__(registry, workloads, scratch)
        self._upstream = registry

    def _fill(self, initial: Workload, names: list[str]) -> None:
        self._upstream.fill(zip(initial.sources, names))


def _warm_page_cache(workload: Workload) -> None:
    """Read all source files once, so that the first client has no disadvantage."""
    paths = {source.location.partition(":")[0] for source in workload.sources if source.transport != "docker-daemon"}
    for path in map(Path, paths):
        for file in [path, *path.rglob("*")]:
            if file.is_file():
                with file.open("rb") as stream:
                    while stream.read(1 << 20):
                        pass
