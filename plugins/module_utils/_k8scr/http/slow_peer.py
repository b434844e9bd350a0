# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits for slow peers: a minimum rate of bytes, and the time for a header or a small body.

A timeout of a socket limits each pause, so a peer that transfers a byte a second never reaches it. Only the time that a
connection waits for the network counts, and not the time that the caller spends with the data.
"""

from __future__ import annotations

import io
import math
import time
from typing import Any

from ..errors import ConnectionLostError, Retry

MINIMUM_RATE = 1 << 10
"""Bytes a second, unless the user sets another rate: a tenth of what a satellite phone transfers."""
WINDOW = 60.0
"""Seconds of waiting over which the rate is averaged; the timeout, if that is longer."""
HEADER_SECONDS = 300.0
"""Seconds from the first to the last byte of a header, including interim responses."""
_ATTEMPTS = 5
"""Attempts with a peer that is too slow. It makes some progress in each, which does not add attempts."""


class SlowPeerError(OSError):
    """A peer transfers too slowly. The text begins with a verb, whose subject is the peer.

    Args:
        advice: What the user can do.
    """

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self._advice = advice

    def explain(self, peer: str) -> ConnectionLostError:
        """Return the error for the user; ``peer`` is the name in the message."""
        return ConnectionLostError(f"{peer} {self}", self._advice, Retry(_ATTEMPTS, despite_progress=True))


class Pace:
    """The average rate in one direction of a connection.

    Args:
        verb: The transfer in error messages, such as "sent".
        timeout: Seconds of the longest pause.
        minimum_rate: Bytes a second; 0 for no minimum.
    """

    def __init__(self, verb: str, timeout: float, minimum_rate: int) -> None:
        self._verb = verb
        self._minimum = minimum_rate
        self._window = max(WINDOW, timeout) if minimum_rate else math.inf
        self._size = 0
        self._seconds = 0.0

    def add(self, size: int, seconds: float) -> None:
        """Add bytes and the time that the connection waited for them.

        Raises:
            SlowPeerError: The rate was too low in the window that ends now.
        """
        self._size += size
        self._seconds += seconds
        if self._seconds < self._window:
            return
        size, seconds, self._size, self._seconds = self._size, self._seconds, 0, 0.0
        if size < self._minimum * seconds:
            raise SlowPeerError(
                f"{self._verb} only {size} bytes in {seconds:.0f} seconds, less than {self._minimum} a second",
                "Check the network and the load on the servers, or set a lower minimum_rate",
            )


class PacedReader(io.RawIOBase):
    """Reads one response from a socket, the header within :data:`HEADER_SECONDS`.

    The limits count from the first byte, because the socket's timeout limits the wait for a response.
    """

    def __init__(self, sock: Any, pace: Pace) -> None:
        self._file = sock.makefile("rb", buffering=0)
        # SocketIO.readinto checks more states, which takes longer than the rate.
        self._receive_into = sock.recv_into
        self._pace = pace
        self.restart()

    def restart(self) -> None:
        """Count from the next byte."""
        self._has_begun = False
        self._seconds = HEADER_SECONDS
        self._deadline = math.inf

    def finish_within(self, seconds: float) -> None:
        """Limit the time for the rest of the response, from now; infinite for no limit."""
        self._seconds, self._deadline = seconds, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what the socket has received.

        Raises:
            SlowPeerError: The rate is too low, or the time is over.
            OSError: The connection was interrupted or timed out.
        """
        begin = time.monotonic()
        count: int = self._receive_into(buffer)
        now = time.monotonic()
        if self._has_begun:
            self._pace.add(count, now - begin)
            if now > self._deadline:
                raise SlowPeerError(
                    f"sent no complete response within {self._seconds:.0f} seconds", "Check the network and the servers"
                )
        else:
            self._has_begun = True
            self._deadline = now + self._seconds
        return count

    def close(self) -> None:
        super().close()
        self._file.close()
