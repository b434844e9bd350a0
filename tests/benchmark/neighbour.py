# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How others fare at the API server while images go through it."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cluster import layout

from . import clients, ours
from .comparisons import CRANE, PUSH, SEED
from .measure import Failed
from .registry import NAMESPACE, POD, Registry, administrator
from .runner import say
from .way import Way
from .works import Works, random_image

BANDWIDTH = "50M"
CONDITIONS: dict[str, Way | None] = {
    "idle": None,
    f"{PUSH} at full speed": ours.push(),
    f"{PUSH} with bandwidth: {BANDWIDTH}": ours.push(bandwidth=BANDWIDTH),
    CRANE: clients.forwarded_push(clients.crane_push),
    SEED: clients.seed_push("seed"),
}
REQUESTS = {"get": f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}", "list": "/api/v1/pods"}
_EVERY = 0.05
"""Seconds from one request to the next of its kind."""


def measure_neighbour(registry: Registry, works: Works, seconds: float) -> dict[str, Any]:
    """What the requests take in each condition, for at least so many seconds."""
    say("==== How others fare")
    return {name: _condition(name, way, registry, works, seconds) for name, way in CONDITIONS.items()}


def _condition(name: str, way: Way | None, registry: Registry, works: Works, seconds: float) -> dict[str, Any]:
    work = works.get(random_image(1024, 8))
    over = threading.Event()
    times: dict[str, list[float]] = {kind: [] for kind in REQUESTS}
    probes = [threading.Thread(target=_probe, args=(path, times[kind], over)) for kind, path in REQUESTS.items()]
    pushed = []
    started = time.monotonic()
    for probe in probes:
        probe.start()
    try:
        while time.monotonic() - started < seconds:
            if way is None:
                time.sleep(seconds)
                continue
            registry.empty()
            with tempfile.TemporaryDirectory() as folder:
                pushed.append(way(registry, work, [f"bench/{time.time_ns()}:1"], Path(folder)))
    except (Failed, OSError) as problem:
        say(f"  {name}: {problem}")
    finally:
        over.set()
        for probe in probes:
            probe.join()
        registry.empty()
    figures: dict[str, Any] = {kind: _percentiles(taken) for kind, taken in times.items()}
    figures["pushed_mib"] = len(pushed) * works.sized(1024) / (1 << 20)
    figures["seconds"] = sum(one.seconds for one in pushed)
    figures["apiserver_memory"] = max((one.apiserver_memory for one in pushed), default=None)
    say(f"  {name}: get {figures['get']['p99']:.1f} ms, list {figures['list']['p99']:.1f} ms at the 99th percentile")
    return figures


def _probe(path: str, taken: list[float], over: threading.Event) -> None:
    """Ask at a steady pace; what an answer takes is counted from when the question was due."""
    with administrator() as session:
        session.get(layout.API_URL + path, timeout=60).raise_for_status()
        due = time.monotonic()
        while not over.is_set():
            session.get(layout.API_URL + path, timeout=60).raise_for_status()
            taken.append(1000 * (time.monotonic() - due))
            due += _EVERY
            time.sleep(max(0.0, due - time.monotonic()))


def _percentiles(taken: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(taken, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "count": len(taken)}
