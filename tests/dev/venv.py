# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments, one for each set of requirements, shared by all checkouts."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from pathlib import Path

from cluster.errors import log

from . import pythons
from .commands import CACHE, CHECKOUT, run

FOLDER = CACHE / "venv"
NEWEST = (CHECKOUT / "tests/requirements.txt", CHECKOUT / "tests/constraints.txt")
FLOOR = (CHECKOUT / "tests/requirements-floor.txt",)


def ensure(files: tuple[Path, ...] = NEWEST) -> Path:
    """Return the folder of a virtual environment's programs, making the environment if it is missing.

    Args:
        files: A file of requirements, followed by files of constraints.
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
    # A virtual environment cannot be renamed, since its programs contain the path of their interpreter. A file
    # marks a complete one instead; without the file, it is the leftover of an interrupted run.
    shutil.rmtree(environment, ignore_errors=True)
    log(f"making a virtual environment with {python} from {files[0].name}, which takes up to a minute")
    start = time.monotonic()
    run(python, "-m", "venv", environment)
    pip = (environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    requirements, *constraints = files
    run(*pip, "--requirement", requirements, *(f"--constraint={path}" for path in constraints))
    log(f"made the virtual environment in {time.monotonic() - start:.0f} s")
