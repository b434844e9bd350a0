# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Poll for a state of the cluster. For retries of failed requests, see :mod:`..http.retry`."""

from __future__ import annotations

import time

_INTERVAL = 1.0
"""Seconds between two requests."""


class Poll:
    """The time limit of a poll, and the pauses between its requests.

    Args:
        seconds: Seconds until the deadline; the time starts now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begin = time.monotonic()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() - self._begin >= self.seconds

    def pause(self) -> None:
        """Wait until the next request."""
        time.sleep(_INTERVAL)
