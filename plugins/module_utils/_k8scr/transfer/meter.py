# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rate, remaining time and stalls of a transfer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .texts import rate_text, share_text, size_text, whole_seconds_text

_STALL = 10.0
"""Seconds without data after which a transfer is stalled."""
_FIRST_ESTIMATE = 5.0
"""Seconds until the first estimate: a rate over less is wrong too often."""
_WINDOW = 20.0
"""Seconds over which the rate is smoothed."""


@dataclass(frozen=True)
class Stall:
    """A stall.

    Attributes:
        since: The local time of its begin, as in ``14:03:05``.
        seconds: The seconds since then.
    """

    since: str
    seconds: float

    def __str__(self) -> str:
        return f"since {self.since} ({whole_seconds_text(self.seconds)})"


class Meter:
    """Measures a transfer. Several threads may use it.

    Args:
        clock: Returns the seconds since any fixed time.
        wall_clock: Returns the seconds since the epoch.

    Attributes:
        total: The bytes to transfer, never less than ``done``.
        done: The transferred bytes; they never decrease.
        last: The time of the last data, or of the begin.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.total = self.done = 0
        self.last = 0.0
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._moved = 0
        """All bytes that were transferred in this run, for the rate."""
        self._begin: float | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self) -> None:
        """Begin the measurement. Time without work to do before it is no stall and does not count for the rate."""
        with self._lock:
            self._begin = self.last = self._clock()
            self._samples.clear()
            self._samples.append((self._begin, self._moved))

    def expect(self, count: int) -> None:
        """Add bytes to transfer; a negative count removes those that are no longer needed."""
        with self._lock:
            self.total = max(self.total + count, self.done)

    def add(self, count: int, repeated: int = 0) -> None:
        """Add transferred bytes, and bytes that were transferred again after a failure."""
        with self._lock:
            self.last = self._clock()
            self._moved += count + repeated
            self._finish(count)

    def skip(self, count: int) -> None:
        """Add bytes that were transferred by an earlier run."""
        with self._lock:
            self._finish(count)

    def rate(self) -> float | None:
        """Return bytes a second; ``None`` in the first seconds. Call it regularly: it saves a sample."""
        with self._lock:
            if self._begin is None:
                return None
            now = self._clock()
            if now - self._samples[-1][0] >= 1:
                self._samples.append((now, self._moved))
            while len(self._samples) > 1 and now - self._samples[1][0] >= _WINDOW:
                self._samples.popleft()
            since, moved = self._samples[0]
            return (self._moved - moved) / (now - since) if now - self._begin >= _FIRST_ESTIMATE else None

    def seconds_left(self, repeated: int = 0) -> float | None:
        """Return the estimated seconds until the end; ``None`` if there is no estimate.

        Args:
            repeated: The bytes to transfer again.
        """
        rate = self.rate()
        return (self.total - self.done + repeated) / rate if rate else None

    def stall(self, repeated: int = 0) -> Stall | None:
        """Return since when no data has been transferred; ``None`` if some was in the last seconds.

        Args:
            repeated: The bytes to transfer again.
        """
        with self._lock:
            if self._begin is None or self.done - repeated >= self.total:
                return None
            last = self.last
        return self.stall_since(last)

    def stall_since(self, last: float) -> Stall | None:
        """Return the stall since a time of the clock; ``None`` if it is too short."""
        seconds = self._clock() - last
        if seconds < _STALL:
            return None
        return Stall(time.strftime("%H:%M:%S", time.localtime(self._wall_clock() - seconds)), seconds)

    def texts(self, repeated: int = 0) -> list[str]:
        """Return the parts of a status: ``3.1 of 18.4 GiB``, and rate and remaining time or a stall.

        Args:
            repeated: The bytes to transfer again.
        """
        parts = [share_text(self.done, self.total)] if self.total else []
        parts += [f"{size_text(repeated)} again"] if repeated else []
        rate, seconds, stall = self.rate(), self.seconds_left(repeated), self.stall(repeated)
        if stall:
            return [*parts, f"no data {stall}"]
        return [*parts, rate_text(rate), f"{whole_seconds_text(seconds)} left"] if rate and seconds else parts

    def _finish(self, count: int) -> None:
        self.done += count
        self.total = max(self.total, self.done)
