# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Latency of other API requests while images are pushed through the API server."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cluster import layout
from cluster.errors import log

from . import modules, third_party
from .client import Client
from .comparisons import CRANE, PLUGIN, PUSH, label
from .measure import Failed
from .registry import NAMESPACE, POD, Registry, administrator
from .workloads import Workloads, random_image

BANDWIDTH = "50M"
CONDITIONS: dict[str, Client | None] = {
    "idle": None,
    f"{PUSH} at full speed": modules.push(),
    f"{PUSH} with bandwidth: {BANDWIDTH}": modules.push(bandwidth=BANDWIDTH),
    CRANE: third_party.forwarded_push(third_party.crane_push),
    PLUGIN: third_party.plugin_push("seed"),
}
REQUESTS = {"get": f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}", "list": "/api/v1/pods"}
_INTERVAL = 0.05
"""Seconds between two requests of the same kind."""


def measure_api_latency(registry: Registry, workloads: Workloads, seconds: float) -> dict[str, Any]:
    """Measure the latency in each condition for at least this number of seconds."""
    log("==== Latency of other API requests")
    return {name: _condition(name, client, registry, workloads, seconds) for name, client in CONDITIONS.items()}


def _condition(
    name: str, client: Client | None, registry: Registry, workloads: Workloads, seconds: float
) -> dict[str, Any]:
    workload = workloads.get(random_image(1024, 8))
    stop = threading.Event()
    times: dict[str, list[float]] = {kind: [] for kind in REQUESTS}
    probes = [threading.Thread(target=_probe, args=(path, times[kind], stop)) for kind, path in REQUESTS.items()]
    pushed = []
    started = time.monotonic()
    for probe in probes:
        probe.start()
    try:
        while time.monotonic() - started < seconds:
            if client is None:
                time.sleep(seconds)
                continue
            registry.empty()
            with tempfile.TemporaryDirectory() as folder:
                pushed.append(client(registry, workload, [f"bench/{time.time_ns()}:1"], Path(folder)))
    except (Failed, OSError) as problem:
        log(f"  {label(name)}: {problem}")
    finally:
        stop.set()
        for probe in probes:
            probe.join()
        registry.empty()
    figures: dict[str, Any] = {kind: _percentiles(latencies) for kind, latencies in times.items()}
    figures["pushed_mib"] = len(pushed) * workloads.scaled(1024) / (1 << 20)
    figures["seconds"] = sum(one.seconds for one in pushed)
    figures["apiserver_memory"] = max((one.apiserver_memory for one in pushed), default=None)
    get, listed = figures["get"]["p99"], figures["list"]["p99"]
    log(f"  {label(name)}: 99th percentile of get {get:.1f} ms, of list {listed:.1f} ms")
    return figures


def _probe(path: str, latencies: list[float], stop: threading.Event) -> None:
    """Send requests at a constant rate; latency counts from the scheduled time of each request."""
    with administrator() as session:
        session.get(layout.API_URL + path, timeout=60).raise_for_status()
        due = time.monotonic()
        while not stop.is_set():
            session.get(layout.API_URL + path, timeout=60).raise_for_status()
            latencies.append(1000 * (time.monotonic() - due))
            due += _INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))


def _percentiles(latencies: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "count": len(latencies)}
