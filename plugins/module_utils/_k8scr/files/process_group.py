# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program in a process group of its own, so that its children end together with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

SECONDS_TO_EXIT = 2.0
"""Seconds between SIGTERM and SIGKILL."""


@contextlib.contextmanager
def process_group(
    arguments: Sequence[str],
    output: IO[bytes] | int,
    messages: IO[bytes] | int,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program without input and terminal, and end its group if the block ends before the program.

    Args:
        output: The file for its output, or :data:`subprocess.PIPE`.
        messages: The file for its error output, or :data:`subprocess.PIPE`.
        environment: Its variables.
        folder: Its working folder; ``None`` for that of this process.

    Raises:
        OSError: The program cannot be started.
    """
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=messages,
        env=environment,
        cwd=folder,
        # Without a terminal, prompts fail instead of waiting for input.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_EXIT)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
