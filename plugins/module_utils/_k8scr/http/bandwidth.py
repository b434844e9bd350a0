# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A limit to the bytes per second of a task, shared by all its connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..oci.content import Blocks

_PARTS_PER_SECOND = 50
"""With fewer parts, a slow transfer would pause noticeably between them."""
_SMALLEST_PART = 4 << 10


class Bandwidth:
    """Limits the rate of blocks. Each part of a block gets a time slot; the slots of all threads follow each other.

    Args:
        rate: Bytes per second.
    """

    def __init__(
        self, rate: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()
        self._part = max(rate // _PARTS_PER_SECOND, _SMALLEST_PART)

    def limit(self, blocks: Blocks) -> Blocks:
        """Yield blocks in parts, no faster than the rate."""
        for block in blocks:
            for start in range(0, len(block), self._part):
                part = block[start : start + self._part]
                self._wait_for_slot(len(part))
                yield part

    def _wait_for_slot(self, size: int) -> None:
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now)
            self._free_at = begin + size / self._rate
        if begin > now:
            self._sleep(begin - now)
