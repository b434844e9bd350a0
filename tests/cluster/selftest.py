# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests `up` and `down` with killed and interrupted processes, and compares the machine before and after."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, cluster, leftovers, processes, status
from .errors import ClusterError, log
from .images import PAUSE
from .kubectl import kubectl
from .layout import NODES
from .pods import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTIONS = 5
_SLOWEST_SECOND_UP = 10


def run() -> int:
    """Run every check; return 0 if all pass."""
    cluster.down()
    before = leftovers.snapshot()
    _check_up_twice()
    _check_up_replaces_killed_processes()
    _check_reboot()
    _kill_at_random()
    _check_down(before, "after its processes were killed")
    for number in range(_INTERRUPTIONS):
        seconds = random.uniform(0.2, 12)  # noqa: S311
        _interrupt_up(seconds, signal.SIGINT if number == 0 else signal.SIGKILL)
        if number == 1:
            _timed("up after an interrupted up", cluster.up)
        _check_down(before, f"after `up` was interrupted at {seconds:.1f} s")
    if cluster.down():
        raise ClusterError("a second `down` found leftovers")
    log("all checks passed")
    return 0


def _check_up_twice() -> None:
    _timed("first up", cluster.up)
    _run_pods()
    first = _pids()
    took = _timed("second up", cluster.up)
    if _pids() != first:
        raise ClusterError(f"a second `up` replaced processes: {first} before, {_pids()} after")
    if took > _SLOWEST_SECOND_UP:
        raise ClusterError(f"a second `up` took {took:.0f} s")


def _check_up_replaces_killed_processes() -> None:
    """Kill every component but the machines and the switch: `up` replaces only the killed processes."""
    machines = {node.name for node in NODES}
    victims = [part.name for part in cluster.components() if part.name not in {*machines, "switch"}]
    first = _pids()
    for name in victims:
        cluster.stop(name, signal.SIGKILL)
    _timed("up after kill -9 of everything but the namespaces", cluster.up)
    kept = {name for name, pid in _pids().items() if first[name] == pid}
    if kept != {*machines, "switch"}:
        raise ClusterError(f"`up` must keep only the processes of the machines and the switch, but kept {kept}")
    _await_pods()


def _check_reboot() -> None:
    """Kill a node's machine and the switch: `up` starts both again, and kubelet the node's Pod."""
    cluster.stop("node-2", signal.SIGKILL)
    cluster.stop("switch", signal.SIGKILL)
    _timed("up after a node and the switch were killed", cluster.up)
    restarted = "{.status.containerStatuses[0].restartCount}=1"
    kubectl("wait", "pod/on-node-2", f"--for=jsonpath={restarted}", "--timeout=60s")
    _await_pods()


def _run_pods() -> None:
    for node in NODES:
        overrides = f'{{"spec": {{"nodeName": "{node.name}"}}}}'
        kubectl("run", f"on-{node.name}", f"--image={PAUSE}", f"--overrides={overrides}")
    _await_pods()


def _await_pods() -> None:
    wait_until_ready(*(f"on-{node.name}" for node in NODES))


def _kill_at_random() -> None:
    """Kill a random half of all processes, including those of Pods and shims."""
    for pid in cgroups.processes():
        process = processes.find(pid)
        if process and random.random() < 0.5:  # noqa: S311
            process.send(signal.SIGKILL)


def _interrupt_up(seconds: float, number: int) -> None:
    with subprocess.Popen([sys.executable, str(Path(__file__).parent), "up"], stderr=subprocess.DEVNULL) as attempt:
        try:
            attempt.wait(seconds)
        except subprocess.TimeoutExpired:
            attempt.send_signal(number)


def _check_down(before: set[str], when: str) -> None:
    _timed(f"down {when}", cluster.down)
    deadline = time.monotonic() + 5  # The kernel removes namespaces with a delay.
    while True:
        after = leftovers.snapshot()
        if after == before:
            return
        if time.monotonic() > deadline:
            lines = [f"+ {line}" for line in sorted(after - before)] + [f"- {line}" for line in sorted(before - after)]
            raise ClusterError("`down` did not restore the machine:\n" + "\n".join(lines))
        time.sleep(0.2)


def _pids() -> dict[str, int | None]:
    return {part["name"]: part["pid"] for part in status.collect()["components"]}


def _timed(step: str, function: Callable[[], object]) -> float:
    started = time.monotonic()
    function()
    took = time.monotonic() - started
    log(f"{step}: {took:.1f} s")
    return took
