# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy a file to a host in pieces; this is the part that runs on the controller."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.progress_options import ProgressOptions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send import SEND_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import write_errors
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.partial_transfer import (
    PieceSize,
    copy_piece,
    digest_of_file,
    open_source,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import Progress
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.send_progress import SendProgress
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.task_messages import TaskMessages


class _Failed(Exception):
    """The module on the host failed; the argument is its result."""


class ActionModule(ActionBase):
    """Copy a file, and resume an interrupted transfer."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action; see :meth:`ActionBase.run`, and the module of the same name for the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(SEND_ARGUMENT_SPEC)
        path = self._find_needle("files", options["src"])
        try:
            messages = TaskMessages(self._task, task_vars or {}, ProgressOptions.of_task(self._task.args, os.environ))
            progress = Progress(None if messages.is_silent else lambda message: messages.show([message]))
            transfer = SendProgress(path)
            with messages, transfer.shown(progress), open_source(path) as source:
                result.update(self._send(source, path, options["dest"], task_vars or {}, transfer))
        except K8scrError as error:
            result.update(failed=True, msg=str(error))
        except _Failed as error:
            result.update(error.args[0])
        return result

    def _send(
        self, source: int, path: str, dest: str, task_vars: dict[str, Any], transfer: SendProgress
    ) -> dict[str, Any]:
        size = os.fstat(source).st_size
        folder = self._connection._shell.tmpdir
        digest = digest_of_file(source, size, path)
        file = {"dest": dest, "size": size, "digest": digest, "piece_dir": folder}
        state = self._run_on_host(file, task_vars)
        result = {"dest": dest, "size": size, "sent": 0, "whole": state["whole"], "changed": not state["whole"]}
        if state["whole"] or self._task.check_mode:
            return result
        part_size = state["part_size"]
        offset = part_size if state["part_digest"] == digest_of_file(source, part_size, path) else 0
        result["sent"] = size - offset
        transfer.begin(size, offset)
        piece_size = PieceSize()
        while True:
            length = piece_size.fit(size - offset, state["piece_room"], folder)
            started = time.monotonic()
            state = self._send_piece(source, path, offset, length, file, task_vars)
            offset += length
            transfer.add(length)
            if offset == size:
                return result
            piece_size.sent(time.monotonic() - started)

    def _send_piece(
        self, source: int, path: str, offset: int, length: int, file: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        folder = file["piece_dir"]
        remote = self._connection._shell.join_path(folder, "piece")
        with write_errors(constants.DEFAULT_LOCAL_TMP):
            descriptor, piece = tempfile.mkstemp(dir=constants.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(descriptor, "wb") as target:
                copy_piece(source, offset, length, target.fileno(), path, piece)
            self._transfer_file(piece, remote)
        finally:
            Path(piece).unlink()
        self._fixup_perms2((folder, remote))
        return self._run_on_host({**file, "piece": remote, "offset": offset}, task_vars)

    def _run_on_host(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module("k8scr.core.k8scr_send_part", options, task_vars=task_vars)
        if result.get("failed"):
            raise _Failed(result)
        return result
