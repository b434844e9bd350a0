# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths, and functions that run commands and describe failures."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.errors import log

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "k8scr-core"

# The build results of this checkout. They are outside of it: in a folder that git ignores, some tools check no files.
BUILD = CACHE / "checkouts" / f"{CHECKOUT.name}-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:12]}"

CLUSTER = (sys.executable, str(CHECKOUT / "tests/cluster"))
IMAGES = (sys.executable, str(CHECKOUT / "tests/images"))

# The part of a failed command's output that its error message repeats.
_LAST_LINES = 12
_LONGEST_LINE = 300


class Failed(Exception):
    """A failure with a message for the terminal."""


def run(
    *command: str | Path,
    cwd: Path = CHECKOUT,
    env: dict[str, str] | None = None,
    capture: bool = False,
) -> str:
    """Run a command and return its output if it is captured.

    Raises:
        subprocess.CalledProcessError: The exit status is not 0.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=True,
    )
    return done.stdout or ""


def run_and_print(*command: str | Path, cwd: Path, env: dict[str, str], write: Callable[[str], None] = log) -> None:
    """Run a command and print its output while it runs.

    Args:
        write: Prints a line.

    Raises:
        Failed: The exit status is not 0; the message has the last lines of the output.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            write(line.rstrip("\n"))
            last.append(line.rstrip()[:_LONGEST_LINE])
    if process.returncode:
        raise Failed("\n".join([*last, f"{Path(command[0]).name} failed with status {process.returncode}"]))


def describe(error: Exception) -> str:
    """Return the message for a failure."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{shlex.join(error.cmd)} failed with status {error.returncode}"
    return str(error)


def path_with(folders: Sequence[Path]) -> str:
    """Return PATH with these folders prepended."""
    return os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
