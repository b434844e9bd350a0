# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks show the progress of their modules. The stage ``floor`` runs these tests with the oldest ansible-core."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from unit.plugins.module_utils.support.images import make_image, write_oci_archive
from unit.plugins.module_utils.support.playbooks import Playbooks, talk
from unit.plugins.module_utils.support.terminal import Terminal

LINES = {"progress": "lines"}
LONG = "x" * 300


@pytest.fixture(scope="module")
def playbooks(tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    return Playbooks(tmp_path_factory.mktemp("playbooks"))


@pytest.fixture(scope="module")
def terminal(playbooks: Playbooks) -> Terminal:
    """The terminal after a play on one host."""
    tasks = [
        talk(("status", "first"), ("wait", 0.5), ("line", "finished"), ("status", LONG), ("wait", 1.2), name="Place"),
        talk(("status", "begun"), ("wait", 0.5), ("status", ""), ("line", "ended"), ("wait", 0.5), name="End"),
        talk(("line", "secret"), no_log=True, options=LINES, name="Hide"),
        talk(("status", "{{ item }}"), ("wait", 0.5), loop=["loop 1", "loop 2"], name="Loop"),
        talk(("status", "bad"), ("wait", 0.5), options={"fail": True}, ignore_errors=True, name="Fail"),
    ]
    return playbooks.in_terminal([{"tasks": tasks}])


def test_terminal_with_one_host_updates_status_in_place(terminal: Terminal) -> None:
    output = terminal.output()

    assert "\rk8scr: first\x1b[K" in output
    # The line is shorter than the terminal, which would wrap it otherwise.
    assert f"\rk8scr: {LONG}"[: terminal.columns] + "\x1b[K" in output


def test_terminal_keeps_lasting_lines_only(terminal: Terminal) -> None:
    shown = [line for line in terminal.screen_lines() if line and "****" not in line]

    assert shown[:6] == [
        "k8scr: finished",
        "changed: [one]",
        "k8scr: ended",
        "changed: [one]",
        "changed: [one]",
        "changed: [one] => (item=loop 1)",
    ]
    assert not [line for line in shown if "first" in line or "xxx" in line or "k8scr: loop" in line or "bad" in line]


def test_terminal_shows_no_status_after_its_end(terminal: Terminal) -> None:
    output = terminal.output()

    assert output.count("k8scr: begun") == 1
    assert "k8scr: \x1b[K" not in output


def test_loop_shows_status_of_each_item(terminal: Terminal) -> None:
    output = terminal.output()

    assert "\rk8scr: loop 1\x1b[K" in output
    assert "\rk8scr: loop 2\x1b[K" in output


def test_failed_module_shows_status_before(terminal: Terminal) -> None:
    assert "\rk8scr: bad\x1b[K" in terminal.output()


def test_task_with_no_log_shows_nothing(terminal: Terminal) -> None:
    assert "secret" not in terminal.output()


@pytest.fixture(scope="module")
def pipe(playbooks: Playbooks) -> str:
    """The output of plays on two hosts in a pipe."""
    steps = [("status", "first"), ("wait", 0.5), ("line", "finished")]
    plays: list[dict[str, Any]] = [
        {
            "name": "linear",
            "tasks": [
                talk(*steps, name="Each"),
                talk(("line", "once"), run_once=True, name="Once"),
                talk(("line", "delegated"), delegate_to="localhost", when="inventory_hostname == 'a'", name="Delegate"),
            ],
        },
        {"name": "free", "strategy": "free", "tasks": [talk(("line", "freely {{ inventory_hostname }}"), name="Free")]},
        {
            "name": "pinned",
            "strategy": "host_pinned",
            "tasks": [talk(("line", "pinned"), name="Pinned", run_once=True)],
        },
        {"name": "distant", "connection": "distant", "tasks": [talk(("line", "from afar"), name="Distant")]},
        {"name": "serial", "serial": 1, "tasks": [talk(("line", "in series"), name="Series")]},
    ]
    return playbooks.in_pipe(plays, hosts="a,b,").stdout


def test_pipe_gets_plain_lines_with_hosts(pipe: str) -> None:
    lines = pipe.splitlines()

    for host in ("a", "b"):
        assert f"k8scr [{host}]: first" in lines
        assert f"k8scr [{host}]: finished" in lines
    assert "\r" not in pipe
    assert "\x1b" not in pipe


@pytest.mark.parametrize("line", ["k8scr: once", "k8scr [a]: delegated"])
def test_task_on_one_of_several_hosts_shows_its_lines(pipe: str, line: str) -> None:
    assert pipe.splitlines().count(line) == 1


def test_strategies_free_and_host_pinned_show_whole_lines(pipe: str) -> None:
    lines = pipe.splitlines()

    for host in ("a", "b"):
        assert f"k8scr [{host}]: freely {host}" in lines
        # These strategies ignore run_once.
        assert f"k8scr [{host}]: pinned" in lines


def test_other_host_shows_its_lines(pipe: str) -> None:
    lines = pipe.splitlines()

    assert "k8scr [a]: from afar" in lines
    assert "k8scr [b]: from afar" in lines


def test_batches_of_one_host_show_lines_without_host(pipe: str) -> None:
    assert pipe.splitlines().count("k8scr: in series") == 2


@dataclass(frozen=True)
class Data:
    """The output with a callback for JSON: the results by the name of the task, and the standard error."""

    results: Mapping[str, Any]
    errors: str


@pytest.fixture(scope="module")
def data(playbooks: Playbooks, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The output of a play with a callback for JSON."""
    folder = tmp_path_factory.mktemp("images")
    archive = write_oci_archive(folder / "image.tar", {"registry.example.com/team/api:1": make_image()})
    bundle = {"images": [f"oci-archive:{archive}"], "dest": f"{folder}/bundle"}
    job = "{{ started.ansible_job_id }}"
    tasks = [
        talk(("line", "plain"), name="silent"),
        talk(("line", "on stderr"), options=LINES, name="lines"),
        talk(("raw", "{no JSON"), ("raw", "[]"), ("line", "undamaged"), options=LINES, name="damaged"),
        talk(("line", "before"), ("wait", 0.5), ("delete", ""), ("line", "after"), options=LINES, name="deleted"),
        talk(("line", "lost"), options=LINES, module="talk_without_space", name="without space"),
        talk(("line", "lost"), options=LINES, module="talk_otherwise", name="other version"),
        talk(("line", "checked"), options=LINES, check_mode=True, name="check mode"),
        talk(("line", "polled"), options=LINES, **{"async": 60, "poll": 1}, name="poll"),
        talk(("line", "started"), options=LINES, **{"async": 60, "poll": 0}, register="started", name="start"),
        {
            "name": "finish",
            "async_status": {"jid": job},
            "register": "job",
            "until": "job is finished",
            "retries": 50,
            "delay": 0.1,
        },
        {"name": "invalid", "k8scr_bundle": {**bundle, "progress_interval": 0}, "ignore_errors": True},
        {"name": "bundle", "k8scr_bundle": {**bundle, **LINES}},
        {"name": "bundle silently", "k8scr.core.k8scr_bundle": {**bundle, "dest": f"{folder}/2", "progress": "none"}},
        {"name": "send", "k8scr.core.k8scr_send": {"src": str(archive), "dest": f"{folder}/copy.tar", **LINES}},
        {"name": "push", "k8scr.core.k8scr_push": {"images": [str(archive)]}, "ignore_errors": True},
    ]
    play = {
        "tasks": tasks,
        "collections": ["k8scr.core"],
        "module_defaults": {"group/k8scr.core.images": {"progress": "loud"}},
    }
    done = playbooks.in_pipe([play], ANSIBLE_STDOUT_CALLBACK="json")
    return Data({each["task"]: each["result"] for each in json.loads(done.stdout)}, done.stderr)


def test_callback_for_json_keeps_standard_output(data: Data) -> None:
    assert "plain" not in data.errors
    assert "k8scr: on stderr" in data.errors.splitlines()


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("damaged", "invalid messages of the module"),
        ("without space", "No space left on device"),
        ("other version", "'NoneType' object has no attribute 'CLIARGS'"),
    ],
)
def test_failed_progress_is_one_warning_and_not_part_of_result(data: Data, task: str, reason: str) -> None:
    # ansible-core 2.17 prints warnings of action plugins at once, in several lines.
    warnings = " ".join([str(data.results[task].get("warnings")), *data.errors.split()])

    assert warnings.count(f"The progress of the task cannot be shown: {reason}") == 1
    assert outcome(data, task) == (True, False)


def test_deleted_progress_file_changes_nothing(data: Data) -> None:
    assert {"k8scr: before", "k8scr: after"} <= set(data.errors.splitlines())
    assert outcome(data, "deleted") == (True, False)


def test_progress_after_damaged_message_is_shown(data: Data) -> None:
    assert "k8scr: undamaged" in data.errors.splitlines()


def test_check_mode_shows_progress(data: Data) -> None:
    assert "k8scr: checked" in data.errors.splitlines()


def test_async_tasks_run_as_usual_without_progress(data: Data) -> None:
    assert outcome(data, "poll") == outcome(data, "finish") == (True, False)
    assert not data.results["poll"]["reported"]
    assert data.results["start"]["ansible_job_id"]
    assert "polled" not in data.errors
    assert "started" not in data.errors


def test_module_rejects_invalid_option_with_values_that_are_always_returned(data: Data) -> None:
    failed = data.results["invalid"]

    assert failed["msg"] == "progress_interval is 0. The allowed range is 1 to 86400."
    assert failed["images"] == failed["retries"] == []


def test_module_of_collection_has_same_result_with_progress(data: Data) -> None:
    bundled, silent = data.results["bundle"], data.results["bundle silently"]

    assert outcome(data, "bundle") == outcome(data, "bundle silently") == (True, False)
    assert bundled.keys() == silent.keys()
    assert bundled["images"] == silent["images"]


def test_sent_file_has_its_line(data: Data) -> None:
    assert re.search(r"^k8scr: .*/image.tar: sent 10.0 KiB in [\d.]+ s$", data.errors, re.MULTILINE)
    assert data.results["send"]["sent"] == 10240


def test_action_group_sets_progress(data: Data) -> None:
    assert data.results["push"]["msg"] == "value of progress must be one of: auto, lines, none, got: loud"


def test_tasks_leave_no_files(playbooks: Playbooks, terminal: Terminal, pipe: str, data: Data) -> None:
    assert terminal.status == 0
    assert pipe
    assert data.results
    assert list(playbooks.local_tmp.iterdir()) == []


def outcome(data: Data, task: str) -> tuple[bool, bool]:
    """Return whether a task reported a change, and whether it failed."""
    return data.results[task]["changed"], data.results[task].get("failed", False)
