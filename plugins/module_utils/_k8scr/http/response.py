# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses whose header is complete and arrives in time, and whose body can have a time limit."""

from __future__ import annotations

import http.client
import io
import math
from typing import Any

from .slow_peer import PacedReader

_FIRST_OTHER_THAN_SUCCESS = 300


class ResponseReader(io.BufferedReader):
    """Reads a response from a :class:`PacedReader`, and rejects lines without an end, which http.client accepts."""

    raw: PacedReader
    is_in_header = True
    _has_begun = False

    def readline(self, limit: int | None = -1) -> bytes:
        line = super().readline(limit)
        is_cut = not line.endswith(b"\n") and len(line) < (limit or 0)
        # After the last chunk of a body, http.client accepts the end of the stream.
        if is_cut and (line or self.is_in_header):
            begun = self._has_begun or line
            raise http.client.RemoteDisconnected(f"closed {'during' if begun else 'without'} a response")
        self._has_begun = True
        return line


class CompleteResponse(http.client.HTTPResponse):
    """A response with a complete header.

    Args:
        reader: Reads the response; it may have buffered the beginning.
        request_is_incomplete: Whether the connection has not sent the request to its end.
    """

    def __init__(self, reader: ResponseReader, request_is_incomplete: bool, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Opened(reader), *args, **kwargs)  # type: ignore[arg-type]
        self._reader = reader
        self._request_is_incomplete = request_is_incomplete

    def finish_within(self, seconds: float) -> None:
        """Limit the time for the rest of the body."""
        if not self.isclosed():
            self._reader.raw.finish_within(seconds)

    def receive(self, size: int) -> bytes:
        """Return the next bytes of the body, at most ``size``, as soon as some arrive; empty at its end.

        Raises:
            HTTPException, OSError: The body is incomplete.
        """
        block = self.read1(size)
        if not block:
            if self.length:
                raise http.client.IncompleteRead(b"", self.length)
            # Without this, the connection would not send another request.
            self.close()
        return block

    def begin(self) -> None:
        super().begin()
        self._reader.is_in_header = False
        self.finish_within(math.inf)
        if self._request_is_incomplete:
            # The connection cannot carry another request, because the end of this one is missing.
            self.will_close = True
            if self.status < _FIRST_OTHER_THAN_SUCCESS:
                raise http.client.RemoteDisconnected("success response to an incomplete request")


class _Opened:
    """An open reader in place of a socket, of which http.client only uses this method."""

    def __init__(self, reader: ResponseReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> ResponseReader:
        return self._reader
