# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receive the messages of a module and show them, without a risk for its task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.utils.display import Display
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import Message, MessageReader
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.task_display import TaskDisplay


class TaskMessages:
    """Shows messages on the display of a task, until the end of a context. Errors end it, and it raises nothing.

    At the end, the task has a warning if messages are missing.

    Args:
        task: The task, with its final values.
        task_vars: The variables of the task.

    Attributes:
        error: The reason why messages are missing; ``None`` for none.
    """

    def __init__(self, task: Any, task_vars: Mapping[str, Any], options: ProgressOptions) -> None:
        self.error: str | None = options.fault or None
        self._reader = MessageReader()
        self._display: TaskDisplay | None = None
        try:
            self._display = TaskDisplay(task, task_vars, options)
        except Exception as error:  # noqa: BLE001 - other versions of ansible-core may have other attributes
            self.error = str(error)

    @property
    def is_silent(self) -> bool:
        """Whether it shows nothing."""
        return self._display is None or self._display.is_silent

    def __enter__(self) -> TaskMessages:
        return self

    def __exit__(self, error: object, *_rest: object) -> None:
        if self._display:
            self._display.close()
        if self.error and error is None:
            Display().warning(f"The progress of the task cannot be shown: {self.error}")

    def receive(self, data: bytes) -> None:
        """Show the messages in the next data of a progress file. Call it regularly, also without data."""
        messages = self._reader.feed(data)
        if self._reader.is_damaged:
            self.error = self.error or "invalid messages of the module"
        self.show(messages)

    def show(self, messages: Iterable[Message]) -> None:
        """Show messages."""
        try:
            if self._display:
                self._display.show(messages)
        except Exception as error:  # noqa: BLE001 - the delivery must not fail with its progress
            self.error = str(error)
            self._display = None
