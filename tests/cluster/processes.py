# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-lived processes: started on their own, known by id and start time, logged to a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups, layout
from .errors import ClusterError


@dataclass(frozen=True)
class Process:
    """A process for sure: ids are used again, but not with the same start time."""

    pid: int
    started: int
    """In clock ticks since the machine's start, as in /proc/PID/stat."""

    def state(self) -> str | None:
        """Its state's letter as in ps(1), or None when it has ended."""
        now = _stat(self.pid)
        if now is None or now.started != self.started or now.letter in "ZX":
            return None
        return now.letter

    def send(self, number: int) -> None:
        """Send it a signal; none if it has ended, or if the id is someone else's by now."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle cannot come to mean another process between this look and the signal.
            if self.state() is not None:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Whether it ends in time."""
        deadline = time.monotonic() + timeout
        while self.state() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def find(pid: int) -> Process | None:
    """The process that has this id now."""
    now = _stat(pid)
    return Process(pid, now.started) if now else None


@dataclass(frozen=True)
class _Stat:
    letter: str
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name, in brackets, may hold anything: count from the last bracket.
    fields = text.rpartition(")")[2].split()
    return _Stat(letter=fields[0], started=int(fields[19]))


def log_of(component: str) -> Path:
    """The component's log file."""
    return layout.LOGS / f"{component}.log"


def last_lines(component: str, count: int = 12) -> str:
    """The end of the component's log."""
    try:
        lines = log_of(component).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "(it has not written a log)"
    return "\n".join(line[:400] for line in lines[-count:]) or "(its log is empty)"


def recorded(component: str) -> Process | None:
    """The process last started as this component, whether it still runs or not."""
    try:
        record = json.loads((layout.RECORDS / f"{component}.json").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return Process(pid=record["pid"], started=record["started"])


def running(component: str) -> Process | None:
    """The component's process, if it runs."""
    process = recorded(component)
    return process if process and process.state() is not None else None


def start(component: str, command: Sequence[str], group: str, path: str) -> Process:
    """Start the component's process in a cgroup, with `path` as its PATH.

    The child joins the group and writes the record itself, before it becomes the program: there
    is no moment at which a program runs and nothing knows of it. Until then it also holds the
    open file of our caller's lock, so nobody else looks before it is done, even if we are killed.
    """
    layout.RECORDS.mkdir(parents=True, exist_ok=True)
    layout.LOGS.mkdir(parents=True, exist_ok=True)

    def prepare() -> None:
        cgroups.enter(group)
        me = os.getpid()
        now = _stat(me)
        assert now is not None
        temporary = layout.RECORDS / f".{component}.json"
        record = {"pid": me, "started": now.started}
        temporary.write_text(json.dumps(record), encoding="ascii")
        temporary.replace(layout.RECORDS / f"{component}.json")

    with log_of(component).open("ab") as log:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": path, "HOME": "/nonexistent", "LANG": "C.UTF-8"},
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509 (there is one thread)
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ClusterError(f"cannot start {component}: {error}") from error
    child.returncode = 0  # It is to outlive us: nobody shall wait for it, or warn that nobody did.
    process = recorded(component)
    assert process is not None
    return process


def stop(component: str, number: int = signal.SIGTERM, timeout: float = 20) -> None:
    """Send the component's process a signal and, if that one ends programs, wait for the end."""
    process = running(component)
    if process is None:
        return
    process.send(number)
    if number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        if number != signal.SIGKILL:
            process.send(signal.SIGCONT)  # A stopped process would never get to its end.
        if not process.wait(timeout):
            process.send(signal.SIGKILL)
            process.wait(timeout)
