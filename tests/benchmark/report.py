# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report: a page in Markdown, and its plots."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import svg
from .bars import BARS
from .comparisons import COMPARISONS, CRANE, CURL, DISTANCES, PULL, PUSH, SEED, Comparison, distant
from .results import Cell, Results
from .svg import Axis
from .works import MEBIBYTE

INTRODUCTION = """\
# How fast images travel, and what that costs

Measured side by side with other ways on the test cluster (`tests/cluster/`), and made again by `make bench`. Client, \
cluster and registry share one machine, so that what one part takes the others lack: ratios within one comparison tell \
more than its seconds. In each round every way has its turn, another one begins each round, and medians of the rounds \
are shown. The registry is the one that the role deploys, with its storage in memory, emptied before each push.

- *k8scr_push* and *k8scr_pull* are the modules alone: a process that starts Python, reads its options and runs the \
module. *Inside* is what of that is after the module's first line. In a playbook they are the task of a play, with \
`ansible-playbook` from its start to its end.
- *curl* is the limit of the road through the API server: it moves the blobs, whose upload sessions are open already, \
hashes nothing and asks nothing.
- *Over port-forward*: clients that others wrote, over a `kubectl port-forward` that is there before they start; its \
processor time and memory are counted with theirs.
- *The seed's method*: what the kubectl plugin that this collection grew from does, in a few lines of Go \
(`tests/benchmark/seed/`) with the libraries that it pins, go-containerregistry 0.5.1 and a round tripper over \
client-go 0.21.1 through the Pod proxy, over HTTP/2, to the registry that comes with it, which keeps everything in \
memory, writes one upload at a time and is started anew for each turn. *Libraries and registry of today*: the same \
lines with the releases of today (`today.mod`), to the registry that all the others use.
- Memory is what was resident at most. Processor time is in seconds, of all of the client's processes.
"""
_GROWTH = {
    "size": ("the size of an image, in 4 layers", "MiB", True),
    "layers": ("the number of its layers, of 256 MiB together", "layers", False),
    "images": ("the number of images, of 100 KiB each", "images", True),
}
_SIDE_BY_SIDE = ("push-1g", "pull-1g", "push-archive")
_REPORTED = [one for one in COMPARISONS.values() if not one.series]


def write(results: Results, folder: Path) -> str:
    """Write the page and its plots into a folder; the page comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    page = "\n".join(_page(results, folder))
    (folder / "README.md").write_text(page)
    return page


def _page(results: Results, folder: Path) -> Iterator[str]:
    yield INTRODUCTION
    yield _machine(results)
    yield from _bars(results)
    for comparison in _REPORTED:
        if comparison.name in results.content["comparisons"]:
            yield from _comparison(results, comparison)
            if comparison.name in _SIDE_BY_SIDE:
                yield _side_by_side(results, comparison, folder)
    yield from _latency(results, folder)
    for series in _GROWTH:
        yield from _growth(results, series, folder)
    yield from _neighbour(results)


def _machine(results: Results) -> str:
    machine, compared = results.content["machine"], results.content["comparisons"].values()
    dates = sorted(one["date"] for one in compared)
    load = max((one["load"] for one in compared), default=0)
    days = " to ".join(sorted({dates[0][:10], dates[-1][:10]})) if dates else "at no time"
    scale = results.content["scale"]
    scaled = f" Sizes are scaled by {scale:g}: the figures are a trial." if scale != 1 else ""
    return (
        f"Measured {days}, on {machine['processors']} processors ({machine['processor']}) and {machine['memory_gib']} "
        f"GiB of memory for client and cluster together, Linux {machine['kernel']}, Kubernetes "
        f"{machine['kubernetes']}, distribution {machine['distribution']}, crane {machine['go_containerregistry']}, "
        f"regctl {machine['regctl']}, oras {machine['oras']}. Before each comparison the machine's load was at most "
        f"{load:.1f}.{scaled} Every single figure is in `results.json`.\n"
    )


def _bars(results: Results) -> Iterator[str]:
    yield "## What the figures must show\n"
    yield "| | bar | measured | |\n|---|---|---|---|"
    words = {True: "met", False: "**not met**", None: "not measured"}
    for one in BARS:
        value = one.value(results)
        shown = "" if value is None else f"{value:.2f} {one.unit}" if one.limit < 30 else f"{value:.0f} {one.unit}"
        limit = f"{'≤' if one.at_most else '≥'} {one.limit:g} {one.unit}"
        yield f"| {one.text} | {limit.strip()} | {shown.strip()} | {words[one.met(results)]} |"
    yield ""


def _comparison(results: Results, comparison: Comparison) -> Iterator[str]:
    measured = results.content["comparisons"][comparison.name]
    ways = measured["ways"]
    most = max((len(one["rounds"]) for one in ways.values()), default=0)
    yield f"## {comparison.title}\n"
    yield f"{_counted(most, 'round')}, `make bench ARGS='--only {comparison.name}'`.\n"
    columns = ["seconds", "inside", "MiB/s", "times ours", "client's CPU", "memory, MiB"]
    columns += ["API server's CPU", "kubelet's and containerd's", "registry's", "requests"]
    yield f"| | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|"
    for way, figures in ways.items():
        if figures["rounds"]:
            ratio = results.ratio(Cell(comparison.name, way), Cell(comparison.name, _ours(way, comparison)))
            yield f"| {way} | {' | '.join(_row(figures['rounds'], measured['size'], ratio))} |"
    for way, figures in ways.items():
        if failures := figures["failures"]:
            yield f"\n{way} failed {_counted(len(failures), 'time')}: {failures[0]}"
    if comparison.note:
        yield f"\n{comparison.note}"
    yield ""


def _ours(way: str, comparison: Comparison) -> str:
    """Our way under the same circumstances."""
    distance = re.search(r", \d+ ms$", way)
    module = PULL if any(name.startswith(PULL) for name in comparison.ways) else PUSH
    return module + (distance[0] if distance else "")


def _row(rounds: Sequence[dict[str, Any]], size: int, ratio: float | None) -> list[str]:
    seconds = _median(rounds, "seconds") or 0.0
    nodes = statistics.median(one["cluster"]["kubelet"] + one["cluster"]["containerd"] for one in rounds)
    parts = {part: statistics.median(one["cluster"].get(part, 0.0) for one in rounds) for part in rounds[0]["cluster"]}
    return [
        f"{seconds:.2f}",
        _shown(_median(rounds, "inside"), ".2f"),
        f"{size / MEBIBYTE / seconds:.0f}",
        _shown(ratio, ".2f"),
        f"{_median(rounds, 'cpu'):.2f}",
        f"{_median(rounds, 'memory'):.0f}",
        f"{parts['kube-apiserver']:.2f}",
        f"{nodes:.2f}",
        _shown(parts.get("registry"), ".2f"),
        _shown(_median(rounds, "requests"), ".0f"),
    ]


def _median(rounds: Sequence[dict[str, Any]], field: str) -> float | None:
    figures = [one[field] for one in rounds if one[field] is not None]
    return statistics.median(figures) if figures else None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _side_by_side(results: Results, comparison: Comparison, folder: Path) -> str:
    medians = {way: results.median(Cell(comparison.name, way)) for way in comparison.ways}
    values = {way: seconds for way, seconds in medians.items() if seconds is not None}
    return _plot(folder, comparison.name, svg.bars(comparison.title, "s", values, "k8scr"), comparison.title)


def _latency(results: Results, folder: Path) -> Iterator[str]:
    series = {}
    for way in (PUSH, CURL, CRANE, SEED):
        found = [(float(at), _at_distance(results, way, at)) for at in DISTANCES]
        line = [(at, seconds) for at, seconds in found if seconds is not None]
        if line:
            series[way] = line
    if series:
        title = "Push of 256 MiB in 8 layers over a long line"
        plot = svg.lines(title, Axis("milliseconds of a round trip"), Axis("seconds", log=True), series)
        yield _plot(folder, "latency", plot, title)


def _at_distance(results: Results, way: str, milliseconds: int) -> float | None:
    name = distant(way, milliseconds)
    return results.median(Cell("push-latency", name)) or results.median(Cell("push-far", name))


def _growth(results: Results, series: str, folder: Path) -> Iterator[str]:
    points = [one for one in COMPARISONS.values() if one.series == series]
    text, unit, log = _GROWTH[series]
    rows = {}
    for point in points:
        for way in point.ways:
            figures = [results.median(Cell(point.name, way, field)) for field in ("inside", "cpu", "memory")]
            if figures[0] is not None:
                rows[point.x, way] = [figure or 0.0 for figure in figures]
    if not rows:
        return
    yield f"## How cost grows with {text}\n"
    yield f"| {unit} | | inside, seconds | CPU | memory, MiB |\n|---:|---|---:|---:|---:|"
    for (x, way), (seconds, cpu, memory) in rows.items():
        yield f"| {x:,g} | {way} | {seconds:.2f} | {cpu:.2f} | {memory:.1f} |"
    yield ""
    for way in (PUSH, PULL):
        yield from _grown(way, {x: row for (x, one), row in rows.items() if one == way}, unit)
    for field, name, label, log_y in ((0, "time", "seconds", log), (2, "memory", "MiB resident", False)):
        lines = {way: [(x, row[field]) for (x, one), row in rows.items() if one == way] for way in (PUSH, PULL)}
        title = f"{label[0].upper()}{label[1:]}, by {text}"
        plot = svg.lines(title, Axis(unit, log), Axis(label, log_y), {way: line for way, line in lines.items() if line})
        yield _plot(folder, f"{series}-{name}", plot, title)


def _grown(way: str, rows: dict[float, list[float]], unit: str) -> Iterator[str]:
    """What becomes of time and memory when there is ten times as much of something."""
    most = max(rows, default=0)
    less = max((x for x in rows if x <= most / 10), default=None)
    if less is not None:
        seconds, memory = (rows[most][field] / rows[less][field] for field in (0, 2))
        yield (
            f"From {less:,g} to {most:,g} {unit}, {most / less:.3g} times as many, {way} takes {seconds:.3g} times as "
            f"long and {memory:.2f} times the memory.\n"
        )


def _neighbour(results: Results) -> Iterator[str]:
    neighbour = results.content["neighbour"]
    if not neighbour:
        return
    yield "## How others fare at the API server meanwhile\n"
    yield "A `get` of one Pod and a `list` of all, twenty times a second each, in milliseconds since it was due.\n"
    yield "| | get, median | get, 99th percentile | list, median | list, 99th percentile | MiB/s | API server, MiB |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, one in neighbour["conditions"].items():
        times = [f"{one[kind][cut]:.1f}" for kind in ("get", "list") for cut in ("p50", "p99")]
        speed = one["pushed_mib"] / one["seconds"] if one["seconds"] else None
        columns = [*times, _shown(speed, ".0f"), _shown(one["apiserver_memory"], ".0f")]
        yield f"| {name} | {' | '.join(columns)} |"
    yield ""


def _plot(folder: Path, name: str, plot: str, text: str) -> str:
    (folder / f"{name}.svg").write_text(plot)
    return f"![{text}]({name}.svg)\n"
