# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The messages of a module about its progress."""

from __future__ import annotations

import re
import threading

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import Message
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer import progress
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import Progress

_TIMEOUT = 10.0
"""Seconds."""


class ShownTexts:
    """Receives messages. Statuses are updated every 10 milliseconds instead of each second.

    Attributes:
        messages: The messages to the user.
        progress: The progress of the module.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "_INTERVAL", 0.01)
        self.messages: list[Message] = []
        self.progress = Progress(self._receive)
        self._received = threading.Condition()

    @property
    def texts(self) -> list[str]:
        """The texts of the messages."""
        return [message.text for message in self.messages]

    def wait_for_last(self, pattern: str) -> None:
        """Wait until the last text matches a pattern from its beginning to its end."""
        with self._received:
            found = self._received.wait_for(lambda: self._is_last(pattern), _TIMEOUT)
        assert found, self.texts

    def _receive(self, message: Message) -> None:
        with self._received:
            self.messages.append(message)
            self._received.notify_all()

    def _is_last(self, pattern: str) -> bool:
        return bool(self.messages) and re.fullmatch(pattern, self.messages[-1].text) is not None
