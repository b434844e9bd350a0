# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Performance targets, and whether the results meet them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .bundle_comparisons import BUNDLE, BUNDLE_DELTA, CURL_LAYERS, SIZES
from .comparisons import (
    CRANE,
    CURL,
    NO_OP,
    PLUGIN,
    PULL,
    PUSH,
    PUSH_IN_PLAYBOOK,
    PUSH_WITHOUT_ISAL,
    SKOPEO,
    delayed,
)
from .results import Cell, Results


@dataclass(frozen=True)
class Target:
    """One figure and its limit.

    Attributes:
        text: Description of the figure.
        limit: The limit.
        at_most: Whether the limit is a maximum; otherwise it is a minimum.
        cells: The measurements that the figure needs.
        value: Computes the figure; None if a measurement is missing.
        unit: Unit of the figure.
    """

    text: str
    limit: float
    at_most: bool
    cells: tuple[Cell, ...]
    value: Callable[[Results], float | None]
    unit: str = "times"

    def met(self, results: Results) -> bool | None:
        """Return whether the results meet the target; None if a measurement is missing."""
        value = self.value(results)
        if value is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit


def _ratio(text: str, limit: float, over: Cell, under: Cell, *, at_most: bool = False) -> Target:
    return Target(text, limit, at_most, (over, under), lambda results: results.ratio(over, under))


def _maximum(text: str, limit: float, unit: str, *cells: Cell) -> Target:
    def value(results: Results) -> float | None:
        figures = [figure for cell in cells for figure in results.all(cell)]
        return max(figures, default=None)

    return Target(text, limit, True, cells, value, unit)


def _median(text: str, limit: float, unit: str, cell: Cell) -> Target:
    return Target(text, limit, True, (cell,), lambda results: results.median(cell), unit)


def _difference(text: str, limit: float, cell: Cell, baseline: Cell) -> Target:
    def value(results: Results) -> float | None:
        figure, base = results.median(cell), results.median(baseline)
        return None if figure is None or base is None else figure - base

    return Target(text, limit, True, (cell, baseline), value, "s")


_PUSH, _PULL = Cell("push-1g", PUSH), Cell("pull-1g", PULL)
_AT_20_MS, _AT_0_MS = Cell("push-latency", delayed(PUSH, 20)), Cell("push-latency", delayed(PUSH, 0))
_ARCHIVE, _WITHOUT_ISAL = Cell("push-archive", PUSH), Cell("push-archive", PUSH_WITHOUT_ISAL)
_MEMORY = [
    [Cell(f"{verb}-size-{size}", module, "memory") for size in (10240, 1024)]
    for verb, module in (("push", PUSH), ("pull", PULL))
]
_BUNDLE_MEMORY = [Cell(f"bundle-size-{size}", BUNDLE, "memory") for size in reversed(SIZES)]

TARGETS = (
    _ratio(
        "push of 1 GiB: k8scr_push (module time) relative to curl, HTTP/1.1, 4 connections",
        1.10,
        Cell("push-1g", PUSH, "inside"),
        Cell("push-1g", CURL),
        at_most=True,
    ),
    _ratio("push of 1 GiB: crane over port-forward relative to k8scr_push", 2, Cell("push-1g", CRANE), _PUSH),
    _ratio("push of 1 GiB: kubectl plugin relative to k8scr_push", 3, Cell("push-1g", PLUGIN), _PUSH),
    _ratio(
        "pull of 1 GiB to an OCI layout: k8scr_pull (module time) relative to curl, which verifies no digests",
        1.3,
        Cell("pull-1g", PULL, "inside"),
        Cell("pull-1g", CURL),
        at_most=True,
    ),
    _ratio(
        "pull of 1 GiB to an OCI layout: crane over port-forward relative to k8scr_pull",
        2,
        Cell("pull-1g", CRANE),
        _PULL,
    ),
    _ratio(
        "pull of 1 GiB to an OCI layout: skopeo over port-forward relative to k8scr_pull",
        4,
        Cell("pull-1g", SKOPEO),
        _PULL,
    ),
    _ratio(
        "push of 256 MiB, round-trip time 20 ms: kubectl plugin relative to k8scr_push",
        15,
        Cell("push-latency", delayed(PLUGIN, 20)),
        _AT_20_MS,
    ),
    _ratio(
        "push of 256 MiB, round-trip time 20 ms: crane over port-forward relative to k8scr_push",
        2,
        Cell("push-latency", delayed(CRANE, 20)),
        _AT_20_MS,
    ),
    _ratio("push of 256 MiB: k8scr_push at 20 ms relative to 0 ms", 1.3, _AT_20_MS, _AT_0_MS, at_most=True),
    _ratio(
        "Docker archive of 1.25 GB: skopeo over port-forward relative to k8scr_push",
        2.5,
        Cell("push-archive", SKOPEO),
        _ARCHIVE,
    ),
    _ratio(
        "Docker archive of 1.25 GB: crane over port-forward relative to k8scr_push",
        5,
        Cell("push-archive", CRANE),
        _ARCHIVE,
    ),
    _ratio(
        "Docker archive of 1.25 GB: skopeo over port-forward relative to k8scr_push without isal",
        1.5,
        Cell("push-archive", SKOPEO),
        _WITHOUT_ISAL,
    ),
    _ratio(
        "Docker archive of 1.25 GB: crane over port-forward relative to k8scr_push without isal",
        3,
        Cell("push-archive", CRANE),
        _WITHOUT_ISAL,
    ),
    _maximum("push of 100 existing images: requests", 100, "", Cell("nothing-100", PUSH, "requests")),
    _median("push of 100 existing images: module time", 2, "s", Cell("nothing-100", PUSH, "inside")),
    _maximum("client memory, 1 GiB and 10 GiB, push and pull", 64, "MiB", *_MEMORY[0], *_MEMORY[1]),
    _ratio("client memory, push: 10 GiB relative to 1 GiB", 1.1, *_MEMORY[0], at_most=True),
    _ratio("client memory, pull: 10 GiB relative to 1 GiB", 1.1, *_MEMORY[1], at_most=True),
    _median("client CPU time, push of 1 GiB", 1.5, "s", Cell("push-1g", PUSH, "cpu")),
    _difference(
        "start of the playbook to the first upload request, minus the start of a no-op module",
        0.6,
        Cell("push-1g", PUSH_IN_PLAYBOOK, "first"),
        Cell("nothing-1", NO_OP, "first"),
    ),
    _ratio(
        "bundle of 100 images, 20 ms: k8scr_bundle (module time) relative to curl, layers alone",
        1.2,
        Cell("bundle-100", BUNDLE, "inside"),
        Cell("bundle-100", CURL_LAYERS),
        at_most=True,
    ),
    _maximum("bundle of 100 unchanged images: requests", 100, "", Cell("bundle-nothing", BUNDLE, "requests")),
    _maximum("client memory, bundles", 64, "MiB", Cell("bundle-100", BUNDLE, "memory"), *_BUNDLE_MEMORY),
    _ratio("client memory, bundle: 5 GiB relative to 1 GiB", 1.1, *_BUNDLE_MEMORY, at_most=True),
    _ratio(
        "delta of one layer: bytes of the bundle relative to those of the layer",
        1.02,
        Cell("bundle-changed", BUNDLE_DELTA, "written"),
        Cell("bundle-changed", BUNDLE_DELTA, "needed"),
        at_most=True,
    ),
)


def required_measurements() -> dict[str, set[str]]:
    """Return the comparisons that the targets need, each with its clients."""
    required: dict[str, set[str]] = {}
    for one in TARGETS:
        for cell in one.cells:
            required.setdefault(cell.comparison, set()).add(cell.client)
    return required
