# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show the progress of a running task, through the display of Ansible."""

from __future__ import annotations

import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from ansible import constants, context
from ansible.utils.display import Display
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import Message
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.display_rules import Output, Situation

_DELETE_REST_OF_LINE = "\x1b[K"


def _terminal_columns() -> int:
    """Return the width of the terminal that shows the output; 0 if it is no terminal, or one without a cursor."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return 0


# Strategies load action plugins before they start workers. Workers of ansible-core 2.19 or later have no terminal.
_COLUMNS = _terminal_columns()


class TaskDisplay:
    """Shows the messages of one task on one host. Several threads may use it.

    Args:
        task: The task, with its final values.
        task_vars: The variables of the task.

    Attributes:
        is_silent: Whether it shows nothing.
    """

    def __init__(self, task: Any, task_vars: Mapping[str, Any], options: ProgressOptions) -> None:
        situation = _situation(task, task_vars)
        output = situation.output(options.mode)
        self.is_silent = output is Output.NOTHING
        self._is_in_place = output is Output.IN_PLACE
        self._to_stderr = output is Output.ERROR_LINES
        self._interval = situation.seconds_between(output, options.interval)
        self._prefix = f"k8scr [{task_vars.get('inventory_hostname')}]: " if situation.hosts > 1 else "k8scr: "
        self._display = Display()
        self._lock = threading.Lock()
        self._status: str | None = None
        """The last status."""
        self._shown: str | None = None
        """The status that was shown last."""
        self._next = 0.0
        """When the next status may be shown."""
        self._is_line_used = False
        """Whether the current line of the terminal has a status."""

    def show(self, messages: Iterable[Message] = ()) -> None:
        """Show messages: lasting lines at once, and the last status if the previous one is old enough.

        An empty status deletes the previous one.

        Call it regularly, also without messages: a status that is too early is shown later.
        """
        if self.is_silent:
            return
        with self._lock:
            for message in messages:
                if message.lasting:
                    self._delete_status()
                    self._display.display(self._prefix + message.text, stderr=self._to_stderr)
                else:
                    self._status = message.text or None
                    if self._status is None:
                        self._delete_status()
            if self._status is not None and self._status != self._shown and time.monotonic() >= self._next:
                self._show_status(self._status)

    def close(self) -> None:
        """Delete the status, so that the result of the task starts on an empty line."""
        with self._lock:
            self._delete_status()

    def _show_status(self, status: str) -> None:
        text = self._prefix + status
        if self._is_in_place:
            # Without its last column, a terminal never continues the text on the next line.
            line = f"\r{_cut(text, _COLUMNS - 1)}{_DELETE_REST_OF_LINE}"
            self._display.display(line, newline=False, screen_only=True)
            self._is_line_used = True
        else:
            self._display.display(text, stderr=self._to_stderr)
        self._shown = status
        self._next = time.monotonic() + self._interval

    def _delete_status(self) -> None:
        if self._is_line_used:
            self._display.display(f"\r{_DELETE_REST_OF_LINE}", newline=False, screen_only=True)
            self._is_line_used = False
            # Show the status again below the lasting line.
            self._shown, self._next = None, 0.0


def _situation(task: Any, task_vars: Mapping[str, Any]) -> Situation:
    # Other strategies ignore run_once.
    is_linear = task.get_play().strategy.rpartition(".")[2] in ("linear", "debug")
    return Situation(
        is_secret=bool(task.no_log),
        is_async=bool(task.async_val),
        callback=_stdout_callback(),
        is_terminal=_COLUMNS > 0,
        verbosity=Display().verbosity,
        hosts=1 if task.run_once and is_linear else len(task_vars.get("ansible_play_batch", ())),
        forks=context.CLIARGS.get("forks") or constants.DEFAULT_FORKS,
        throttle=task.throttle,
    )


def _stdout_callback() -> str:
    """Return the callback that prints the results."""
    arguments = context.CLIARGS
    if arguments.get("one_line"):
        return "oneline"
    # The program ansible uses the configured callback only with another setting.
    is_playbook = "module_name" not in arguments
    callback: str = constants.DEFAULT_STDOUT_CALLBACK
    return callback if is_playbook or constants.DEFAULT_LOAD_CALLBACK_PLUGINS else "minimal"


def _cut(text: str, columns: int) -> str:
    """Cut a text to a number of columns; wide and combined characters have two and none."""
    used = 0
    for position, character in enumerate(text):
        is_wide = unicodedata.east_asian_width(character) in "WF"
        used += 0 if unicodedata.combining(character) else 2 if is_wide else 1
        if used > columns:
            return text[:position]
    return text
