# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The restarts of the role node_mirror, one node after the other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOSTS = 5
NAMES = [f"node-{number}" for number in range(HOSTS)]
RESULT = re.compile(r"^(?:ok|changed|skipping|fatal): \[(node-\d)\]", re.MULTILINE)
Restart = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def restart(run_plays: Callable[..., subprocess.CompletedProcess[str]]) -> Restart:
    """Runs the restarts of the role with a command on each node."""

    def run(command: str, *options: str, when: str = "true") -> subprocess.CompletedProcess[str]:
        role = {"name": "k8scr.core.node_mirror", "tasks_from": "restart"}
        variables: dict[str, Any] = {
            "node_mirror_runtime": "containerd",
            "node_mirror_service": "containerd",
            "node_mirror_restart": True,
            "node_mirror_restart_command": ["sh", "-c", command],
        }
        tasks = [{"ansible.builtin.include_role": role, "when": when}]
        return run_plays({"tasks": tasks}, options=options, hosts=HOSTS, **variables)

    return run


def test_role_restarts_one_node_after_the_other_in_order_of_play(restart: Restart, tmp_path: Path) -> None:
    log = tmp_path / "log"

    done = restart(f"echo start {{{{ inventory_hostname }}}} >>{log}; sleep 0.2; echo end >>{log}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert log.read_text().splitlines() == [line for name in NAMES for line in (f"start {name}", "end")]


def test_role_restarts_no_other_node_after_failed_restart(restart: Restart, tmp_path: Path) -> None:
    log = tmp_path / "log"

    done = restart(f"echo {{{{ inventory_hostname }}}} >>{log}; test {{{{ inventory_hostname }}}} != node-1")

    assert done.returncode != 0
    assert log.read_text().split() == NAMES[:2]


def test_role_restarts_only_nodes_with_a_changed_configuration(restart: Restart, tmp_path: Path) -> None:
    log = tmp_path / "log"

    restart(f"echo {{{{ inventory_hostname }}}} >>{log}", when="inventory_hostname in ['node-1', 'node-3']")

    assert log.read_text().split() == ["node-1", "node-3"]


def test_role_restarts_no_node_in_check_mode(restart: Restart, tmp_path: Path) -> None:
    log = tmp_path / "log"

    done = restart(f"echo >>{log}", "--check")

    assert done.returncode == 0, done.stdout + done.stderr
    assert not log.exists()


def test_restart_of_many_nodes_runs_a_constant_number_of_tasks_on_each(restart: Restart) -> None:
    done = restart("true")

    # Without an include for each pair of nodes: the restart of the service, the command and the report.
    assert len(RESULT.findall(done.stdout)) == 3 * HOSTS, done.stdout
