# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The retry policy of all requests, and a summary of the retries.

An error states whether a retry may help (:class:`..errors.Retry`, and :class:`..errors.ErrorResponseError` for status
codes).
This module decides when to retry, and when to stop.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import K8scrError

RETRY_TIMEOUT = 120.0
"""Seconds to keep retrying a failing request, unless the user sets another limit."""
_FIRST_WAIT = 0.2
"""Seconds; the most frequent failure is a connection that closed just as a request began, and a new one works."""
_LONGEST_WAIT = 15.0
_LONGEST_RETRY_AFTER = 60.0
_ATTEMPTS_WITHOUT_RESPONSE = 3
"""Attempts until the first response of the task, so that a wrong address or a stopped Pod fails quickly."""


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of the header ``Retry-After``; 0 if it is not a number (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "")
    return min(float(value), _LONGEST_RETRY_AFTER) if re.fullmatch(r"[0-9]{1,9}", value) else 0.0


@dataclass
class Retries:
    """The retry policy that all requests of a task share.

    Attributes:
        seconds: Seconds to keep retrying a failing request. Progress resets the timer.
        on_retry: Called before each retry with the action that failed and the reason.
        has_response: Whether any request got a response yet.
    """

    seconds: float = RETRY_TIMEOUT
    sleep: Callable[[float], None] = time.sleep
    on_retry: Callable[[str, str], None] | None = None
    has_response: bool = False

    def begin(self, action: str) -> Attempts:
        """Begin the attempts at one action, such as "blob sha256:… to repository team/api"."""
        return Attempts(self, action)


class Attempts:
    """The attempts at one action, until it succeeds or has failed for too long."""

    def __init__(self, retries: Retries, action: str) -> None:
        self._retries = retries
        self._action = action
        self._failures = 0
        self._limited_failures = 0
        """The failures whose errors justify a limited number of attempts."""
        self._failing_since = 0.0

    def note_response(self) -> None:
        """Note that the peer responds."""
        self._retries.has_response = True

    def note_progress(self) -> None:
        """Note that the action succeeded or made progress, and reset the timer."""
        self.note_response()
        self._failures = self._limited_failures = 0

    def wait_or_raise(self, error: K8scrError) -> None:
        """Wait before the next attempt. Waits grow and are randomized.

        Raises:
            K8scrError: The error, if a retry does not help or the action has failed for too long.
        """
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        retry = error.retry
        if retry is None:
            raise error
        wait = min(_FIRST_WAIT * 2 ** (self._failures - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.5)  # noqa: S311
        wait = max(wait, retry.after)
        self._limited_failures += retry.attempts is not None
        if (
            now + wait > self._failing_since + self._retries.seconds
            or (retry.attempts is not None and self._limited_failures >= retry.attempts)
            or (not self._retries.has_response and self._failures >= _ATTEMPTS_WITHOUT_RESPONSE)
        ):
            raise error
        if self._retries.on_retry:
            self._retries.on_retry(self._action, error.message)
        self._retries.sleep(wait)
