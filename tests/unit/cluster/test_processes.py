# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes identified by id and start time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from cluster import processes
from cluster.processes import Process


@pytest.fixture
def sleeper() -> Iterator[Process]:
    """A process that runs until the end of the test."""
    with subprocess.Popen(["sleep", "60"]) as child:
        found = processes.find(child.pid)
        assert found is not None
        yield found
        child.kill()


def test_state_of_running_process(sleeper: Process) -> None:
    assert sleeper.state() in ("S", "R", "D")


def test_state_is_none_for_killed_process_before_parent_waits(sleeper: Process) -> None:
    sleeper.send(signal.SIGKILL)
    assert sleeper.wait(5)
    assert sleeper.state() is None


def test_send_ignores_process_with_reused_id(sleeper: Process) -> None:
    earlier = Process(sleeper.pid, sleeper.started - 1)
    earlier.send(signal.SIGKILL)
    assert earlier.state() is None
    assert sleeper.state() is not None


def test_find_returns_none_for_unused_id() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert processes.find(child.pid) is None
    Process(child.pid, 1).send(signal.SIGKILL)


def test_find_returns_own_process() -> None:
    found = processes.find(os.getpid())
    assert found is not None
    assert found.started > 0
