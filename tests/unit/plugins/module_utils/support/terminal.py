# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands on a pseudo-terminal, and the screen that a user sees."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import NamedTuple

ROWS = 50
_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([@-~])")
_SINGLE_COLOR = range(30, 38)
_BRIGHT_COLOR = range(90, 98)
_TAB = 8


class Style(NamedTuple):
    """The style of a character.

    Attributes:
        color: The number of the ANSI color, from 0 to 15; None for the color of the terminal.
        bold: Whether the character is bold.
    """

    color: int | None = None
    bold: bool = False


class Span(NamedTuple):
    """Characters of one line with the same style."""

    text: str
    style: Style


class Screen:
    """The screen of a terminal after output, with all lines that scrolled off its top.

    It knows line feed, carriage return, backspace, tab, colors and the deletion of the rest of a line.

    Args:
        columns: The width; longer lines wrap.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._lines: list[list[Span]] = [[]]
        self._row = self._column = 0
        self._style = Style()

    def write(self, text: str) -> None:
        """Show text.

        Raises:
            ValueError: The text contains a control sequence that this screen does not know.
        """
        position = 0
        while position < len(text):
            character = text[position]
            if escape := _ESCAPE.match(text, position):
                self._control(escape[1], escape[2])
                position = escape.end()
                continue
            position += 1
            if character == "\n":
                self._row += 1
                self._lines += [[] for _missing in range(self._row + 1 - len(self._lines))]
            elif character == "\r":
                self._column = 0
            elif character == "\b":
                self._column = max(self._column - 1, 0)
            elif character == "\t":
                self._column = min((self._column // _TAB + 1) * _TAB, self._columns - 1)
            elif character.isprintable():
                self._put(character)
            elif character != "\a":
                raise ValueError(f"unknown control character {text[position - 1 : position + 9]!r}")

    def lines(self) -> list[str]:
        """Return the texts of all lines, without empty ones at the end."""
        return ["".join(span.text for span in spans).rstrip() for spans in self.styled_lines()]

    def styled_lines(self) -> list[list[Span]]:
        """Return all lines, without empty ones at the end."""
        last = max(
            (row for row, cells in enumerate(self._lines) if any(cell.text.strip() for cell in cells)), default=-1
        )
        return [
            [
                Span("".join(cell.text for cell in cells), style)
                for style, cells in groupby(line, lambda cell: cell.style)
            ]
            for line in self._lines[: last + 1]
        ]

    def _put(self, character: str) -> None:
        # A terminal wraps before the next character, not after the last one of a line.
        if self._column == self._columns:
            self.write("\r\n")
        line = self._lines[self._row]
        line += [Span(" ", Style())] * (self._column + 1 - len(line))
        line[self._column] = Span(character, self._style)
        self._column += 1

    def _control(self, parameters: str, command: str) -> None:
        if command == "K" and parameters in ("", "0"):
            del self._lines[self._row][self._column :]
        elif command == "m":
            for code in (parameters or "0").split(";"):
                self._set_style(int(code or "0"))
        else:
            raise ValueError(f"unknown control sequence ESC[{parameters}{command}")

    def _set_style(self, code: int) -> None:
        if code == 0:
            self._style = Style()
        elif code in (1, 22):
            self._style = self._style._replace(bold=code == 1)
        elif code == 39:
            self._style = self._style._replace(color=None)
        elif code in _SINGLE_COLOR:
            self._style = self._style._replace(color=code - _SINGLE_COLOR[0])
        elif code in _BRIGHT_COLOR:
            self._style = self._style._replace(color=code - _BRIGHT_COLOR[0] + len(_SINGLE_COLOR))
        else:
            raise ValueError(f"unknown style {code}")


class Terminal:
    """A command on a pseudo-terminal.

    Attributes:
        columns: The width.
        chunks: The output: seconds since the start of the command, and text.
        status: The exit status of the command; None while it runs, and negative if a signal ended it.
    """

    def __init__(self, process: subprocess.Popen[bytes], leader: int, columns: int) -> None:
        self.columns = columns
        self.chunks: list[tuple[float, str]] = []
        self._process, self._leader = process, leader
        self._start = time.monotonic()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def status(self) -> int | None:
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The process ID of the command."""
        return self._process.pid

    def elapsed(self) -> float:
        """Return the seconds since the start of the command."""
        return time.monotonic() - self._start

    def output(self) -> str:
        """Return the output with its control sequences."""
        return "".join(text for _seconds, text in self.chunks)

    def screen(self, until: float | None = None) -> Screen:
        """Return the screen.

        Args:
            until: Seconds since the start of the command; None for the screen with all output.
        """
        screen = Screen(self.columns)
        screen.write("".join(text for seconds, text in self.chunks if until is None or seconds <= until))
        return screen

    def screen_lines(self, until: float | None = None) -> list[str]:
        """Return the lines on the screen."""
        return self.screen(until).lines()

    def seconds_of(self, pattern: str) -> float:
        """Return the seconds from the start of the command to the first output that matches a regular expression."""
        shown = ""
        for seconds, text in self.chunks:
            shown += text
            if re.search(pattern, shown):
                return seconds
        raise AssertionError(f"{pattern!r} did not appear:\n{shown}")

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float) -> None:
        """Wait until a condition holds.

        Args:
            condition: Returns whether the condition holds.
            what: The condition, for the message.
            timeout: Seconds to wait.

        Raises:
            AssertionError: The condition does not hold in time, or the command ended before.
        """
        end = time.monotonic() + timeout
        while not condition():
            if not self._reader.is_alive() and not condition():
                raise AssertionError(f"the command ended before {what}:\n{self.output()}")
            if time.monotonic() > end:
                raise AssertionError(f"after {timeout} s, not {what}:\n{self.output()}")
            time.sleep(0.02)

    def wait_for_text(self, pattern: str, timeout: float) -> None:
        """Wait until the output matches a regular expression. See wait_for()."""
        self.wait_for(lambda: re.search(pattern, self.output()), f"output like {pattern!r}", timeout)

    def press_control_c(self) -> None:
        """Send Ctrl-C."""
        os.write(self._leader, b"\x03")

    def wait(self, timeout: float) -> int:
        """Wait for the end of the command and of its output, and return the exit status.

        Raises:
            AssertionError: The command still runs after ``timeout`` seconds.
        """
        self._reader.join(timeout)
        if self._reader.is_alive():
            raise AssertionError(f"the command still runs after {timeout} s:\n{self.output()}")
        return self._process.wait()

    def close(self) -> None:
        """Kill the command if it still runs, and close the terminal."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(1)
        os.close(self._leader)

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Reading fails after the last process closed the terminal.
        with suppress(OSError):
            while data := os.read(self._leader, 65536):
                self.chunks.append((self.elapsed(), decoder.decode(data)))


@contextmanager
def open_terminal(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, columns: int = 100, cwd: Path | None = None
) -> Iterator[Terminal]:
    """Start a command on a pseudo-terminal, and kill it at the end of the context.

    Args:
        command: The command.
        env: Environment variables in addition to those of this process.
        columns: The width of the terminal.
        cwd: The working directory.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    process = subprocess.Popen(
        # The terminal controls the new session, so that Ctrl-C sends SIGINT. Background jobs of shells ignore SIGINT.
        ["setsid", "--ctty", "env", "--default-signal=INT", *command],
        env={**os.environ, "TERM": "xterm-256color", **(env or {})},
        cwd=cwd,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    terminal = Terminal(process, leader, columns)
    try:
        yield terminal
    finally:
        terminal.close()


def run_in_terminal(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    columns: int = 100,
    timeout: float = 60,
    cwd: Path | None = None,
) -> Terminal:
    """Run a command on a pseudo-terminal until its end. See open_terminal().

    Raises:
        AssertionError: The command still runs after ``timeout`` seconds.
    """
    with open_terminal(command, env, columns, cwd) as terminal:
        terminal.wait(timeout)
    return terminal
