# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual environment: made once for each set of requirements, shared by all checkouts."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from pathlib import Path

from . import pythons
from .commands import CACHE, CHECKOUT, run, say

FOLDER = CACHE / "venv"
NEWEST = (CHECKOUT / "tests/requirements.txt", CHECKOUT / "tests/constraints.txt")
FLOOR = (CHECKOUT / "tests/requirements-floor.txt",)


def ensure(files: tuple[Path, ...] = NEWEST) -> Path:
    """The folder of the virtual environment's programs; the environment is made where it is missing.

    Args:
        files: What is installed: a file of requirements and, after it, files of constraints.
    """
    version, python = pythons.controller()
    contents = b"".join(path.read_bytes() for path in files)
    environment = FOLDER / f"{version}-{hashlib.sha256(contents + bytes(python)).hexdigest()[:12]}"
    complete = environment / "complete"
    if not complete.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                _make(environment, python, files)
                complete.touch()
    return environment / "bin"


def _make(environment: Path, python: Path, files: tuple[Path, ...]) -> None:
    # It cannot be made elsewhere and renamed, since its programs name their interpreter: a file
    # tells that it is complete, and one without that file is what an interrupted run left.
    shutil.rmtree(environment, ignore_errors=True)
    say(f"making a virtual environment of {python} with {files[0].name}, which takes up to a minute")
    start = time.monotonic()
    run(python, "-m", "venv", environment)
    pip = (environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    requirements, *constraints = files
    run(*pip, "--requirement", requirements, *(f"--constraint={path}" for path in constraints))
    say(f"made it in {time.monotonic() - start:.0f} s")
