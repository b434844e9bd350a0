# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures the cost of a command for the client and for the cluster."""

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
"""Seconds after which a command is killed."""
COMPONENTS = {
    "kube-apiserver": ("kube-apiserver",),
    "kubelet": tuple(f"kubelet@{node.name}" for node in NODES),
    "containerd": tuple(f"containerd@{node.name}" for node in NODES),
}
_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement failed; the message is one line."""


@dataclass(frozen=True)
class Measurement:
    """Cost of one transfer.

    Attributes:
        seconds: Wall time, from the start of the first program to the end of the last.
        cpu: CPU seconds of the client and of its ``kubectl port-forward``.
        memory: Peak resident memory in MiB of the client's largest process, plus that of its ``kubectl port-forward``.
        cluster: CPU seconds of each component of the cluster.
        apiserver_memory: Peak resident memory of the API server in MiB.
        inside: Seconds that the module took, without the start of Python and Ansible.
        first: Seconds from the start of the first program to the first upload request, or to the first line of a
            module that does nothing.
        requests: Number of requests that the API server received, or the upstream registry of a bundle.
        written: Bytes of the files that a bundle has afterwards.
        needed: Bytes of the layer that changed before the bundle.
    """

    seconds: float
    cpu: float
    memory: float
    cluster: dict[str, float] = field(default_factory=dict)
    apiserver_memory: float = 0.0
    inside: float | None = None
    first: float | None = None
    requests: int | None = None
    written: int | None = None
    needed: int | None = None


@dataclass(frozen=True)
class CommandResult:
    """Measurement and output of a command, and its start in seconds since 1970."""

    measured: Measurement
    output: str
    started_at: float


def measure(
    command: Sequence[str | Path],
    *,
    helpers: Sequence[int] = (),
    components: Mapping[str, Sequence[int]] | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run a command and measure it.

    Args:
        command: The command and its arguments.
        helpers: IDs of other processes of the client, such as ``kubectl port-forward``.
        components: Process IDs of more components of the cluster, by component.
        stdin: The command's standard input.
        environment: Environment variables in addition to the current ones.

    Raises:
        Failed: The command failed or timed out.
    """
    processes_of = {**{component: _pids(component) for component in COMPONENTS}, **(components or {})}
    apiserver = processes_of["kube-apiserver"][0]
    # Dirty pages of earlier commands would slow this one down.
    os.sync()
    _reset_peak(apiserver)
    before = {component: _cpu(pids) for component, pids in processes_of.items()}
    helpers_before = _cpu(helpers)
    cost, output = _run(command, stdin, {**os.environ, **(environment or {})})
    measured = Measurement(
        seconds=cost["seconds"],
        cpu=cost["cpu"] + _cpu(helpers) - helpers_before,
        memory=cost["memory"] + sum(map(peak_of, helpers)),
        cluster={component: _cpu(pids) - before[component] for component, pids in processes_of.items()},
        apiserver_memory=peak_of(apiserver),
    )
    return CommandResult(measured, output, cost["started_at"])


def _run(command: Sequence[str | Path], stdin: str, environment: dict[str, str]) -> tuple[dict[str, float], str]:
    arguments = [str(argument) for argument in command]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), file.name, *arguments]
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
                raise Failed(f"{arguments[0]} timed out after {TIMEOUT:.0f} seconds") from error
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            last = (errors.strip() or output.strip() or "no output").splitlines()[-1]
            raise Failed(f"{Path(arguments[0]).name} failed with exit status {process.returncode}: {last[-400:]}")
        cost: dict[str, float] = json.load(file)
    return cost, output


def _pids(component: str) -> list[int]:
    found = [processes.running(name) for name in COMPONENTS[component]]
    return [process.pid for process in found if process]


def _cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds that the processes have used so far."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def peak_of(pid: int) -> float:
    """Return the peak resident memory of a process in MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _reset_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
