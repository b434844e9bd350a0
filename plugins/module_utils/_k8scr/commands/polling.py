# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Polls for a state of the cluster; for retries of failed requests, see :mod:`..http.retry`."""

from __future__ import annotations

import time

_INTERVAL = 1.0
"""Seconds between two requests."""


class Poll:
    """A wait for a state that is polled until a deadline.

    Args:
        seconds: Seconds until the deadline.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begin = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._begin

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, and at least the time until the next request."""
        return max(self.seconds - self.elapsed, _INTERVAL)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.elapsed >= self.seconds

    def pause(self) -> None:
        """Wait until the next request."""
        time.sleep(_INTERVAL)
