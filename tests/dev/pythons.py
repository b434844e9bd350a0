# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the Pythons of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cluster import packages

from .commands import Failed

# Newest first. What the pinned ansible-core runs on, and what modules must run on as well.
CONTROLLER = ("3.14", "3.13", "3.12")
TARGETS = (*CONTROLLER, "3.11", "3.10", "3.9")


def controller() -> tuple[str, Path]:
    """The Python for the virtual environment, and its version."""
    for attempt in (_found, _installed):
        for version in CONTROLLER:
            path = attempt(version)
            if path:
                return version, path
    raise Failed("no Python 3.12, 3.13 or 3.14 was found: please install one with its venv module, or with pyenv")


def targets() -> dict[str, Path]:
    """All Pythons of this machine that modules must run on."""
    return {version: path for version in TARGETS if (path := _found(version))}


@cache
def _found(version: str) -> Path | None:
    for candidate in _candidates(version):
        # A shim of pyenv may be there for a version that it then refuses to run; Debian's Python may lack venv.
        probe = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"
        done = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split()[0] == version:
            return Path(done.stdout.split(maxsplit=1)[1].strip())
    return None


def _candidates(version: str) -> Iterator[str]:
    for name in (f"python{version}", "python3"):
        path = shutil.which(name)
        if path:
            yield path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")

    def patch_level(folder: Path) -> int:
        return int(folder.name.rpartition(".")[2])

    releases = (p for p in pyenv.glob(f"versions/{version}.*") if re.fullmatch(r"[\d.]+", p.name))
    for release in sorted(releases, key=patch_level, reverse=True):
        yield str(release / "bin" / f"python{version}")


def _installed(version: str) -> Path | None:
    """The Python of that version, from the machine's package manager."""
    package = packages.PYTHON.format(version=version)
    if not packages.is_offered(package):
        return None
    packages.install([package])
    _found.cache_clear()
    return _found(version)
