# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module and show its progress; this is the part that runs on the controller."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import VARIABLE, MessageReader
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.followed_file import FollowedFile
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.task_display import TaskDisplay


class ProgressAction(NormalAction):
    """Run the module of the same name as any other module, and show its messages.

    If the messages cannot be shown, the module runs without them, and the task has one warning.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; see :meth:`ActionBase.run`, and the documentation of the module for the result."""
        try:
            options = ProgressOptions.of_task(self._task.args, os.environ)
        except InputError as error:
            return {"failed": True, "msg": str(error)}
        display = TaskDisplay(self._task, task_vars or {}, options)
        result: dict[str, Any]
        if display.is_silent or not self._is_local():
            result = super().run(tmp, task_vars)
            return result
        with self._followed_messages(display):
            result = super().run(tmp, task_vars)
        return result

    def _is_local(self) -> bool:
        """Whether the module runs on this host as this user."""
        return self._connection.transport == "local" and not self._connection.become

    @contextmanager
    def _followed_messages(self, display: TaskDisplay) -> Iterator[None]:
        """Show the messages of modules that run in the context."""
        try:
            # The main process of Ansible deletes this folder, also after Ctrl-C.
            folder = tempfile.TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP, ignore_cleanup_errors=True)
        except OSError as error:
            self._warn(error.strerror or error)
            yield
            return
        reader = MessageReader()
        with folder as name:
            path = Path(name, "progress")
            followed = FollowedFile(path, lambda data: display.show(reader.feed(data)))
            try:
                with followed, self._variable({VARIABLE: str(path)}):
                    yield
            finally:
                display.close()
        if followed.error or reader.is_damaged:
            self._warn(followed.error or "invalid messages of the module")

    @contextmanager
    def _variable(self, variable: Mapping[str, str]) -> Iterator[None]:
        """Set an environment variable of modules that run in the context."""
        given = self._task.environment
        self._task.environment = [*(given or []), variable]
        try:
            yield
        finally:
            self._task.environment = given

    def _warn(self, reason: object) -> None:
        self._display.warning(f"The progress of the task cannot be shown: {reason}")
