# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file through which a module reports its progress to the action plugin on the controller.

It is append-only and has one JSON object a line: first ``{"group": N}``, then ``{"line": TEXT}`` for a lasting line and
``{"status": TEXT}`` for the current status.
"""

from __future__ import annotations

import json
import os
import threading
import unicodedata
from dataclasses import dataclass

VARIABLE = "K8SCR_PROGRESS_FILE"
"""The environment variable with the path of the file to create. Without it, a module reports no progress."""
_LONGEST_TEXT = 500
"""Characters of a message."""
_LONGEST_LINE = 16 << 10
"""Bytes of a line in the file; JSON needs up to 12 for a character."""
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""The Unicode categories that a terminal may execute, or that reorder or hide text."""


@dataclass(frozen=True)
class Message:
    """One message to the user.

    Attributes:
        lasting: Whether it stays visible. Another message replaces the current status; an empty one deletes it.
    """

    text: str
    lasting: bool


class ProgressFile:
    """Writes messages to a new file that only this user can read. Errors stop it and raise nothing.

    Args:
        path: The file, which must not exist.

    Attributes:
        error: The reason why it stopped; ``None`` while it works.
    """

    def __init__(self, path: str) -> None:
        self.error: str | None = None
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except (OSError, ValueError) as error:
            self._stop(error)
        self._append({"group": os.getpgrp()})

    def write(self, message: Message) -> None:
        """Append a message; longer texts are cut."""
        self._append({"line" if message.lasting else "status": message.text[:_LONGEST_TEXT]})

    def _append(self, value: object) -> None:
        data = json.dumps(value).encode() + b"\n"
        with self._lock:
            if self._descriptor is None:
                return
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                self._stop(error)

    def _stop(self, error: OSError | ValueError) -> None:
        self.error = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class MessageReader:
    """Reads messages from the pieces of a file that another host may have changed.

    Attributes:
        group: The process group of the module; ``None`` until its line was read.
        is_damaged: Whether a line was ignored because it is too long or no JSON object.
    """

    def __init__(self) -> None:
        self.group: int | None = None
        self.is_damaged = False
        self._rest = b""
        self._is_first = True
        self._skips = False
        """Whether the current line is too long and is ignored up to its end."""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages of the lines that ``data`` completes. Other lines are ignored."""
        *complete, rest = data.split(b"\n")
        messages: list[Message] = []
        for end in complete:
            line, self._rest = self._rest + end, b""
            if self._skips or len(line) > _LONGEST_LINE:
                self.is_damaged = True
            else:
                messages += self._read(line)
            self._skips = self._is_first = False
        self._rest += rest
        if self._skips or len(self._rest) > _LONGEST_LINE:
            self._rest, self._skips = b"", True
        return messages

    def _read(self, line: bytes) -> list[Message]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.is_damaged = True
            return []
        group = value.get("group")
        if self._is_first and isinstance(group, int) and group > 1:
            self.group = group
        found = [(value.get(name), name == "line") for name in ("line", "status")]
        return [Message(printable(text[:_LONGEST_TEXT]), lasting) for text, lasting in found if isinstance(text, str)]


def printable(text: str) -> str:
    """Replace the characters that a terminal may execute, or that reorder or hide text."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNPRINTABLE:
        return character
    return " " if character.isspace() else "?"
