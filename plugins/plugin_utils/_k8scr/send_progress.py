# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a file that is sent in pieces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import printable
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.meter import Meter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import Progress
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.texts import (
    rate_text,
    seconds_text,
    share_text,
    size_text,
    whole_seconds_text,
)

_SHORTEST_CHECK = 5.0
"""Seconds after which the check of the file is shown."""
_LONGEST_PIECE = 30.0
"""Seconds without the end of a piece after which the host is shown as unresponsive; a piece takes about ten."""


class SendProgress:
    """Measures one transfer.

    Args:
        source: Path of the file.
        clock: Returns the seconds since any fixed time.
    """

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = printable(source)
        self._clock = clock
        self._start = clock()
        self._meter: Meter | None = None
        self._sent = 0

    @contextmanager
    def shown(self, progress: Progress) -> Iterator[None]:
        """Show the status during a block that sends the file, and the result after it."""
        with progress.status(self.status):
            yield
        if self._sent:
            seconds = seconds_text(self._clock() - self._start)
            progress.line(f"{self._source}: sent {size_text(self._sent)} in {seconds}")

    def begin(self, size: int, offset: int) -> None:
        """Begin the transfer of the bytes after ``offset``; the host has the others."""
        meter = Meter(self._clock)
        meter.expect(size)
        meter.skip(offset)
        meter.begin()
        self._start = self._clock()
        self._meter = meter

    def add(self, count: int) -> None:
        """Add the bytes of a piece that arrived."""
        self._sent += count
        if self._meter:
            self._meter.add(count)

    def status(self) -> str | None:
        """Return the current status; ``None`` if there is none."""
        seconds = self._clock() - self._start
        if self._meter is None:
            return f"checking {self._source} ({whole_seconds_text(seconds)})" if seconds >= _SHORTEST_CHECK else None
        parts = [f"{self._source}: {share_text(self._meter.done, self._meter.total)}"]
        rate, left, stall = self._meter.rate(), self._meter.seconds_left(), self._meter.stall()
        if stall and stall.seconds >= _LONGEST_PIECE:
            parts.append(f"no response {stall}")
        elif rate and left:
            parts += [rate_text(rate), f"{whole_seconds_text(left)} left"]
        return ", ".join(parts)
