# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The retry policy of all requests.

An error states whether a retry may help (:class:`..errors.Retry`, and :class:`..errors.ErrorResponseError` for status
codes). This module decides when to retry, and when to stop:

- An action fails at the retry timeout. Progress resets the timer.
- A peer that is too slow makes some progress in each attempt, so the number of attempts is limited for the action.
- Until the first response of the task, an action has three attempts, so that a wrong address or a stopped Pod fails
  quickly. Error responses count: a server that is starting (503) is retried until the timeout. They do not count if the
  address may be wrong (:attr:`..errors.ErrorResponseError.confirms_address`), for example if the API server cannot
  reach the Pod.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ErrorResponseError, K8scrError

RETRY_TIMEOUT = 120.0
"""Seconds to keep retrying a failing request, unless the user sets another limit."""
_FIRST_WAIT = 0.2
"""Seconds; the most frequent failure is a connection that closed just as a request began, and a new one works."""
_LONGEST_WAIT = 15.0
_MOST_DOUBLINGS = 30
"""Doublings of the first wait until it exceeds any maximum; thousands would exceed the range of floats."""
_ATTEMPTS_WITHOUT_RESPONSE = 3

_Result = TypeVar("_Result")


@dataclass
class Retries:
    """The retry policy that all requests of a task share.

    Attributes:
        seconds: Seconds to keep retrying a failing request, until its last attempt. Progress resets the timer.
        on_retry: Called before each retry with the action that failed and the reason.
        on_recovery: Called when an action that was retried succeeds, makes progress or fails for good.
        has_response: Whether any request got a response yet.
        longest_wait: The maximum of the growing waits, in seconds.
    """

    seconds: float = RETRY_TIMEOUT
    sleep: Callable[[float], None] = time.sleep
    on_retry: Callable[[str, str], None] | None = None
    on_recovery: Callable[[str], None] | None = None
    has_response: bool = False
    longest_wait: float = _LONGEST_WAIT

    def begin(self, action: str) -> Attempts:
        """Begin the attempts at one action, such as "blob sha256:… to repository team/api"."""
        return Attempts(self, action)

    def run(self, action: str, attempt: Callable[[], _Result]) -> _Result:
        """Return the result of a function, which is called again after errors.

        Raises:
            K8scrError: A retry does not help, or the action has failed for too long.
        """
        attempts = self.begin(action)
        while True:
            try:
                result = attempt()
            except K8scrError as error:
                attempts.wait_or_raise(error)
            else:
                attempts.note_progress()
                return result


class Attempts:
    """The attempts at one action, until it succeeds or has failed for too long."""

    def __init__(self, retries: Retries, action: str) -> None:
        self._retries = retries
        self._action = action
        self._failures = 0
        self._limited_failures = 0
        """The failures whose errors justify a limited number of attempts."""
        self._failures_despite_progress = 0
        self._failing_since = 0.0
        self._is_last = False
        """Whether the time is over after the next attempt."""
        self._is_retried = False
        """Whether the action was retried since its last progress."""

    def note_response(self) -> None:
        """Note that the peer responds."""
        self._retries.has_response = True

    def note_progress(self) -> None:
        """Note that the action succeeded or made progress, and reset the timer."""
        self.note_response()
        self._failures = self._limited_failures = 0
        self._end_retry()

    def wait_or_raise(self, error: K8scrError) -> None:
        """Wait before the next attempt. Waits grow and are randomized.

        Raises:
            K8scrError: The error, if a retry does not help or the action has failed for too long.
        """
        now = time.monotonic()
        if not self._failures:
            self._failing_since, self._is_last = now, False
        self._failures += 1
        if isinstance(error, ErrorResponseError) and error.confirms_address:
            self.note_response()
        retry = error.retry
        if retry is None:
            self._end_retry()
            raise error
        wait = min(_FIRST_WAIT * 2 ** min(self._failures - 1, _MOST_DOUBLINGS), self._retries.longest_wait)
        wait = max(wait * random.uniform(0.5, 1.5), retry.after)  # noqa: S311
        self._limited_failures += retry.attempts is not None
        self._failures_despite_progress += retry.despite_progress
        counted = self._failures_despite_progress if retry.despite_progress else self._limited_failures
        remaining = self._failing_since + self._retries.seconds - now
        if (
            self._is_last
            or remaining <= 0
            or (retry.attempts is not None and counted >= retry.attempts)
            or (not self._retries.has_response and self._failures >= _ATTEMPTS_WITHOUT_RESPONSE)
        ):
            self._end_retry()
            raise error
        self._is_last = wait >= remaining
        self._is_retried = True
        if self._retries.on_retry:
            self._retries.on_retry(self._action, error.message)
        self._retries.sleep(min(wait, remaining))

    def _end_retry(self) -> None:
        if self._is_retried and self._retries.on_recovery:
            self._retries.on_recovery(self._action)
        self._is_retried = False
