# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The size of upload requests, which shrinks when proxies do not accept large ones."""

from __future__ import annotations

import threading

SMALLEST_CHUNK = 1 << 20
"""Bytes; smaller requests are not tried, because a proxy that rejects these is useless for images."""


class ChunkSize:
    """The maximum bytes of one request. All uploads of a task share it, because the same proxies limit them.

    Args:
        size: Bytes; None for no limit.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._lock = threading.Lock()

    def halve(self, tried: int) -> bool:
        """Reduce the size to half of a request that failed.

        Args:
            tried: The bytes of that request.

        Returns:
            Whether a smaller size is possible.
        """
        if tried <= SMALLEST_CHUNK:
            return False
        smaller = max(SMALLEST_CHUNK, tried // 2)
        with self._lock:
            self.size = min(self.size or smaller, smaller)
        return True
