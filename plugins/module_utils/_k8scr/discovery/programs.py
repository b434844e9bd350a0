# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run programs such as ``helm``, ``kubectl`` and ``pip`` with limits for time, memory and output.

A chart may be hostile: its templates may loop, or print without end.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError
from ..files.process_group import process_group
from ..redaction import HIDDEN, SHORTEST, without_passwords

_INTERVAL = 0.02
_MAXIMUM_MEMORY = 2 << 30
"""The bytes that a program may write to; Helm uses about 100 MiB for a large chart."""
_SHOWN = 2000
"""Characters of a program's last output in messages."""
_CRASH = re.compile(rb"^(?:fatal error|panic): .*", re.MULTILINE)
"""The line above the stack traces that a program in Go prints when it crashes, for example at the limit of memory."""
_ADVICE_OF_HELM = "Use --debug flag to render out invalid YAML"
_OFFLINE: Mapping[str, str] = {
    # A closed port: programs that load remote resources fail at once.
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
    "GIT_ALLOW_PROTOCOL": "file",
    "GIT_TERMINAL_PROMPT": "0",
}


@dataclass(frozen=True)
class ProgramRun:
    """How to run programs.

    Attributes:
        timeout: Seconds until a program is killed.
        limit: The bytes of the output.
        secrets: Texts that messages do not show.
        memory: The bytes that a program may write to; ``None`` for no limit.
    """

    timeout: int
    limit: int
    secrets: tuple[str, ...] = ()
    memory: int | None = _MAXIMUM_MEMORY


def find_program(name: str, path: str | None, install: str) -> str:
    """Return the path of a program, from the option with its name or from PATH.

    Args:
        install: What the user can install.

    Raises:
        InputError: The program does not exist.
    """
    found = shutil.which(path or name)
    if found is None:
        where = f"{path} is not a program" if path else f"the program {name} is not in PATH"
        raise InputError(f"{where} on the host that runs the module", f"Install {install}, or set {name} to its path")
    return found


def run_program(arguments: Sequence[str], what: str, run: ProgramRun, online: bool = False) -> bytes:
    """Run a program and return its output.

    Args:
        what: The action in messages, such as ``the chart ./app cannot be rendered``.
        online: Whether the program may connect to other hosts.

    Raises:
        InputError: The program failed, or exceeded a limit. The message has the end of its error output.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as messages:
        environment = {} if online else _OFFLINE
        status, reason = run_limited(arguments, output, messages, run, environment)
        text = _end_of(messages, run)
        if reason or status:
            name = Path(arguments[0]).name
            raise InputError(f"{what}: {name} {reason or 'failed'}{f': {text}' if text else ''}")
        output.seek(0)
        return output.read(run.limit)


def run_limited(
    arguments: Sequence[str],
    output: IO[bytes],
    messages: IO[bytes],
    run: ProgramRun,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> tuple[int, str]:
    """Run a program in a process group of its own, which ends with the limits.

    Args:
        output: The file for its output.
        messages: The file for its error output.
        environment: The variables to add to those of this process.
        folder: Its working folder; ``None`` for that of this process.

    Returns:
        The exit status and an empty text, or any status and the reason why it could not run to its end.
    """
    deadline = time.monotonic() + run.timeout
    too_much = f"printed more than {run.limit >> 20} MiB"
    try:
        with process_group(arguments, output, messages, {**os.environ, **environment}, folder) as process:
            if run.memory is not None:
                with contextlib.suppress(ProcessLookupError, AttributeError):
                    resource.prlimit(process.pid, resource.RLIMIT_DATA, (run.memory, run.memory))
            while process.poll() is None:
                if time.monotonic() > deadline:
                    return 1, f"did not finish within {run.timeout} s"
                if max(_size(output), _size(messages)) > run.limit:
                    return 1, too_much
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_INTERVAL)
    except OSError as error:
        return 1, f"cannot be started: {error.strerror}"
    if process.returncode < 0:
        return 1, f"was ended by signal {-process.returncode}"
    return process.returncode, too_much if not process.returncode and _size(output) > run.limit else ""


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _end_of(messages: IO[bytes], run: ProgramRun) -> str:
    """Return the end of a program's error output, without stack traces and secrets."""
    messages.seek(0)
    output = messages.read(run.limit)
    crash = _CRASH.search(output)
    text = (crash.group() if crash else output[-4 * _SHOWN :]).decode("utf-8", "replace")
    for secret in sorted(run.secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = str(without_passwords(text)).replace(_ADVICE_OF_HELM, "")
    return " ".join(text.split()).rstrip(".")[-_SHOWN:]
