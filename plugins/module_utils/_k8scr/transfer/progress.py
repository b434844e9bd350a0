# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages of a module about its progress."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..files.progress_file import Message
from .texts import whole_seconds_text

_DIGEST = re.compile(r"(sha(?:256|512):[0-9a-f]{12})[0-9a-f]+")
_INTERVAL = 1.0
"""Seconds between two updates of the status."""


class Progress:
    """Sends messages to the user while a module runs. Several threads may use it; it never raises.

    Args:
        write: Receives the messages; ``None`` shows nothing.
        mask: Masks the secrets in a text.

    Attributes:
        is_shown: Whether anybody receives the messages.
    """

    def __init__(
        self, write: Callable[[Message], None] | None = None, mask: Callable[[str], str] = lambda text: text
    ) -> None:
        self._write = write
        self._mask = mask
        self.is_shown = write is not None

    def line(self, text: str) -> None:
        """Send a lasting line."""
        self._send(Message(text, lasting=True))

    def shortened(self, text: str, limit: int) -> str:
        """Return a text of at most ``limit`` characters with short digests.

        Secrets are masked before: a part of one would not be masked.
        """
        short = _DIGEST.sub(r"\1", self._mask(text))
        return short if len(short) <= limit else f"{short[: limit - 1]}…"

    @contextmanager
    def status(self, text_source: Callable[[], str | None]) -> Iterator[None]:
        """Send the current status each second during a block, and an empty one when it ends.

        Args:
            text_source: Returns the status, in another thread; ``None`` if there is none.
        """
        if not self.is_shown:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._repeat, args=(text_source, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _repeat(self, text_source: Callable[[], str | None], ended: threading.Event) -> None:
        last = ""
        while not ended.wait(_INTERVAL):
            with suppress(Exception):
                text = text_source() or ""
                if text != last:
                    last = text
                    self._send(Message(text, lasting=False))
        if last:
            self._send(Message("", lasting=False))

    def _send(self, message: Message) -> None:
        if self._write:
            with suppress(Exception):
                self._write(Message(self._mask(message.text), message.lasting))


SILENT = Progress()
"""Shows nothing."""


def elapsed(text: str, after: float = 0.0) -> Callable[[], str | None]:
    """Return a source for :meth:`Progress.status` that adds the time since this call, as in ``importing (35 s)``.

    Args:
        after: Seconds until the status is shown.
    """
    begin = time.monotonic()

    def status() -> str | None:
        seconds = time.monotonic() - begin
        return f"{text} ({whole_seconds_text(seconds)})" if seconds >= after else None

    return status
