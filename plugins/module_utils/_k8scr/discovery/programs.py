# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the programs ``helm`` and ``kubectl`` with limits for time, memory and output.

A chart may be hostile: its templates may loop, or print without end.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError
from ..redaction import HIDDEN, SHORTEST, without_passwords

_INTERVAL = 0.02
_SECONDS_TO_EXIT = 2.0
"""Seconds between SIGTERM and SIGKILL."""
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
    """

    timeout: int
    limit: int
    secrets: tuple[str, ...] = ()


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
        reason = _run(arguments, output, messages, run, online)
        text = _end_of(messages, run)
        if reason:
            raise InputError(f"{what}: {reason}{f': {text}' if text else ''}")
        output.seek(0)
        return output.read(run.limit)


def _run(arguments: Sequence[str], output: IO[bytes], messages: IO[bytes], run: ProgramRun, online: bool) -> str:
    """Run a program; return why it failed, and an empty text if it did not."""
    name = Path(arguments[0]).name
    deadline = time.monotonic() + run.timeout
    environment = {**os.environ, **({} if online else _OFFLINE)}
    try:
        with _started(arguments, output, messages, environment) as process:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    return f"{name} did not finish within {run.timeout} s"
                if max(_size(output), _size(messages)) > run.limit:
                    return f"{name} printed more than {run.limit >> 20} MiB"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_INTERVAL)
    except OSError as error:
        return f"{name} cannot be started: {error.strerror}"
    if process.returncode < 0:
        return f"{name} was ended by signal {-process.returncode}"
    if process.returncode:
        return f"{name} failed"
    return f"{name} printed more than {run.limit >> 20} MiB" if _size(output) > run.limit else ""


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], output: IO[bytes], messages: IO[bytes], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, and end the group if the block ends before the program."""
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=messages,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        with contextlib.suppress(ProcessLookupError, AttributeError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MAXIMUM_MEMORY, _MAXIMUM_MEMORY))
        yield process
    finally:
        if process.returncode is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS_TO_EXIT)


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
