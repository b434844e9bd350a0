# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workloads, clients and report of the campaign of prunes with faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.prunes.checks import PruneOutcome
from chaos.prunes.clients import write_hosts
from chaos.prunes.model import Use
from chaos.prunes.pool import Entry, Library, draw_images
from chaos.prunes.report import NO_FAULT, sentences, summary, totals
from chaos.prunes.workloads import workloads
from chaos.report import list_table, table

DIGEST = "sha256:" + "a" * 64


def images_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from [entry] if key == "image" else images_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from images_in(entry)


def test_workloads_of_all_kinds_use_each_image_once() -> None:
    uses = [Use(f"chaos/app-{number:02}", tag="1.0.0") for number in range(40)]

    found = workloads("campaign", "chaos", [*uses, Use("chaos/last", digest=DIGEST)])

    images = list(images_in(found))
    assert len(found) == len({workload["kind"] for workload in found}) == 7
    assert len(images) == len(set(images)) == 41
    assert "registry.example.com/chaos/app-01:1.0.0" in images
    assert any(image.endswith(f"chaos/last@{DIGEST}") for image in images)


def test_workloads_have_containers_and_init_containers() -> None:
    found = workloads("campaign", "chaos", [Use("chaos/app", tag=str(number)) for number in range(40)])

    (pod,) = (workload["spec"] for workload in found if workload["kind"] == "Pod")
    assert (len(pod["containers"]), len(pod["initContainers"])) == (4, 1)


def test_workloads_select_only_their_own_pods() -> None:
    found = workloads("campaign", "chaos", [Use("chaos/app", tag=str(number)) for number in range(40)])

    labels = [tuple(workload["metadata"]["labels"].items()) for workload in found]
    selectors = [workload["spec"]["selector"]["matchLabels"] for workload in found if "selector" in workload["spec"]]
    assert len(set(labels)) == len(found)
    assert len(selectors) == 4
    assert all(tuple(selector.items()) in labels for selector in selectors)


def test_library_writes_image_with_referrer_as_first_of_layout(tmp_path: Path) -> None:
    images = draw_images(1, 5)
    library = Library(tmp_path / "library")

    entries = [Entry(name, image.content).option(library) for image in images for name in library.references(image)]

    assert len({library.digest(image.content) for image in images}) == 5
    assert [entry["referrers"] for entry in entries] == [False, False, False, False, False, True]
    assert str(entries[-1]["source"]).endswith("layout:@0")
    assert str(entries[4]["name"]).startswith("docker.io/chaos/app-00@sha256:")


def test_hosts_file_configures_mirror_for_all_registries(tmp_path: Path) -> None:
    folder = write_hosts(tmp_path / "hosts", "10.0.0.1:5001")

    assert '[host."http://10.0.0.1:5001"]' in (folder / "_default/hosts.toml").read_text()


def test_summary_counts_prune_for_each_of_its_faults() -> None:
    outcomes = [
        PruneOutcome(0, ["killed", "reset"], succeeded=True, runs=2, seconds=4.0),
        PruneOutcome(1, [], succeeded=True, runs=1, seconds=2.0),
        PruneOutcome(2, ["reset"], problems=["damaged"], damaged=1, failed_pulls=3),
    ]

    rows = {row["fault"]: row for row in summary(outcomes, ["killed", "reset", "never"])}

    assert list(rows) == ["killed", "reset", NO_FAULT, "all prunes"]
    assert [rows["reset"][key] for key in ("prunes", "first", "repeated", "incorrect")] == [2, 0, 1, 1]
    assert (rows["all prunes"]["damaged"], rows["all prunes"]["failed_pulls"]) == (1, 3)
    assert (rows["all prunes"]["seconds"], rows["all prunes"]["longest"]) == (3.0, 4.0)


def test_totals_count_leaks_of_undisturbed_prunes() -> None:
    outcomes = [PruneOutcome(0, leaked=5, bytes_before=100, bytes_after=40), PruneOutcome(1, bytes_before=10)]

    figures = totals(outcomes)

    assert (figures["leaked"], figures["exact"], figures["reclaimed"]) == (5, 1, 70)
    assert "5 bytes were leaked after 1 prunes" in sentences(figures)


def test_tables_have_the_same_cells() -> None:
    rows = [{"fault": "killed", "lost": 1_500_000}]
    columns = {"fault": "fault", "lost": "lost, MB"}

    assert table(rows, columns).splitlines()[-1] == "| killed | 1.5 |"
    assert list_table(rows, columns).splitlines()[-4:] == [
        "   * - fault",
        "     - lost, MB",
        "   * - killed",
        "     - 1.5",
    ]
