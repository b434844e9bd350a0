# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module and show its progress; this is the part that runs on the controller."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.interruption import cleanup_if_interrupted
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import VARIABLE
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.background_job import BackgroundJob
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.followed_file import FollowedFile
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.task_messages import TaskMessages


class ProgressAction(NormalAction):
    """Run the module of the same name as any other module, and show its messages.

    If the messages cannot be shown, the module runs without them, and the task has one warning. On another host, or as
    another user, the module is a background job that survives a lost connection.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; see :meth:`ActionBase.run`, and the documentation of the module for the result."""
        result: dict[str, Any]
        try:
            options = ProgressOptions.of_task(self._task.args, os.environ)
        except InputError:
            # The module rejects the options, with all values that its failures have.
            result = super().run(tmp, task_vars)
            return result
        messages = TaskMessages(self._task, task_vars or {}, options)
        with messages, self._reported(messages, task_vars or {}):
            result = super().run(tmp, task_vars)
        return result

    def _reported(self, messages: TaskMessages, task_vars: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Return a context in which modules report their progress."""
        if self._task.async_val:
            return nullcontext()
        if self._connection.transport == "local" and not self._connection.become:
            return nullcontext() if messages.is_silent else self._followed(messages)
        return BackgroundJob(self, str(task_vars.get("inventory_hostname")), messages.receive)

    @contextmanager
    def _followed(self, messages: TaskMessages) -> Iterator[None]:
        """Follow the progress file of a module on this host."""
        try:
            # The main process of Ansible deletes this folder, also after Ctrl-C.
            folder = tempfile.TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP, ignore_cleanup_errors=True)
        except OSError as error:
            messages.error = error.strerror or str(error)
            yield
            return
        with folder as name:
            path = Path(name, "progress")
            followed = FollowedFile(path, messages.receive)
            # A process that ends while a thread displays a text keeps the lock of the display's queue. The main
            # process then waits forever.
            with followed, self._variable({VARIABLE: str(path)}), cleanup_if_interrupted(followed.stop):
                yield
            messages.error = messages.error or followed.error

    @contextmanager
    def _variable(self, variable: Mapping[str, str]) -> Iterator[None]:
        """Set an environment variable of modules that run in the context."""
        given = self._task.environment
        self._task.environment = [*(given or []), variable]
        try:
            yield
        finally:
            self._task.environment = given
