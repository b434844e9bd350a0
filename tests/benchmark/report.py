# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report of the results: a page in Markdown and its plots."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from images.sizes import MIB

from . import svg
from .bundle_comparisons import BUNDLE
from .comparison import Comparison
from .comparisons import (
    COMPARISONS,
    CRANE,
    CURL,
    PLUGIN,
    PULL,
    PUSH,
    ROUND_TRIPS,
    delayed,
    label,
    split_latency,
)
from .pod_creation import NAMESPACES, WITH, WITHOUT
from .results import Cell, Results
from .svg import Axis
from .targets import TARGETS

INTRODUCTION = """\
# Benchmark of pushes and pulls

`make bench` measures the modules and other clients side by side on the test cluster (`tests/cluster/`). Client, \
cluster and registry share one machine and compete for its processors. Compare the ratios within one table, not the \
seconds. Each round measures every client once and starts with another client; the tables show medians. The \
collection's role deploys the registry with its storage in memory. The storage is emptied before each push.

- *k8scr_push* and *k8scr_pull* run the module without a playbook: a process that starts Python, reads the options and \
runs the module. *Module time* excludes the start of Python. *In a playbook*, the module is the task of a play; the \
time is that of `ansible-playbook`.
- *curl* is the upper limit of a connection through the API server. It only transfers the blobs: the upload sessions \
are opened before the measurement, and curl neither computes digests nor queries the registry.
- *Over port-forward*: third-party clients over a `kubectl port-forward` that is started before the measurement. The \
CPU time and the memory of `kubectl port-forward` are included.
- *kubectl plugin*: the method of the kubectl plugin that this collection is based on, in a few lines of Go \
(`tests/benchmark/seed/`). It uses the plugin's libraries, go-containerregistry 0.5.1 and client-go 0.21.1 over HTTP/2 \
through the Pod proxy, and the plugin's registry. That registry keeps all data in memory, writes one upload at a time \
and is restarted for each measurement. *Current libraries and registry*: the same code with current releases \
(`today.mod`) and the registry of the other clients.
- *k8scr_bundle* and the clients beside it copy from an upstream registry over a connection with latency.
- Memory is the peak resident memory. CPU time is the sum of all processes of the client.
"""
API_LATENCY_TITLE = "Latency of other API requests during a push"
POD_CREATION_TITLE = "Latency of the creation of Pods with the role image_policy"
_SCALING = {
    "size": ("image size, in 4 layers", "MiB", True),
    "layers": ("number of layers, 256 MiB in total", "layers", False),
    "images": ("number of images, 100 KiB each", "images", True),
}
_SIDE_BY_SIDE = ("push-1g", "pull-1g", "push-archive")
_REPORTED = [one for one in COMPARISONS.values() if not one.series]


def write(results: Results, folder: Path) -> str:
    """Write the page and its plots to a folder, and return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    page = "\n".join(_page(results, folder))
    (folder / "README.md").write_text(page)
    return page


def _page(results: Results, folder: Path) -> Iterator[str]:
    yield INTRODUCTION
    yield _machine(results)
    yield from _targets(results)
    for comparison in _REPORTED:
        if comparison.name in results.content["comparisons"]:
            yield from _comparison(results, comparison)
            if comparison.name in _SIDE_BY_SIDE:
                yield _side_by_side(results, comparison, folder)
    yield from _latency(results, folder)
    for series in _SCALING:
        yield from _scaling(results, series, folder)
    yield from _api_latency(results)
    yield from _pod_creation(results)


def _machine(results: Results) -> str:
    machine, compared = results.content["machine"], results.content["comparisons"].values()
    dates = sorted(one["date"] for one in compared)
    load = max((one["load"] for one in compared), default=0)
    days = " to ".join(sorted({dates[0][:10], dates[-1][:10]})) if dates else "an unknown date"
    scale = results.content["scale"]
    scaled = f" All sizes are scaled by {scale:g}: this is a trial." if scale != 1 else ""
    return (
        f"Measured on {days} with {machine['processors']} processors ({machine['processor']}) and "
        f"{machine['memory_gib']} GiB of memory for client and cluster, Linux {machine['kernel']}, Kubernetes "
        f"{machine['kubernetes']}, distribution {machine['distribution']}, crane {machine['go_containerregistry']}, "
        f"regctl {machine['regctl']}, oras {machine['oras']}. The load average before a comparison was at most "
        f"{load:.1f}.{scaled} All figures are in `results.json`.\n"
    )


def _targets(results: Results) -> Iterator[str]:
    yield "## Targets\n"
    yield "| figure | target | measured | result |\n|---|---|---|---|"
    outcome = {True: "met", False: "**not met**", None: "not measured"}
    for one in TARGETS:
        value = one.value(results)
        shown = "" if value is None else f"{value:.2f} {one.unit}" if one.limit < 30 else f"{value:.0f} {one.unit}"
        limit = f"{'≤' if one.at_most else '≥'} {one.limit:g} {one.unit}"
        yield f"| {one.text} | {limit.strip()} | {shown.strip()} | {outcome[one.met(results)]} |"
    yield ""


def _comparison(results: Results, comparison: Comparison) -> Iterator[str]:
    measured = results.content["comparisons"][comparison.name]
    clients = measured["ways"]
    most = max((len(one["rounds"]) for one in clients.values()), default=0)
    yield f"## {comparison.title}\n"
    yield f"{_counted(most, 'round')}, `make bench ARGS='--only {comparison.name}'`.\n"
    columns = ["time, s", "module time, s", "MiB/s", "time relative to k8scr", "client CPU, s", "client memory, MiB"]
    columns += ["API server CPU, s", "kubelet and containerd CPU, s", "registry CPU, s", "requests"]
    yield f"| client | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|"
    for client, figures in clients.items():
        if figures["rounds"]:
            ratio = results.ratio(Cell(comparison.name, client), Cell(comparison.name, _module(client, comparison)))
            yield f"| {label(client)} | {' | '.join(_row(figures['rounds'], measured['size'], ratio))} |"
    for client, figures in clients.items():
        if failures := figures["failures"]:
            yield f"\n{label(client)} failed {_counted(len(failures), 'time')}: {failures[0]}"
    if comparison.note:
        yield f"\n{comparison.note}"
    yield ""


def _module(client: str, comparison: Comparison) -> str:
    """Return the collection's module under the same conditions as a client."""
    found = (module for module in (PULL, BUNDLE) if any(name.startswith(module) for name in comparison.clients))
    module = next(found, PUSH)
    return module + split_latency(client)[1]


def _row(rounds: Sequence[dict[str, Any]], size: int, ratio: float | None) -> list[str]:
    seconds = _median(rounds, "seconds") or 0.0
    nodes = statistics.median(one["cluster"]["kubelet"] + one["cluster"]["containerd"] for one in rounds)
    parts = {part: statistics.median(one["cluster"].get(part, 0.0) for one in rounds) for part in rounds[0]["cluster"]}
    return [
        f"{seconds:.2f}",
        _shown(_median(rounds, "inside"), ".2f"),
        f"{size / MIB / seconds:.0f}",
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
    medians = {client: results.median(Cell(comparison.name, client)) for client in comparison.clients}
    values = {label(client): seconds for client, seconds in medians.items() if seconds is not None}
    return _plot(folder, comparison.name, svg.bars(comparison.title, "s", values, "k8scr"), comparison.title)


def _latency(results: Results, folder: Path) -> Iterator[str]:
    series = {}
    for client in (PUSH, CURL, CRANE, PLUGIN):
        found = [(float(at), _at_round_trip(results, client, at)) for at in ROUND_TRIPS]
        line = [(at, seconds) for at, seconds in found if seconds is not None]
        if line:
            series[label(client)] = line
    if series:
        title = "Push of 256 MiB in 8 layers, by round-trip time"
        plot = svg.lines(title, Axis("round-trip time, ms"), Axis("time, s", log=True), series)
        yield _plot(folder, "latency", plot, title)


def _at_round_trip(results: Results, client: str, milliseconds: int) -> float | None:
    name = delayed(client, milliseconds)
    return results.median(Cell("push-latency", name)) or results.median(Cell("push-far", name))


def _scaling(results: Results, series: str, folder: Path) -> Iterator[str]:
    points = [one for one in COMPARISONS.values() if one.series == series]
    text, unit, log = _SCALING[series]
    rows = {}
    for point in points:
        for client in point.clients:
            figures = [results.median(Cell(point.name, client, field)) for field in ("inside", "cpu", "memory")]
            if figures[0] is not None:
                rows[point.x, client] = [figure or 0.0 for figure in figures]
    if not rows:
        return
    yield f"## Scaling by {text}\n"
    yield f"| {unit} | client | module time, s | client CPU, s | client memory, MiB |\n|---:|---|---:|---:|---:|"
    for (x, client), (seconds, cpu, memory) in rows.items():
        yield f"| {x:,g} | {client} | {seconds:.2f} | {cpu:.2f} | {memory:.1f} |"
    yield ""
    for module in (PUSH, PULL):
        yield from _largest_step(module, {x: row for (x, one), row in rows.items() if one == module}, unit)
    for field, name, quantity, log_y in (
        (0, "time", "Module time, s", log),
        (2, "memory", "Client memory, MiB", False),
    ):
        lines = {each: [(x, row[field]) for (x, one), row in rows.items() if one == each] for each in (PUSH, PULL)}
        title = f"{quantity}, by {text}"
        shown = {module: line for module, line in lines.items() if line}
        plot = svg.lines(title, Axis(unit, log), Axis(quantity, log_y), shown)
        yield _plot(folder, f"{series}-{name}", plot, title)


def _largest_step(module: str, rows: dict[float, list[float]], unit: str) -> Iterator[str]:
    """Compare the largest point with one of at most a tenth."""
    most = max(rows, default=0)
    less = max((x for x in rows if x <= most / 10), default=None)
    if less is not None:
        seconds, memory = (rows[most][field] / rows[less][field] for field in (0, 2))
        yield (
            f"{module}, {less:,g} to {most:,g} {unit} (factor {most / less:.3g}): {seconds:.3g} times the time, "
            f"{memory:.2f} times the memory.\n"
        )


def _api_latency(results: Results) -> Iterator[str]:
    latency = results.content["neighbour"]
    if not latency:
        return
    yield f"## {API_LATENCY_TITLE}\n"
    yield (
        "A `get` of one Pod and a `list` of all Pods, 20 times a second each. Latency is in milliseconds, counted from "
        "the scheduled time of each request.\n"
    )
    columns = ["get, median", "get, 99th percentile", "list, median", "list, 99th percentile", "MiB/s"]
    yield f"| condition | {' | '.join(columns)} | API server memory, MiB |\n|---|{'---:|' * 6}"
    for name, one in latency["conditions"].items():
        times = [f"{one[kind][cut]:.1f}" for kind in ("get", "list") for cut in ("p50", "p99")]
        speed = one["pushed_mib"] / one["seconds"] if one["seconds"] else None
        columns = [*times, _shown(speed, ".0f"), _shown(one["apiserver_memory"], ".0f")]
        yield f"| {label(name)} | {' | '.join(columns)} |"
    yield ""


def _pod_creation(results: Results) -> Iterator[str]:
    measured = results.content["pod_creation"]
    if not measured:
        return
    conditions = measured["conditions"]
    rounds, pods = len(conditions[WITH]), conditions[WITH][0]["count"]
    yield f"## {POD_CREATION_TITLE}\n"
    yield (
        f"{_counted(rounds, 'round')} of {pods} Pods, created one after the other over one connection. Each Pod has an "
        "init container and two containers, and no node runs it. The Pods with and without the policy take turns. "
        "Latency is in milliseconds; the table shows the medians of the rounds.\n"
    )
    yield "| condition | mean | median | 99th percentile |\n|---|---:|---:|---:|"
    for name in NAMESPACES:
        columns = [f"{statistics.median(one[key] for one in conditions[name]):.2f}" for key in ("mean", "p50", "p99")]
        yield f"| {name} | {' | '.join(columns)} |"
    pairs = [(one["p50"], other["p50"]) for one, other in zip(conditions[WITH], conditions[WITHOUT])]
    ratio, added = statistics.median(one / other for one, other in pairs), statistics.median(a - b for a, b in pairs)
    yield f"\nThe policy adds {added:.2f} milliseconds to the median: {ratio:.2f} times the time without it.\n"


def _plot(folder: Path, name: str, plot: str, text: str) -> str:
    (folder / f"{name}.svg").write_text(plot)
    return f"![{text}]({name}.svg)\n"
