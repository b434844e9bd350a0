# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Current retries in the status of a module that copies no images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from .current_retries import CurrentRetries
from .listener import Listener
from .progress import Progress


class RetryStatus(Listener):
    """Adds the requests that are being retried to each status.

    Args:
        progress: Receives the statuses.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._retries = CurrentRetries(progress.shortened)

    def retried(self, action: str, reason: str) -> None:
        with self._lock:
            self._retries.add(action, reason, time.monotonic())

    def recovered(self, action: str) -> None:
        with self._lock:
            self._retries.remove(action)

    def status(self, text_source: Callable[[], str | None]) -> AbstractContextManager[None]:
        """Send the current status during a block, as :meth:`.progress.Progress.status`."""
        return self._progress.status(lambda: self._with_retries(text_source()))

    def _with_retries(self, text: str | None) -> str | None:
        with self._lock:
            retries = self._retries.text(time.monotonic())
        return f"{text}; {retries}" if text and retries else text
