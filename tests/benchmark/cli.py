# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds, alternating; medians and ratios; a table and a file."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import images
from cluster import cluster
from live.host_registries import host_registry

from . import pushes
from .pushes import Measured

MEBIBYTE = 1 << 20
BASE = "curl, HTTP/1.1, 4 connections"
PUSHES: dict[str, Callable[..., Measured]] = {
    BASE: pushes.push_with_curl,
    "curl, HTTP/1.1, 1 connection": partial(pushes.push_with_curl, connections=1),
    "curl, HTTP/2, 4 connections": partial(pushes.push_with_curl, version="--http2"),
    "k8scr_push, module alone": pushes.push_with_the_module,
    "k8scr_push, module alone, 1 connection": partial(pushes.push_with_the_module, connections=1),
}


def main() -> int:
    """Measure, print a table in Markdown, and write what was measured to a file."""
    parser = argparse.ArgumentParser(prog="python3 tests/benchmark")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure to this file")
    options = parser.parse_args()
    cluster.up()
    image = images.ensure_random(options.size * MEBIBYTE, options.layers)
    measured: dict[str, list[Measured]] = {name: [] for name in PUSHES}
    for number in range(options.rounds):
        for name, push in PUSHES.items():
            # A registry of its own for each push, so that no disk fills up and no blob is there already.
            with (
                tempfile.TemporaryDirectory() as folder,
                host_registry("distribution-3", Path(folder), "bench") as host,
            ):
                measured[name].append(push(host, image, f"bench/{number}-{time.time_ns()}"))
    print(_table(measured, options.size))
    if options.json:
        figures = {name: [vars(one) for one in many] for name, many in measured.items()}
        options.json.write_text(json.dumps({"machine": pushes.machine(), "figures": figures}, indent=2) + "\n")
    return 0


def _table(measured: dict[str, list[Measured]], size: int) -> str:
    base = _median([one.seconds for one in measured[BASE]])
    lines = [
        f"Push of {size} MiB from an OCI layout, medians of {len(measured[BASE])} rounds. {pushes.machine()}.",
        "",
        f"| what | seconds | MiB/s | times {BASE} | client's CPU seconds | client's memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, many in measured.items():
        seconds = _median([one.seconds for one in many])
        cpu = _shown([one.cpu for one in many if one.cpu is not None])
        memory = _shown([one.memory for one in many if one.memory is not None])
        lines.append(f"| {name} | {seconds:.2f} | {size / seconds:.0f} | {seconds / base:.2f} | {cpu} | {memory} |")
    return "\n".join(lines)


def _median(figures: list[float]) -> float:
    return statistics.median(figures)


def _shown(figures: list[float]) -> str:
    return f"{_median(figures):.1f}" if figures else ""
