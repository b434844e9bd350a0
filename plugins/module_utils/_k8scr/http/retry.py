# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When to try again what has failed, and an account of it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..errors import K8scrError

_FIRST_WAIT = 0.2
"""Seconds; most often a connection was closed just as a request began, and the next one works."""
_LONGEST_WAIT = 15.0
_UNPROVED_TRIES = 3
"""Tries while nothing has worked yet: a wrong address or a Pod that does not run is told at once."""


class Retries:
    """What all requests of a task share: how long they are patient, and what was tried again.

    Args:
        seconds: How long something may go on failing before it is given up.
        sleep: Waits for some seconds.
    """

    def __init__(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self.seconds = seconds
        self.sleep = sleep
        self.proved = False
        """Whether anything has worked yet."""
        self._lock = threading.Lock()
        self._account: Counter[tuple[str, str]] = Counter()

    def begin(self, what: str) -> Attempts:
        """Begin to try something.

        Args:
            what: What is tried, for people, as in "blob sha256:… to repository team/api".
        """
        return Attempts(self, what)

    def note(self, what: str, why: str) -> None:
        """Write down that something is tried again."""
        with self._lock:
            self._account[what, why] += 1

    @property
    def account(self) -> list[dict[str, Any]]:
        """What was tried again, why, and how often, for a module's result."""
        with self._lock:
            return [{"what": what, "why": why, "times": times} for (what, why), times in self._account.items()]


class Attempts:
    """One thing that is tried until it works, or has gone on failing for too long."""

    def __init__(self, retries: Retries, what: str) -> None:
        self._retries = retries
        self._what = what
        self._failures = 0
        self._limited = 0
        """How many of these are of a kind that is worth some tries only."""
        self._failing_since = 0.0

    def answered(self) -> None:
        """Say that there is somebody at the other end."""
        self._retries.proved = True

    def worked(self) -> None:
        """Say that it works, or gets on: patience begins anew."""
        self.answered()
        self._failures = self._limited = 0

    def failed(self, error: K8scrError) -> None:
        """Wait before the next try, longer each time and never the same.

        Raises:
            K8scrError: The error itself, when trying again does not help or is no longer worth it.
        """
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        wait = min(_FIRST_WAIT * 2 ** (self._failures - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.5)  # noqa: S311
        wait = max(wait, error.retry_after)
        given_up = now + wait > self._failing_since + self._retries.seconds
        self._limited += error.tries is not None
        hopeless = error.tries is not None and self._limited >= error.tries
        unproved = not self._retries.proved and self._failures >= _UNPROVED_TRIES
        if not error.transient or given_up or hopeless or unproved:
            raise error
        self._retries.note(self._what, error.message)
        self._retries.sleep(wait)
