# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock for code that waits, so that its tests do not."""

from __future__ import annotations

import threading
import time


class Clock:
    """Replaces the module ``time``. Each thread has its own time, which its sleeps advance at once."""

    def __init__(self) -> None:
        self._slept = threading.local()

    def monotonic(self) -> float:
        """Return the seconds since any point in time."""
        return time.monotonic() + self._seconds

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self._slept.seconds = self._seconds + seconds

    @staticmethod
    def strftime(_format: str) -> str:
        """Return the same local time always."""
        return "12:00:00"

    @property
    def _seconds(self) -> float:
        return float(getattr(self._slept, "seconds", 0.0))
