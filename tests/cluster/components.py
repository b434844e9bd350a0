# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A component of the cluster: how it is started, and how one knows that it works."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import cgroups, layout, processes
from .errors import ClusterError

_PORTS_TIMEOUT = 3
POLL = 0.1
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Component:
    """One long-lived process of the cluster."""

    name: str
    group: str
    """Its cgroup."""
    command: Callable[[], Sequence[str]]
    """Asked when it is started: a node's parts need to know their machine's process."""
    check: Callable[[], str | None]
    """None when it works, else what is wrong with it."""
    ports: tuple[int, ...] = ()
    """The TCP ports that it takes on this machine."""
    before_start: Callable[[], None] = field(default=lambda: None)
    """Clears away what its last process left behind."""

    def ensure_started(self) -> None:
        """Start it if it does not run, wake it if it was stopped; else leave it alone."""
        process = processes.running(self.name)
        if process is None:
            _check_ports(self)
            self.before_start()
            cgroups.create(self.group)
            path = f"{layout.BIN}:{SYSTEM_PATH}"
            processes.start(self.name, self.command(), self.group, path)
        elif process.state() == "T":
            process.send(signal.SIGCONT)

    def await_working(self, timeout: float = 60) -> None:
        """Wait until it works; say which it is and what its log says if it does not."""
        deadline = time.monotonic() + timeout
        while (wrong := self.check()) is not None:
            if processes.running(self.name) is None:
                wrong = "its process has ended"
            elif time.monotonic() < deadline:
                time.sleep(POLL)
                continue
            raise ClusterError(
                f"{self.name} does not come up: {wrong}. The end of "
                f"{processes.log_of(self.name)}:\n{processes.last_lines(self.name)}"
            )

    def problem(self) -> str | None:
        """What is wrong with it now, if anything."""
        process = processes.running(self.name)
        if process is None:
            return "not running"
        if process.state() == "T":
            return "stopped by a signal"
        return self.check()


def inside(machine: str, *command: str) -> list[str]:
    """The command, run in the namespaces of a node's machine."""
    process = processes.running(machine)
    if process is None:
        raise ClusterError(f"{machine} is not running: `up` brings it back")
    return ["nsenter", f"--target={process.pid}", "--net", "--mount", "--", *command]


def _check_ports(component: Component) -> None:
    """Say who has a port that the component needs; one that was just killed has it for a moment longer."""
    deadline = time.monotonic() + _PORTS_TIMEOUT
    for port in component.ports:
        while listeners := _listeners(port):
            if time.monotonic() > deadline:
                names = re.search(r'"([^"]+)",pid=([0-9]+)', listeners[0])
                who = f"{names[1]} (process {names[2]})" if names else "another process"
                raise ClusterError(f"{component.name} needs port {port}, which is taken by {who}")
            time.sleep(POLL)


def _listeners(port: int) -> list[str]:
    command = ["ss", "-Hltnp", f"sport = :{port}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
