# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths, and how commands are run and failures told."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "k8scr-core"

# What is built of this checkout. Not inside it: tools that ask git would find ignored files only, and check nothing.
BUILD = CACHE / "checkouts" / f"{CHECKOUT.name}-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:12]}"

CLUSTER = (sys.executable, str(CHECKOUT / "tests/cluster"))
IMAGES = (sys.executable, str(CHECKOUT / "tests/images"))


_LAST_LINES = 12
_LONGEST_LINE = 300
"""Of what a command that failed is told again: as much as is read at a glance."""


class Failed(Exception):
    """What went wrong and what to do about it, in one line."""


def say(line: str) -> None:
    """Tell the person at the terminal; standard output is for what was asked for."""
    print(line, file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    cwd: Path = CHECKOUT,
    env: dict[str, str] | None = None,
    capture: bool = False,
) -> str:
    """Run a command, which must succeed; its output comes back if it is captured."""
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


def run_aloud(*command: str | Path, cwd: Path, env: dict[str, str]) -> None:
    """Run a command whose output is shown as it comes, and whose last lines are the failure where it fails.

    Raises:
        Failed: It ended with another status than 0.
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
            say(line.rstrip("\n"))
            last.append(line.rstrip()[:_LONGEST_LINE])
    if process.returncode:
        raise Failed("\n".join([*last, f"{Path(command[0]).name} ended with {process.returncode}"]))


def told(problem: Exception) -> str:
    """A failure as a line."""
    if isinstance(problem, subprocess.CalledProcessError):
        return f"{shlex.join(problem.cmd)} ended with {problem.returncode}"
    return str(problem)


def path_with(folders: Sequence[Path]) -> str:
    """The PATH with these folders in front."""
    return os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
