# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where and how often a task shows its progress."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.display_rules import Output, Situation

TERMINAL = Situation(
    is_secret=False,
    is_async=False,
    callback="default",
    is_terminal=True,
    verbosity=0,
    hosts=1,
    forks=5,
    throttle=0,
)
DATA = ["json", "ansible.posix.json", "ansible.posix.jsonl", "oneline", "community.general.null", "dense"]


def test_progress_is_in_place_on_terminal_with_one_host() -> None:
    assert TERMINAL.output("auto") is Output.IN_PLACE


@pytest.mark.parametrize(
    "change",
    [
        {"is_terminal": False},
        {"verbosity": 1},
        {"hosts": 2},
        {"callback": "awx_display"},
        {"callback": "minimal"},
    ],
)
def test_progress_has_plain_lines_without_exclusive_terminal(change: dict[str, Any]) -> None:
    assert replace(TERMINAL, **change).output("auto") is Output.LINES


def test_progress_has_plain_lines_with_mode_lines() -> None:
    assert TERMINAL.output("lines") is Output.LINES


@pytest.mark.parametrize("callback", DATA)
def test_progress_leaves_standard_output_to_data(callback: str) -> None:
    situation = replace(TERMINAL, callback=callback)

    assert situation.output("auto") is Output.NOTHING
    assert situation.output("lines") is Output.ERROR_LINES


@pytest.mark.parametrize("mode", ["auto", "lines", "none"])
@pytest.mark.parametrize("change", [{"is_secret": True}, {"is_async": True}])
def test_secret_and_async_tasks_show_nothing(change: dict[str, Any], mode: str) -> None:
    assert replace(TERMINAL, **change).output(mode) is Output.NOTHING


def test_progress_shows_nothing_with_mode_none() -> None:
    assert TERMINAL.output("none") is Output.NOTHING


@pytest.mark.parametrize(
    ("hosts", "forks", "throttle", "seconds"),
    [(1, 5, 0, 5.0), (3, 5, 0, 15.0), (50, 5, 0, 25.0), (50, 50, 0, 250.0), (50, 50, 2, 10.0), (0, 5, 0, 5.0)],
)
def test_interval_grows_with_concurrent_hosts(hosts: int, forks: int, throttle: int, seconds: float) -> None:
    situation = replace(TERMINAL, hosts=hosts, forks=forks, throttle=throttle)

    assert situation.seconds_between(Output.LINES, 5) == seconds


def test_status_in_place_changes_each_second() -> None:
    assert TERMINAL.seconds_between(Output.IN_PLACE, 60) == 1.0


@pytest.mark.parametrize(
    ("arguments", "environment", "mode"),
    [
        ({}, {}, "auto"),
        ({}, {"K8SCR_PROGRESS": ""}, "auto"),
        ({}, {"K8SCR_PROGRESS": "lines"}, "lines"),
        ({"progress": "none"}, {"K8SCR_PROGRESS": "lines"}, "none"),
        ({"progress": "auto"}, {"K8SCR_PROGRESS": "loud"}, "auto"),
    ],
)
def test_option_precedes_environment_variable(
    arguments: dict[str, Any], environment: dict[str, str], mode: str
) -> None:
    assert ProgressOptions.of_task(arguments, environment).mode == mode


def test_invalid_environment_variable_is_ignored_with_a_reason() -> None:
    options = ProgressOptions.of_task({}, {"K8SCR_PROGRESS": "loud"})

    assert options.mode == "auto"
    assert options.fault == "K8SCR_PROGRESS is 'loud'. The allowed values are auto, lines, none."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"progress": "loud"}, "value of progress must be one of: auto, lines, none, got: loud"),
        ({"progress_interval": 0}, "progress_interval is 0. The allowed range is 1 to 86400."),
    ],
)
def test_error_names_invalid_option(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        ProgressOptions.of_task(arguments, {})

    assert str(raised.value) == message
