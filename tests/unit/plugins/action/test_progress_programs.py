# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of tasks under AWX, with the program ansible, with other settings and after Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path
from signal import SIG_BLOCK, SIGHUP, SIGINT, SIGTERM, pthread_sigmask

import pytest
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.followed_file import FollowedFile
from unit.plugins.module_utils.support.playbooks import Playbooks, talk
from unit.plugins.module_utils.support.terminal import Terminal, open_terminal

STEPS = [("status", "first"), ("wait", 0.5), ("line", "finished")]


@pytest.fixture(scope="module")
def playbooks(tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    return Playbooks(tmp_path_factory.mktemp("playbooks"))


def test_awx_gets_event_of_each_line(playbooks: Playbooks) -> None:
    events = playbooks.folder / "events"

    # AWX runs Ansible on a pseudo-terminal.
    playbooks.in_terminal(
        [{"tasks": [talk(*STEPS)]}],
        EVENTS=str(events),
        ANSIBLE_CALLBACK_PLUGINS=str(playbooks.folder / "awx"),
        ANSIBLE_STDOUT_CALLBACK="awx_display",
    )

    shown = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event for event in shown if "k8scr" in event["text"]] == [
        {"text": "k8scr: first", "stderr": False},
        {"text": "k8scr: finished", "stderr": False},
    ]


def test_program_ansible_keeps_one_line_for_each_host(playbooks: Playbooks) -> None:
    program = Path(playbooks.command([])[0]).with_name("ansible")
    steps = json.dumps({"steps": [{"line": "finished"}]})

    done = playbooks.run([str(program), "all", "-i", "a,b,", "-c", "local", "-o", "-m", "talk", "-a", steps], {})

    assert sorted(line.partition(" ")[0] for line in done.stdout.splitlines()) == ["a", "b"]
    assert "finished" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def verbose(playbooks: Playbooks) -> Terminal:
    """The terminal after a verbose play."""
    late = talk(("status", "late"), ("wait", 60), name="Late", timeout=2, ignore_errors=True)
    return playbooks.in_terminal([{"tasks": [talk(*STEPS), late]}], "-v")


def test_verbose_output_has_plain_lines(verbose: Terminal) -> None:
    lines = verbose.screen_lines()

    assert "k8scr: first" in lines
    assert "k8scr: finished" in lines
    assert "\x1b[K" not in verbose.output()


def test_task_ends_at_its_timeout(verbose: Terminal) -> None:
    assert "k8scr: late" in verbose.screen_lines()
    assert "Late" in verbose.output()
    assert verbose.status == 0


def test_invalid_environment_variable_causes_warning_of_tasks_without_option(playbooks: Playbooks) -> None:
    tasks = [talk(*STEPS, options={"progress": "lines"}), talk(*STEPS)]

    done = playbooks.in_pipe([{"tasks": tasks}], K8SCR_PROGRESS="loud")

    warning = "K8SCR_PROGRESS is 'loud'. The allowed values are auto, lines, none."
    assert done.stdout.splitlines().count("k8scr: finished") == 2
    assert " ".join(done.stderr.split()).count(warning) == 1
    assert "failed=0" in done.stdout


def test_interrupted_task_leaves_no_files(playbooks: Playbooks) -> None:
    command = playbooks.command([{"tasks": [talk(("status", "first"), ("wait", 60))]}])

    with open_terminal(command, playbooks.environment, cwd=playbooks.folder) as terminal:
        terminal.wait_for_text("k8scr: first", timeout=60)
        terminal.press_control_c()
        terminal.wait(30)

    assert list(playbooks.local_tmp.iterdir()) == []


def test_interrupted_worker_ends_after_it_displayed_text(playbooks: Playbooks) -> None:
    command = playbooks.command([{"tasks": [talk(("status", "first"), ("wait", 60), module="talk_slowly")]}])

    with open_terminal(command, playbooks.environment, cwd=playbooks.folder) as terminal:
        terminal.wait_for_text("k8scr: first", timeout=60)
        terminal.press_control_c()
        terminal.wait(30)

    # A worker that ends earlier keeps the lock of the display's queue.
    assert (playbooks.folder / "displayed").exists()


def test_thread_that_follows_progress_leaves_signals_to_main_thread(tmp_path: Path) -> None:
    blocked: list[set[int]] = []

    with FollowedFile(tmp_path / "progress", lambda _data: blocked.append(pthread_sigmask(SIG_BLOCK, []))):
        pass

    # Without them, a worker under load does not notice Ctrl-C: the main process sends SIGTERM right after SIGINT.
    assert {SIGHUP, SIGINT, SIGTERM} <= blocked[0]
