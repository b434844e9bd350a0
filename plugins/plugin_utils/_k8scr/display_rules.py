# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide where and how often a task shows its progress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_DATA = ("dense", "null", "oneline")
"""Callbacks that write a format for programs, or that draw the screen themselves, in addition to those for JSON."""
_LINE_AT_A_TIME = ("debug", "default", "yaml")
"""Callbacks that write nothing while a task runs on one host. The callback of AWX makes an event of each output."""
_IN_PLACE_INTERVAL = 1.0


class Output(Enum):
    """Where a task shows its progress."""

    NOTHING = "nothing"
    IN_PLACE = "in place"
    LINES = "lines"
    ERROR_LINES = "lines on stderr"


@dataclass(frozen=True)
class Situation:
    """What determines where a task shows its progress, except for its options.

    Attributes:
        is_secret: Whether the task has ``no_log``.
        is_async: Whether the user runs the task with ``async``.
        callback: The stdout callback, with or without its collection.
        is_terminal: Whether the output of Ansible is a terminal that can delete a line.
        verbosity: The number of ``-v``.
        hosts: The number of hosts that run the task in this batch.
        forks: The number of hosts that run tasks at the same time.
        throttle: The largest number of hosts that run this task at the same time; 0 for no limit.
    """

    is_secret: bool
    is_async: bool
    callback: str
    is_terminal: bool
    verbosity: int
    hosts: int
    forks: int
    throttle: int

    def output(self, mode: str) -> Output:
        """Return where the task shows its progress.

        Args:
            mode: ``auto``, ``lines`` or ``none``.
        """
        callback = self.callback.rpartition(".")[2]
        if mode == "none" or self.is_secret or self.is_async:
            return Output.NOTHING
        if "json" in callback or callback in _DATA:
            return Output.ERROR_LINES if mode == "lines" else Output.NOTHING
        is_quiet = self.hosts == 1 and not self.verbosity and callback in _LINE_AT_A_TIME
        return Output.IN_PLACE if mode == "auto" and self.is_terminal and is_quiet else Output.LINES

    def seconds_between(self, output: Output, interval: int) -> float:
        """Return the seconds between two statuses of this host: all hosts together show one each interval."""
        if output is Output.IN_PLACE:
            return _IN_PLACE_INTERVAL
        return interval * max(min(self.hosts, self.forks, self.throttle or self.hosts), 1)
