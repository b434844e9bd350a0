# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the figures must show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .comparisons import (
    CRANE,
    CURL,
    NOTHING,
    PULL,
    PUSH,
    PUSH_PLAYED,
    PUSH_WITHOUT_ISAL,
    SEED,
    SKOPEO,
    distant,
)
from .results import Cell, Results


@dataclass(frozen=True)
class Bar:
    """One figure, and what it must not exceed or fall below.

    Attributes:
        text: What the figure is.
        limit: The bar.
        at_most: Whether it is a most, not a least.
        cells: What is measured for it.
        value: The figure; None where something was not measured.
        unit: What the figure is of.
    """

    text: str
    limit: float
    at_most: bool
    cells: tuple[Cell, ...]
    value: Callable[[Results], float | None]
    unit: str = "times"

    def met(self, results: Results) -> bool | None:
        """Whether it is met; None where that is not known."""
        value = self.value(results)
        if value is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit


def _times(text: str, limit: float, over: Cell, under: Cell, *, at_most: bool = False) -> Bar:
    return Bar(text, limit, at_most, (over, under), lambda results: results.ratio(over, under))


def _most(text: str, limit: float, unit: str, *cells: Cell) -> Bar:
    def value(results: Results) -> float | None:
        figures = [figure for cell in cells for figure in results.all(cell)]
        return max(figures, default=None)

    return Bar(text, limit, True, cells, value, unit)


def _at_median(text: str, limit: float, unit: str, cell: Cell) -> Bar:
    return Bar(text, limit, True, (cell,), lambda results: results.median(cell), unit)


def _beyond(text: str, limit: float, cell: Cell, nothing: Cell) -> Bar:
    def value(results: Results) -> float | None:
        figure, start = results.median(cell), results.median(nothing)
        return None if figure is None or start is None else figure - start

    return Bar(text, limit, True, (cell, nothing), value, "s")


_PUSHED, _PULLED = Cell("push-1g", PUSH), Cell("pull-1g", PULL)
_AT_20, _AT_0 = Cell("push-latency", distant(PUSH, 20)), Cell("push-latency", distant(PUSH, 0))
_ARCHIVE, _NO_ISAL = Cell("push-archive", PUSH), Cell("push-archive", PUSH_WITHOUT_ISAL)
_LARGE = [
    [Cell(f"{verb}-size-{size}", way, "memory") for size in (10240, 1024)]
    for verb, way in (("push", PUSH), ("pull", PULL))
]

BARS = (
    _times(
        "push of 1 GiB against curl, HTTP/1.1, 4 connections; the module from its first line",
        1.10,
        Cell("push-1g", PUSH, "inside"),
        Cell("push-1g", CURL),
        at_most=True,
    ),
    _times("the same, Python's start and all, against crane over port-forward", 2, Cell("push-1g", CRANE), _PUSHED),
    _times("the same against the seed's method", 3, Cell("push-1g", SEED), _PUSHED),
    _times(
        "pull of 1 GiB to an OCI layout, hashed, against curl, which hashes nothing; the module from its first line",
        1.3,
        Cell("pull-1g", PULL, "inside"),
        Cell("pull-1g", CURL),
        at_most=True,
    ),
    _times("the same, Python's start and all, against crane over port-forward", 2, Cell("pull-1g", CRANE), _PULLED),
    _times("the same against skopeo over port-forward", 4, Cell("pull-1g", SKOPEO), _PULLED),
    _times(
        "push of 256 MiB at 20 ms against the seed's method",
        15,
        Cell("push-latency", distant(SEED, 20)),
        _AT_20,
    ),
    _times("the same against crane over port-forward", 2, Cell("push-latency", distant(CRANE, 20)), _AT_20),
    _times("the same against our own time at 0 ms", 1.3, _AT_20, _AT_0, at_most=True),
    _times("Docker archive of 1.25 GB against skopeo over port-forward", 2.5, Cell("push-archive", SKOPEO), _ARCHIVE),
    _times("the same against crane over port-forward", 5, Cell("push-archive", CRANE), _ARCHIVE),
    _times("without isal, against skopeo", 1.5, Cell("push-archive", SKOPEO), _NO_ISAL),
    _times("without isal, against crane", 3, Cell("push-archive", CRANE), _NO_ISAL),
    _most("100 images that are there: requests", 100, "", Cell("nothing-100", PUSH, "requests")),
    _at_median(
        "100 images that are there: time beyond the module's start", 2, "s", Cell("nothing-100", PUSH, "inside")
    ),
    _most("memory, 1 GiB and 10 GiB, push and pull", 64, "MiB", *_LARGE[0], *_LARGE[1]),
    _times("memory of a push, 10 GiB against 1 GiB", 1.1, *_LARGE[0], at_most=True),
    _times("memory of a pull, 10 GiB against 1 GiB", 1.1, *_LARGE[1], at_most=True),
    _at_median("processor time of the client, push of 1 GiB", 1.5, "s", Cell("push-1g", PUSH, "cpu")),
    _beyond(
        "start of the playbook to the first byte of an upload, beyond the start of a module that does nothing",
        0.6,
        Cell("push-1g", PUSH_PLAYED, "first"),
        Cell("nothing-1", NOTHING, "first"),
    ),
)


def needed() -> dict[str, set[str]]:
    """The comparisons that bars need, and which of their ways."""
    wanted: dict[str, set[str]] = {}
    for one in BARS:
        for cell in one.cells:
            wanted.setdefault(cell.comparison, set()).add(cell.way)
    return wanted
