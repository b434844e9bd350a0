# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of figures: ratios, bars, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmark import report, svg
from benchmark.bars import BARS, needed
from benchmark.comparisons import COMPARISONS, CRANE, PULL, PUSH
from benchmark.results import Cell, Results


def way(*seconds: float, **more: Any) -> dict[str, Any]:
    cluster = {"kube-apiserver": 1.0, "kubelet": 0.5, "containerd": 0.5, "registry": 1.0}
    missing = {"inside": None, "first": None, "requests": None, "apiserver_memory": 300.0}
    rounds = [{"seconds": one, "cpu": 1.0, "memory": 50.0, "cluster": cluster, **missing, **more} for one in seconds]
    return {"rounds": rounds, "failures": []}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.json", 1)


def test_a_ratio_is_the_median_of_the_rounds_so_that_a_slow_round_does_not_count(results: Results) -> None:
    results.keep("push-1g", 1 << 30, {PUSH: way(2, 20, 2), CRANE: way(6, 60, 7)})

    assert results.ratio(Cell("push-1g", CRANE), Cell("push-1g", PUSH)) == 3


def test_what_was_not_measured_has_no_ratio(results: Results) -> None:
    results.keep("push-1g", 1 << 30, {PUSH: way(2), CRANE: {"rounds": [], "failures": ["it hung"]}})

    assert results.ratio(Cell("push-1g", CRANE), Cell("push-1g", PUSH)) is None


def test_a_later_run_adds_to_what_was_measured_on_the_same_machine(tmp_path: Path) -> None:
    Results(tmp_path / "results.json", 1).keep("push-1g", 1 << 30, {PUSH: way(2)})
    Results(tmp_path / "results.json", 1).keep("pull-1g", 1 << 30, {PULL: way(3)})

    results = Results(tmp_path / "results.json", 1)

    assert results.median(Cell("push-1g", PUSH)) == 2
    assert results.median(Cell("pull-1g", PULL)) == 3


def test_figures_of_another_scale_are_not_mixed_in(tmp_path: Path) -> None:
    Results(tmp_path / "results.json", 0.1).keep("push-1g", 1 << 20, {PUSH: way(0.1)})

    assert Results(tmp_path / "results.json", 1).median(Cell("push-1g", PUSH)) is None


def test_bars_name_only_what_is_measured() -> None:
    for comparison, ways in needed().items():
        assert ways <= set(COMPARISONS[comparison].ways)


def test_a_bar_that_was_not_measured_is_neither_met_nor_missed(results: Results) -> None:
    assert {one.met(results) for one in BARS} == {None}


def test_the_report_says_which_bars_are_met(results: Results, tmp_path: Path) -> None:
    results.keep("push-1g", 1 << 30, {PUSH: way(2), CRANE: way(5)})

    page = report.write(results, tmp_path)

    assert (
        "| the same, Python's start and all, against crane over port-forward | ≥ 2 times | 2.50 times | met |" in page
    )


def test_the_report_tells_what_failed(results: Results, tmp_path: Path) -> None:
    results.keep("push-1g", 1 << 30, {PUSH: way(2), CRANE: {"rounds": [], "failures": ["crane hung"]}})

    assert f"{CRANE} failed 1 time: crane hung" in report.write(results, tmp_path)


def test_everything_that_can_be_measured_is_in_the_report(results: Results, tmp_path: Path) -> None:
    for comparison in COMPARISONS.values():
        results.keep(comparison.name, 1 << 30, {name: way(2, inside=1.5) for name in comparison.ways})

    page = report.write(results, tmp_path)

    assert [one.title for one in COMPARISONS.values() if not one.series and one.title not in page] == []
    assert all(f"| {one.x:,g} | {name} |" in page for one in COMPARISONS.values() if one.series for name in one.ways)
    plots = sorted(tmp_path.glob("*.svg"))
    assert [plot.name for plot in plots if f"({plot.name})" not in page] == []
    assert len(plots) == 10
    for plot in plots:
        ElementTree.parse(plot)  # noqa: S314 - our own


def test_a_line_goes_through_its_points_from_left_to_right() -> None:
    plot = svg.lines("growth", svg.Axis("x", log=True), svg.Axis("y", log=True), {"ours": [(100, 100), (1, 1)]})

    assert 'd="M70.0 330.0L740.0 44.0"' in plot
