# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes and who they are."""

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
    """A process of ours that runs until it is told otherwise."""
    with subprocess.Popen(["sleep", "60"]) as child:
        found = processes.find(child.pid)
        assert found is not None
        yield found
        child.kill()


def test_a_running_process_has_a_state(sleeper: Process) -> None:
    assert sleeper.state() in ("S", "R", "D")


def test_a_killed_process_has_none_even_before_its_parent_asks(sleeper: Process) -> None:
    sleeper.send(signal.SIGKILL)
    assert sleeper.wait(5)
    assert sleeper.state() is None


def test_another_process_with_the_same_id_is_never_signalled(sleeper: Process) -> None:
    before_the_id_was_used_again = Process(sleeper.pid, sleeper.started - 1)
    before_the_id_was_used_again.send(signal.SIGKILL)
    assert before_the_id_was_used_again.state() is None
    assert sleeper.state() is not None


def test_an_id_that_nobody_has_is_no_process() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert processes.find(child.pid) is None
    Process(child.pid, 1).send(signal.SIGKILL)


def test_a_program_name_with_brackets_does_not_confuse() -> None:
    me = processes.find(os.getpid())
    assert me is not None
    assert me.started > 0
