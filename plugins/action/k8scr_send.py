# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of sending a file: cuts it into pieces and hands them to the connection one by one."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import (
    open_regular,
    read_errors,
    write_errors,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.parts import copy_piece, digest_of_file

_FIRST_PIECE = 4 << 20
_SMALLEST_PIECE = 1 << 20
_LARGEST_PIECE = 256 << 20
_LONG = 10.0
"""Seconds for a piece: where one takes less, the next is twice as large, and where it takes more, half as large."""


class _Failed(Exception):
    """The node's half has failed; what it said is the argument."""


class ActionModule(ActionBase):
    """Send a file, and go on where an earlier run was cut."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See :meth:`ActionBase.run`; the result is documented at the module of the same name."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            {"src": {"type": "str", "required": True}, "dest": {"type": "str", "required": True}}
        )
        path = self._find_needle("files", options["src"])
        try:
            with read_errors(path):
                source = open_regular(path)
            try:
                result.update(self._send(source, path, options["dest"], task_vars or {}))
            finally:
                os.close(source)
        except K8scrError as error:
            result.update(failed=True, msg=str(error))
        except _Failed as error:
            result.update(error.args[0])
        return result

    def _send(self, source: int, path: str, dest: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        size = os.fstat(source).st_size
        file = {"dest": dest, "size": size, "digest": digest_of_file(source, size, path)}
        there = self._ask(file, task_vars)
        result = {"dest": dest, "size": size, "sent": 0, "whole": there["whole"], "changed": not there["whole"]}
        if there["whole"] or self._task.check_mode:
            return result
        begun = int(there["part_size"])
        position = begun if there["part_digest"] == digest_of_file(source, begun, path) else 0
        result["sent"] = size - position
        length = _FIRST_PIECE
        while True:
            length = min(length, size - position)
            started = time.monotonic()
            self._send_piece(source, path, position, length, file, task_vars)
            position += length
            if position == size:
                return result
            quick = time.monotonic() - started < _LONG
            length = min(2 * length, _LARGEST_PIECE) if quick else max(length // 2, _SMALLEST_PIECE)

    def _send_piece(
        self, source: int, path: str, position: int, length: int, file: dict[str, Any], task_vars: dict[str, Any]
    ) -> None:
        folder = self._connection._shell.tmpdir
        remote = self._connection._shell.join_path(folder, "piece")
        with write_errors(constants.DEFAULT_LOCAL_TMP):
            descriptor, piece = tempfile.mkstemp(dir=constants.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(descriptor, "wb") as target:
                copy_piece(source, position, length, target.fileno(), path, piece)
            self._transfer_file(piece, remote)
        finally:
            Path(piece).unlink()
        self._fixup_perms2((folder, remote))
        self._ask({**file, "piece": remote, "offset": position}, task_vars)

    def _ask(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module("k8scr.core.k8scr_send_part", options, task_vars=task_vars)
        if answer.get("failed"):
            raise _Failed(answer)
        return answer
