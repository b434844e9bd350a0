# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds, in which each way has its turn."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import ours
from .comparisons import Comparison
from .registry import Registry
from .works import Work, Works

Figures = dict[str, Any]
"""What was measured of one way: ``rounds``, each as a dictionary, and ``failures``, each as a line."""


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


class Runner:
    """Measures comparisons.

    Args:
        registry: Where everything goes to and comes from.
        works: What is delivered.
        scratch: Where there is room for what is pulled.
    """

    def __init__(self, registry: Registry, works: Works, scratch: Path) -> None:
        self._registry = registry
        self._works = works
        self._scratch = scratch
        self._numbers = itertools.count()

    def run(self, comparison: Comparison, ways: Collection[str], rounds: int) -> dict[str, Figures]:
        """Measure these ways; what was measured of each comes back."""
        say(f"==== {comparison.title}")
        work = self._works.get(comparison.work)
        _warm(work)
        figures: dict[str, Figures] = {way: {"rounds": [], "failures": []} for way in comparison.ways if way in ways}
        order = list(figures)
        names: list[str] = []
        for number in range(min(rounds, comparison.rounds or rounds)):
            # Another one begins each round.
            for way in order[number % len(order) :] + order[: number % len(order)]:
                names = self._one(comparison, way, names if comparison.kept else [], figures[way])
        self._registry.empty()
        return figures

    def _one(self, comparison: Comparison, way: str, names: list[str], figures: Figures) -> list[str]:
        """Measure one way once.

        Args:
            comparison: What is compared.
            way: Which way.
            names: The images' names in the registry, where it has what is to be there before.
            figures: What was measured of the way, to add to.

        Returns:
            The images' names.
        """
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            names = names or self._prepare(comparison)
            work = self._works.get(comparison.work)
            measured = comparison.ways[way](self._registry, work, names, folder)
            figures["rounds"].append(asdict(measured))
            say(f"  {way}: {measured.seconds:.2f} s")
        except Exception as problem:  # noqa: BLE001 - whatever becomes of one, the others are still measured
            figures["failures"].append(f"{type(problem).__name__}: {problem}")
            say(f"  {way}: {problem}")
        finally:
            shutil.rmtree(folder)
        return names

    def _prepare(self, comparison: Comparison) -> list[str]:
        """Have in the registry what is to be there before; the names of the images there come back."""
        self._registry.empty()
        before = self._works.get(comparison.before or comparison.work)
        token = f"bench/{next(self._numbers)}-{time.time_ns()}"
        names = [f"{token}-{number}:1" for number in range(len(before.sources))]
        if comparison.before:
            ours.push()(self._registry, before, names, self._scratch)
        return names


def _warm(work: Work) -> None:
    """Read what is delivered once, so that the first way does not wait for the disk alone."""
    places = {source.place.partition(":")[0] for source in work.sources if source.transport != "docker-daemon"}
    for place in map(Path, places):
        for file in [place, *place.rglob("*")]:
            if file.is_file():
                with file.open("rb") as stream:
                    while stream.read(1 << 20):
                        pass
