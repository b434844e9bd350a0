# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The requests that are being retried, and the text about them in a status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .texts import counted, whole_seconds_text

_LONGEST_REASON = 200
"""Characters of the reason of a retry."""
_OF_BLOBS = ("blob ", "layer ")
"""The beginnings of actions that transfer a blob."""


@dataclass(frozen=True)
class _Retry:
    """A request that failed and is retried.

    Attributes:
        reason: The error of its last attempt.
        since: The time of its first failure.
        last: The time of its last failure.
    """

    reason: str
    since: float
    last: float


class CurrentRetries:
    """The requests that failed and did not succeed since. The caller synchronizes threads.

    Args:
        shortened: Returns a text with so many characters at most.
    """

    def __init__(self, shortened: Callable[[str, int], str]) -> None:
        self._shortened = shortened
        self._retries: dict[str, _Retry] = {}

    def add(self, action: str, reason: str, now: float) -> None:
        """Record a failed attempt, see :meth:`.listener.Listener.retried`."""
        known = self._retries.get(action)
        self._retries[action] = _Retry(reason, known.since if known else now, now)

    def remove(self, action: str) -> None:
        """Forget a request that succeeded or is no longer retried."""
        self._retries.pop(action, None)

    def text(self, now: float, counts: Callable[[str, float], bool] = lambda action, last: True) -> str | None:
        """Return the number of retried requests, and the reason and the age of the oldest; ``None`` without requests.

        Args:
            now: The current time, as in :meth:`add`.
            counts: Returns whether to count a request, from its action and the time of its last failure.
        """
        retries = {action: retry for action, retry in self._retries.items() if counts(action, retry.last)}
        if not retries:
            return None
        oldest = min(retries.values(), key=lambda retry: retry.since)
        kind = "blob" if all(action.startswith(_OF_BLOBS) for action in retries) else "request"
        reason = self._shortened(oldest.reason, _LONGEST_REASON)
        return f"retrying {counted(len(retries), kind)}: {reason} ({whole_seconds_text(now - oldest.since)})"
