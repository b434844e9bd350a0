# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-lived processes, each with a record of its id and start time and with a log file."""

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
    """A process, identified by its id and start time, because the kernel reuses ids."""

    pid: int
    started: int
    """The start time in clock ticks since the boot, as in /proc/PID/stat."""

    def state(self) -> str | None:
        """Return the letter of the state as in ps(1), or None if the process has ended."""
        now = _stat(self.pid)
        if now is None or now.started != self.started or now.letter in "ZX":
            return None
        return now.letter

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended; another process with the same id gets none."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle refers to the same process at this check and at the signal.
            if self.state() is not None:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Return whether the process ends within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.state() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def find(pid: int) -> Process | None:
    """Return the process that has this id now."""
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
    # The program's name is in parentheses and may contain any character: parse after the last parenthesis.
    fields = text.rpartition(")")[2].split()
    return _Stat(letter=fields[0], started=int(fields[19]))


def log_of(component: str) -> Path:
    """Return the path of the component's log file."""
    return layout.LOGS / f"{component}.log"


def last_lines(component: str, count: int = 12) -> str:
    """Return the end of the component's log."""
    try:
        lines = log_of(component).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log file)"
    return "\n".join(line[:400] for line in lines[-count:]) or "(the log is empty)"


def recorded(component: str) -> Process | None:
    """Return the last process of this component, which may have ended."""
    try:
        record = json.loads((layout.RECORDS / f"{component}.json").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return Process(pid=record["pid"], started=record["started"])


def running(component: str) -> Process | None:
    """Return the component's process if it is running."""
    process = recorded(component)
    return process if process and process.state() is not None else None


def start(component: str, command: Sequence[str], group: str, path: str) -> Process:
    """Start the component's process in a cgroup, with `path` as its PATH.

    The child joins the group and writes the record before it executes the program, so every running program has a
    record. Until then the child shares the caller's lock. If the caller is killed, other runs wait for the record.
    """
    layout.RECORDS.mkdir(parents=True, exist_ok=True)
    layout.LOGS.mkdir(parents=True, exist_ok=True)

    def prepare() -> None:
        cgroups.enter(group)
        pid = os.getpid()
        now = _stat(pid)
        assert now is not None
        temporary = layout.RECORDS / f".{component}.json"
        record = {"pid": pid, "started": now.started}
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
    child.returncode = 0  # The process outlives this one: without a status, Popen warns that it is still running.
    process = recorded(component)
    assert process is not None
    return process


def stop(component: str, number: int = signal.SIGTERM, timeout: float = 20) -> None:
    """Send a signal to the component's process and, if the signal ends programs, wait for the end."""
    process = running(component)
    if process is None:
        return
    process.send(number)
    if number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        if number != signal.SIGKILL:
            process.send(signal.SIGCONT)  # A stopped process does not handle the signal.
        if not process.wait(timeout):
            process.send(signal.SIGKILL)
            process.wait(timeout)
