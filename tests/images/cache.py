# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache of images. Its folders are made atomically."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

# Read at import: tests change XDG_CACHE_HOME for their tasks.
_ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k8scr-core" / "images"


def root() -> Path:
    """Return the folder of the images."""
    return _ROOT


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder with this name and key, making it if it is missing.

    The folder is made under a temporary name, with a lock, and then renamed. An interrupted run therefore leaves no
    incomplete folder, and of two runs that need the same folder, one makes it and the other waits.
    """
    final = root() / f"{name}-{key}"
    if final.exists():
        return final
    with _lock(name):
        if final.exists():
            return final
        for leftover in root().glob(f".{name}@*"):
            shutil.rmtree(leftover)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}@", dir=root()))
        try:
            unfinished.chmod(0o755)
            make(unfinished)
            unfinished.rename(final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return final


def delete_others(keep: set[str]) -> list[str]:
    """Delete all other folders and return their names."""
    stale = [entry for entry in root().glob("[!.]*") if entry.is_dir() and entry.name not in keep]
    for entry in stale:
        # Rename the folder first, so that an interrupted deletion leaves no incomplete folder.
        name, _dash, key = entry.name.rpartition("-")
        hidden = entry.with_name(f".{name}@{key}")
        entry.rename(hidden)
        shutil.rmtree(hidden)
    return sorted(entry.name for entry in stale)


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
