# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ratios, targets and the report of the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmark import pod_creation, report, svg
from benchmark.comparisons import COMPARISONS, CRANE, PULL, PUSH
from benchmark.results import Cell, Results
from benchmark.targets import TARGETS, required_measurements


def figures(*seconds: float, **more: Any) -> dict[str, Any]:
    cluster = {"kube-apiserver": 1.0, "kubelet": 0.5, "containerd": 0.5, "registry": 1.0}
    missing = {"inside": None, "first": None, "requests": None, "apiserver_memory": 300.0}
    rounds = [{"seconds": one, "cpu": 1.0, "memory": 50.0, "cluster": cluster, **missing, **more} for one in seconds]
    return {"rounds": rounds, "failures": []}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.json", 1)


def test_ratio_is_median_of_rounds_with_one_slow_round(results: Results) -> None:
    results.save("push-1g", 1 << 30, {PUSH: figures(2, 20, 2), CRANE: figures(6, 60, 7)})

    assert results.ratio(Cell("push-1g", CRANE), Cell("push-1g", PUSH)) == 3


def test_ratio_is_none_without_measurement(results: Results) -> None:
    results.save("push-1g", 1 << 30, {PUSH: figures(2), CRANE: {"rounds": [], "failures": ["it hung"]}})

    assert results.ratio(Cell("push-1g", CRANE), Cell("push-1g", PUSH)) is None


def test_results_keep_earlier_comparisons_on_same_machine(tmp_path: Path) -> None:
    Results(tmp_path / "results.json", 1).save("push-1g", 1 << 30, {PUSH: figures(2)})
    Results(tmp_path / "results.json", 1).save("pull-1g", 1 << 30, {PULL: figures(3)})

    results = Results(tmp_path / "results.json", 1)

    assert results.median(Cell("push-1g", PUSH)) == 2
    assert results.median(Cell("pull-1g", PULL)) == 3


def test_results_ignore_file_of_another_scale(tmp_path: Path) -> None:
    Results(tmp_path / "results.json", 0.1).save("push-1g", 1 << 20, {PUSH: figures(0.1)})

    assert Results(tmp_path / "results.json", 1).median(Cell("push-1g", PUSH)) is None


def test_targets_require_only_existing_clients() -> None:
    for comparison, clients in required_measurements().items():
        assert clients <= set(COMPARISONS[comparison].clients)


def test_target_is_undecided_without_measurement(results: Results) -> None:
    assert {one.met(results) for one in TARGETS} == {None}


def test_report_shows_met_targets(results: Results, tmp_path: Path) -> None:
    results.save("push-1g", 1 << 30, {PUSH: figures(2), CRANE: figures(5)})

    page = report.write(results, tmp_path)

    row = "| push of 1 GiB: crane over port-forward relative to k8scr_push | ≥ 2 times | 2.50 times | met |"
    assert row in page


def test_report_shows_failures(results: Results, tmp_path: Path) -> None:
    results.save("push-1g", 1 << 30, {PUSH: figures(2), CRANE: {"rounds": [], "failures": ["crane hung"]}})

    assert f"{CRANE} failed 1 time: crane hung" in report.write(results, tmp_path)


def test_report_contains_every_comparison_after_full_run(results: Results, tmp_path: Path) -> None:
    for comparison in COMPARISONS.values():
        results.save(comparison.name, 1 << 30, {name: figures(2, inside=1.5) for name in comparison.clients})

    page = report.write(results, tmp_path)

    assert [one.title for one in COMPARISONS.values() if not one.series and one.title not in page] == []
    assert all(f"| {one.x:,g} | {name} |" in page for one in COMPARISONS.values() if one.series for name in one.clients)
    plots = sorted(tmp_path.glob("*.svg"))
    assert [plot.name for plot in plots if f"({plot.name})" not in page] == []
    assert len(plots) == 10
    for plot in plots:
        ElementTree.parse(plot)  # noqa: S314 - created above


def test_report_shows_latency_added_to_creation_of_pods(results: Results, tmp_path: Path) -> None:
    without, with_policy = ([{"mean": 6.0, "p50": median, "p99": 9.0, "count": 500}] for median in (4.0, 5.0))
    results.save_pod_creation({pod_creation.WITHOUT: without, pod_creation.WITH: with_policy})

    page = report.write(results, tmp_path)

    assert "The policy adds 1.00 milliseconds to the median: 1.25 times the time without it." in page


def test_line_chart_connects_points_in_order_of_x() -> None:
    plot = svg.lines("scaling", svg.Axis("x", log=True), svg.Axis("y", log=True), {"k8scr_push": [(100, 100), (1, 1)]})

    assert 'd="M70.0 330.0L740.0 44.0"' in plot
