# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the Python versions of this machine."""

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

# Newest first: the versions that the pinned ansible-core supports, and those that the modules must support.
CONTROLLER = ("3.14", "3.13", "3.12")
TARGETS = (*CONTROLLER, "3.11", "3.10", "3.9")


def controller() -> tuple[str, Path]:
    """Return the version and the path of the Python for the virtual environment.

    Raises:
        Failed: The machine has no supported Python.
    """
    for search in (_find, _install):
        for version in CONTROLLER:
            path = search(version)
            if path:
                return version, path
    raise Failed("no Python 3.12, 3.13 or 3.14 was found: install one with its venv module, or with pyenv")


def targets() -> dict[str, Path]:
    """Return the paths of all Python versions of this machine that the modules must support."""
    return {version: path for version in TARGETS if (path := _find(version))}


@cache
def _find(version: str) -> Path | None:
    for candidate in _candidates(version):
        # pyenv may have a shim for a version that is not installed, and Debian's Python may be without venv.
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


def _install(version: str) -> Path | None:
    """Install this Python version from Debian's packages if they have it, and return its path."""
    package = packages.PYTHON.format(version=version)
    if not packages.is_offered(package):
        return None
    packages.install([package])
    _find.cache_clear()
    return _find(version)
