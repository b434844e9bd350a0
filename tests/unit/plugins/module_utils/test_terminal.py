# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pseudo-terminal of the tests."""

from __future__ import annotations

import sys

import pytest
from unit.plugins.module_utils.support.terminal import (
    Screen,
    Span,
    Style,
    open_terminal,
    run_in_terminal,
)


def shown(text: str, columns: int = 20) -> list[str]:
    screen = Screen(columns)
    screen.write(text)
    return screen.lines()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one\r\ntwo\r\n\r\n", ["one", "two"]),
        ("one\ntwo", ["one", "   two"]),
        ("12 of 40\r3 of 40", ["3 of 400"]),
        ("12 of 40\r\x1b[K3 of 40", ["3 of 40"]),
        ("12 of 40\rab\x1b[K", ["ab"]),
        ("abcd\b\bX", ["abXd"]),
        ("a\tb", ["a       b"]),
        ("\x1b[0;32mok\x1b[0m \x1b[1;35mwarning\x1b[0m", ["ok warning"]),
    ],
)
def test_screen_shows_lines(text: str, lines: list[str]) -> None:
    assert shown(text) == lines


def test_screen_wraps_line_before_next_character() -> None:
    assert shown("a" * 20 + "\r\x1b[Kb") == ["b"]
    assert shown("a" * 21 + "\r\x1b[Kb") == ["a" * 20, "b"]


def test_screen_keeps_styles() -> None:
    screen = Screen(20)
    screen.write("\x1b[0;33mchanged\x1b[0m: \x1b[1;31mno\x1b[0m")

    assert screen.styled_lines() == [[Span("changed", Style(3)), Span(": ", Style()), Span("no", Style(1, bold=True))]]


@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\a", "\x9b2J", "\x1b[38;5;1mx"])
def test_screen_rejects_unknown_control_sequence(text: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        shown(text)


def test_terminal_records_output_with_times() -> None:
    program = (
        "import os, time; print(os.get_terminal_size().columns, flush=True); time.sleep(0.3); print('ü…'); exit(3)"
    )

    terminal = run_in_terminal([sys.executable, "-c", program], columns=77)

    assert terminal.screen_lines() == ["77", "ü…"]
    assert terminal.status == 3
    assert terminal.seconds_of("ü") - terminal.seconds_of("77") == pytest.approx(0.3, abs=0.2)
    assert terminal.screen_lines(until=terminal.seconds_of("77")) == ["77"]


def test_terminal_interrupts_command_with_control_c() -> None:
    with open_terminal(["sh", "-c", "echo started; exec sleep 60"]) as terminal:
        terminal.wait_for_text("started", 10)
        terminal.press_control_c()
        terminal.wait(10)

    assert terminal.status == -2


def test_terminal_kills_command_after_time_limit() -> None:
    with pytest.raises(AssertionError, match=r"(?s)still runs after 0\.5 s:.*waiting"):
        run_in_terminal(["sh", "-c", "echo waiting; sleep 60"], timeout=0.5)
