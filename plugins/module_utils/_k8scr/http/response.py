# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses whose header is complete and arrives in time, and whose body can have a time limit."""

from __future__ import annotations

import http.client
import io
import math
from typing import Any, BinaryIO

from .slow_peer import PacedReader

_FIRST_OTHER_THAN_SUCCESS = 300


class CompleteResponse(http.client.HTTPResponse):
    """A response whose header is complete; http.client accepts a truncated header.

    Args:
        reader: Reads from a :class:`PacedReader`; it may have buffered the beginning of the response.
        request_is_incomplete: Whether the connection has not sent the request to its end.
    """

    def __init__(self, reader: io.BufferedReader, request_is_incomplete: bool, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Opened(reader), *args, **kwargs)  # type: ignore[arg-type]
        self._source: PacedReader = reader.raw  # type: ignore[assignment]
        self._request_is_incomplete = request_is_incomplete

    def finish_within(self, seconds: float) -> None:
        """Limit the time for the rest of the body."""
        self._source.finish_within(seconds)

    def begin(self) -> None:
        reader = self.fp
        self.fp = _CompleteLines(reader)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            self._source.finish_within(math.inf)
            # http.client sets it to None for a response without a body.
            if self.fp is not None:
                self.fp = reader
        if self._request_is_incomplete:
            # The connection cannot carry another request, because the end of this one is missing.
            self.will_close = True
            if self.status < _FIRST_OTHER_THAN_SUCCESS:
                raise http.client.RemoteDisconnected("success response to an incomplete request")


class _Opened:
    """An open reader in place of a socket, of which http.client only uses this method."""

    def __init__(self, reader: io.BufferedReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._reader


class _CompleteLines:
    """Reads lines and rejects one without an end."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._has_begun = False
        self.close = reader.close

    def readline(self, limit: int) -> bytes:
        line = self._reader.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            begun = self._has_begun or line
            raise http.client.RemoteDisconnected(f"closed {'during' if begun else 'without'} a response")
        self._has_begun = True
        return line
