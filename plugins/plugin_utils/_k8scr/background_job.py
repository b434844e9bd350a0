# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module on a remote host in the background, so that its progress is visible and it survives a lost connection.

ansible-core prepares the module and parses its output as always. Only the command that runs the module is replaced: by
one that starts it in a session of its own, and by short requests that wait for progress and for its end
(:mod:`job_script`).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.interruption import cleanup_if_interrupted
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import VARIABLE
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.job_script import LONGEST_WAIT, JobScript, Output
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.ssh_connection import (
    detects_dead_host,
    ends_if_dead,
    is_become_rejected,
    is_become_timeout,
    is_lost,
    was_never_connected,
    without_retries,
)

_SECONDS_WITHOUT_CONTACT = 600
_LONGEST_PAUSE = 15
_LONGEST_LINE = 64 << 10
"""Bytes of a line of the progress file."""
_SECONDS_FOR_REQUEST = 30
"""Seconds that a request may need in addition to its waiting on the host."""
_SECONDS_TO_START = 120
"""The same for the first request, which may send the module."""


class BackgroundJob:
    """A context manager: the module that an action runs in the block becomes a background job.

    The result of the module is the same as without it. If the host cannot run a background job, the module runs as
    always, and the task has a warning. If the task is interrupted, the job is ended.

    Args:
        action: The action plugin of the task, which uses a POSIX shell on the host.
        host: The name of the host for messages.
        show: Gets complete lines of the progress file.

    Raises:
        AnsibleConnectionFailure: In the block; the connection failed before the start, or for 10 minutes.
    """

    def __init__(self, action: ActionBase, host: str, show: Callable[[bytes], None]) -> None:
        self._action = action
        self._name = action._task.action
        self._host = host
        self._show = show
        folder = action.get_shell_option("async_dir", default="~/.ansible_async")
        self._script = JobScript(folder, f"k8scr-{secrets.token_hex(16)}")
        self._execute: Callable[..., dict[str, Any]] = action._low_level_execute_command
        self._parent = os.getppid()
        self._may_run = False
        """Whether the job may run on the host and must be ended if the task is interrupted."""
        self._offset = 0
        self._rest = b""
        self._exit_stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        if getattr(self._action._connection._shell, "SHELL_FAMILY", None) != "sh":
            self._warn("its shell is not a POSIX shell")
            return
        task = self._action._task
        self._exit_stack.callback(setattr, task, "environment", task.environment)
        task.environment = [*(task.environment or []), {VARIABLE: self._script.name}]
        self._action._low_level_execute_command = self._execute_in_background
        self._exit_stack.callback(delattr, self._action, "_low_level_execute_command")
        self._exit_stack.enter_context(detects_dead_host(self._action._connection))

    def __exit__(self, *_error: object) -> None:
        self._exit_stack.close()

    def _execute_in_background(self, cmd: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Execute a command of ansible-core; the one that runs the module, in the background."""
        variable = f"{VARIABLE}={self._script.name}"
        if variable not in cmd:
            return self._execute(cmd, *args, **options)
        plain = cmd.replace(f"{variable} ", "", 1)
        command = cmd.replace(variable, f"{VARIABLE}={self._script.progress_path}", 1)
        script = self._script.start(command, len(options.get("in_data") or b""))
        with cleanup_if_interrupted(self._stop):
            self._may_run = True
            output = self._start(script, args, options)
            while isinstance(output, Output) and output.state == "running":
                output = self._follow()
            if isinstance(output, Output) and output.state != "refused" and not output.is_removed:
                self._remove()
            self._may_run = False
        if not isinstance(output, Output):
            return output
        if output.state == "refused":
            self._warn(output.reason)
            return self._execute(plain, *args, **options)
        return self._result(output)

    def _start(self, script: str, args: tuple[Any, ...], options: dict[str, Any]) -> Output | dict[str, Any]:
        """Start the job; return its first output, or the result of a command that did not start it."""
        failure: AnsibleConnectionFailure | None = None
        result: dict[str, Any] = {"stdout": "", "stderr": ""}
        try:
            result = self._send(script, args, options)
        except AnsibleConnectionFailure as error:
            failure = error
        except AnsibleError as error:
            self._may_run = not is_become_rejected(str(error))
            raise
        output = self._take(result["stdout"])
        if output is not None and output.state != "unknown":
            return output
        reason = str(failure or result["stderr"])
        if was_never_connected(reason):
            output = Output("missing")
        elif output or is_lost(result) or (failure and not is_become_timeout(reason)):
            output = self._follow(may_not_run=True)
        else:
            output = self._ask_once()
        if output.state != "missing":
            return output
        self._may_run = False
        if failure:
            raise failure
        return result

    def _send(self, script: str, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Execute the first script. The retries of ssh repeat it only if it did not arrive."""
        connection = self._action._connection
        with without_retries(connection) as retries:
            for attempt in range(retries + 1):
                try:
                    with ends_if_dead(connection, LONGEST_WAIT + _SECONDS_TO_START):
                        return self._execute(script, *args, **options)
                except AnsibleConnectionFailure as error:
                    is_final = attempt == retries or isinstance(error, AnsibleAuthenticationFailure)
                    if is_final or not was_never_connected(str(error)):
                        raise
                time.sleep(min(2**attempt, _LONGEST_PAUSE))
        raise AssertionError("the last attempt returns or raises")

    def _ask_once(self) -> Output:
        try:
            return self._request(may_not_run=True)
        except AnsibleConnectionFailure:
            return Output("missing")

    def _follow(self, may_not_run: bool = False) -> Output:
        """Return news of the job; if the connection is lost, wait until it works again.

        Raises:
            AnsibleConnectionFailure: It did not work for 10 minutes.
        """
        pause = 0
        lost = time.monotonic()
        since = time.strftime("%H:%M:%S")
        while True:
            try:
                return self._request(may_not_run)
            except AnsibleConnectionFailure as error:
                reason = (str(error).strip().splitlines() or ["no response"])[-1]
            if pause == 0:
                lost, since = time.monotonic(), time.strftime("%H:%M:%S")
            for _second in range(pause):
                self._show_status(f"{since} ({time.monotonic() - lost:.0f} s): {reason}")
                time.sleep(1)
            if time.monotonic() - lost > _SECONDS_WITHOUT_CONTACT:
                self._may_run = False
                raise AnsibleConnectionFailure(
                    f"The connection to {self._host} was lost at {since} and did not work again for 10 minutes: "
                    f"{reason}. {self._name} continues there. Repair the connection and run the task again; "
                    "it transfers only what is missing then."
                )
            with contextlib.suppress(Exception):
                self._action._connection.reset()
            pause = min(pause * 2, _LONGEST_PAUSE) or 1

    def _request(self, may_not_run: bool = False) -> Output:
        if os.getppid() != self._parent:
            # The main process of Ansible was killed. That of ansible-core 2.17 does not end its workers.
            raise KeyboardInterrupt
        script = self._script.follow(self._offset, may_not_run)
        with ends_if_dead(self._action._connection, LONGEST_WAIT + _SECONDS_FOR_REQUEST):
            result = self._execute_again(script)
        output = self._take(result["stdout"])
        if output is None:
            raise AnsibleConnectionFailure(result["stderr"].strip() or "the response is incomplete")
        return output

    def _execute_again(self, script: str) -> dict[str, Any]:
        try:
            return self._execute(script)
        except AnsibleError as error:
            # ansible-core before 2.19 does not report this as a failure of the connection.
            if not is_become_timeout(str(error)):
                raise
            raise AnsibleConnectionFailure(str(error)) from error

    def _take(self, text: str) -> Output | None:
        """Read the output of a script and show its progress."""
        output = self._script.read(text)
        if output is not None:
            self._offset += output.count
            lines, end, rest = (self._rest + output.progress).rpartition(b"\n")
            # A hostile host may send a line without an end. The reader ignores such long lines.
            self._rest = rest[:_LONGEST_LINE]
            if end:
                self._show(lines + end)
        return output

    def _show_status(self, loss: str) -> None:
        status = f"connection to {self._host} lost since {loss}; the task continues there"
        self._show(json.dumps({"status": status}).encode() + b"\n")

    def _remove(self) -> None:
        with contextlib.suppress(AnsibleConnectionFailure):
            self._execute(self._script.remove())

    def _stop(self) -> None:
        if not self._may_run:
            return
        output = None
        with contextlib.suppress(Exception):
            output = self._script.read(self._execute(self._script.stop())["stdout"])
        if output is None:
            Display().warning(f"{self._name} could not be ended on {self._host} and may continue there.")

    def _warn(self, reason: str) -> None:
        Display().warning(f"The progress of the task cannot be shown: {self._host}: {reason}")

    def _result(self, output: Output) -> dict[str, Any]:
        """Return the result of the command as ``_low_level_execute_command`` does."""
        out, code = output.out, output.exit_code
        if output.state != "done" or (code > 128 and not out.strip()):
            reason = f"signal {code - 128} ended it" if output.state == "done" else "its process no longer exists"
            message = (
                f"{self._name} ended on {self._host} without a result: {reason}. Look for the reason on "
                "the host, such as a restart or a lack of memory, and run the task again."
            )
            out = json.dumps({"failed": True, "msg": message})
        err = output.err
        return {
            "rc": code,
            "stdout": out,
            "stdout_lines": out.splitlines(),
            "stderr": err,
            "stderr_lines": err.splitlines(),
        }
