# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a command took, and what the cluster had to do for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cluster import processes
from cluster.layout import NODES

LAUNCHER = Path(__file__).with_name("launcher.py")
TIMEOUT = 900.0
"""Seconds after which a command is taken to hang for good."""
PARTS = {
    "kube-apiserver": ("kube-apiserver",),
    "kubelet": tuple(f"kubelet@{node.name}" for node in NODES),
    "containerd": tuple(f"containerd@{node.name}" for node in NODES),
}
_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """What was to be measured did not work; the message is one line."""


@dataclass(frozen=True)
class Measured:
    """What one delivery took.

    Attributes:
        seconds: Of wall time, from the start of the first program to the end of the last.
        cpu: Seconds of the processor time of the client, and of the ``kubectl port-forward`` that it goes through.
        memory: MiB that the client had resident at most, the largest of its processes, and ``kubectl``'s beside it.
        cluster: Seconds of processor time by part of the cluster.
        apiserver_memory: MiB that the API server had resident at most.
        inside: Seconds from a module's first line to its last, without the start of Python and of Ansible.
        first: Seconds from the start of the first program to the first request that uploads something, or to the first
            line of a module that does nothing.
        requests: How many the API server had of it.
    """

    seconds: float
    cpu: float
    memory: float
    cluster: dict[str, float] = field(default_factory=dict)
    apiserver_memory: float = 0.0
    inside: float | None = None
    first: float | None = None
    requests: int | None = None


@dataclass(frozen=True)
class Finished:
    """What was measured of a command, what it printed, and when it began, in seconds since 1970."""

    measured: Measured
    output: str
    started_at: float


def measure(
    command: Sequence[str | Path],
    *,
    beside: Sequence[int] = (),
    more: Mapping[str, Sequence[int]] | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a command to its end.

    Args:
        command: Its words.
        beside: Processes that belong to the client, as a tunnel does.
        more: More processes of the cluster, by what they are.
        stdin: What it reads.
        environment: Variables that it has beside the usual.

    Raises:
        Failed: It ended with another status than 0, or did not end.
    """
    parts = {**{part: _pids(part) for part in PARTS}, **(more or {})}
    apiserver = parts["kube-apiserver"][0]
    # What others left to be written to the disk is not for this one to wait for.
    os.sync()
    _forget_peak(apiserver)
    before = {part: _cpu(pids) for part, pids in parts.items()}
    beside_before = _cpu(beside)
    took, output = _run(command, stdin, {**os.environ, **(environment or {})})
    measured = Measured(
        seconds=took["seconds"],
        cpu=took["cpu"] + _cpu(beside) - beside_before,
        memory=took["memory"] + sum(map(peak_of, beside)),
        cluster={part: _cpu(pids) - before[part] for part, pids in parts.items()},
        apiserver_memory=peak_of(apiserver),
    )
    return Finished(measured, output, took["started_at"])


def _run(command: Sequence[str | Path], stdin: str, environment: dict[str, str]) -> tuple[dict[str, float], str]:
    words = [str(word) for word in command]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as took:
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), took.name, *words]
        with subprocess.Popen(
            launcher,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate(stdin, timeout=TIMEOUT)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{words[0]} did not end within {TIMEOUT:.0f} seconds") from error
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            last = (errors.strip() or output.strip() or "it said nothing").splitlines()[-1]
            raise Failed(f"{Path(words[0]).name} ended with {process.returncode}: {last[-400:]}")
        figures: dict[str, float] = json.load(took)
    return figures, output


def _pids(part: str) -> list[int]:
    found = [processes.running(component) for component in PARTS[part]]
    return [process.pid for process in found if process]


def _cpu(pids: Sequence[int]) -> float:
    """Seconds of processor time that the processes have had so far."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def cpu_of(part: str) -> float:
    """Seconds of processor time that a part of the cluster has had so far."""
    return _cpu(_pids(part))


def peak_of(pid: int) -> float:
    """MiB that a process had resident at most."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
