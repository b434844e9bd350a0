# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Current retries in the status of a module that copies no images."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from .listener import Listener
from .progress import Progress
from .texts import counted

_LONGEST_REASON = 200
"""Characters of the reason of a retry."""


class RetryStatus(Listener):
    """Adds the requests that are being retried to each status.

    Args:
        progress: Receives the statuses.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def retried(self, action: str, reason: str) -> None:
        with self._lock:
            self._reasons[action] = reason

    def recovered(self, action: str) -> None:
        with self._lock:
            self._reasons.pop(action, None)

    def status(self, text_source: Callable[[], str | None]) -> AbstractContextManager[None]:
        """Send the current status during a block, as :meth:`.progress.Progress.status`."""
        return self._progress.status(lambda: self._with_retries(text_source()))

    def _with_retries(self, text: str | None) -> str | None:
        with self._lock:
            reasons = list(self._reasons.values())
        if not text or not reasons:
            return text
        reason = self._progress.shortened(reasons[0], _LONGEST_REASON)
        return f"{text}; retrying {counted(len(reasons), 'request')}: {reason}"
