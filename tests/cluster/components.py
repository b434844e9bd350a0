# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A component of the cluster: its command, its health check and its ports."""

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
    """The cgroup of the process."""
    command: Callable[[], Sequence[str]]
    """Returns the command. It is called at the start, because it may contain a process id."""
    check: Callable[[], str | None]
    """Returns None if the component works, otherwise the problem."""
    ports: tuple[int, ...] = ()
    """The TCP ports on which it listens on this machine."""
    before_start: Callable[[], None] = field(default=lambda: None)
    """Removes leftovers of the previous process."""

    def ensure_started(self) -> None:
        """Start the process if it is not running, and resume it if a signal stopped it."""
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
        """Wait until the component works.

        Raises:
            ClusterError: It does not work in time; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout
        while (problem := self.check()) is not None:
            if processes.running(self.name) is None:
                problem = "the process ended"
            elif time.monotonic() < deadline:
                time.sleep(POLL)
                continue
            raise ClusterError(
                f"{self.name} did not start: {problem}. The end of "
                f"{processes.log_of(self.name)}:\n{processes.last_lines(self.name)}"
            )

    def problem(self) -> str | None:
        """Return the current problem, or None if the component works."""
        process = processes.running(self.name)
        if process is None:
            return "not running"
        if process.state() == "T":
            return "stopped by a signal"
        return self.check()


def inside(machine: str, *command: str) -> list[str]:
    """Return a command that runs the given one in the namespaces of a node's machine."""
    process = processes.running(machine)
    if process is None:
        raise ClusterError(f"{machine} is not running: start it with `up`")
    return ["nsenter", f"--target={process.pid}", "--net", "--mount", "--", *command]


def _check_ports(component: Component) -> None:
    """Check that the component's ports are free; a killed process keeps its ports for a moment.

    Raises:
        ClusterError: Another process listens on one of them; the message names it.
    """
    deadline = time.monotonic() + _PORTS_TIMEOUT
    for port in component.ports:
        while listeners := _listeners(port):
            if time.monotonic() > deadline:
                names = re.search(r'"([^"]+)",pid=([0-9]+)', listeners[0])
                owner = f"{names[1]} (process {names[2]})" if names else "another process"
                raise ClusterError(f"{component.name} cannot start: {owner} listens on port {port}")
            time.sleep(POLL)


def _listeners(port: int) -> list[str]:
    command = ["ss", "-Hltnp", f"sport = :{port}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
