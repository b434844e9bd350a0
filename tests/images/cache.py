# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

# Read once: tests have their tasks keep what they remember elsewhere.
_ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k8scr-core" / "images"


def root() -> Path:
    """Where the made images are kept."""
    return _ROOT


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name and key, made now where it is missing.

    It is made next to its place and renamed, under a lock: an interrupted run leaves nothing that
    looks finished, and of two that want the same one makes it and the other waits.
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


def forget_others(keep: set[str]) -> list[str]:
    """Delete what no recipe makes any more, and say what that was."""
    stale = [entry for entry in root().glob("[!.]*") if entry.is_dir() and entry.name not in keep]
    for entry in stale:
        # First out of sight, so that a deletion that is cut short leaves nothing that looks whole.
        name, _dash, key = entry.name.rpartition("-")
        doomed = entry.with_name(f".{name}@{key}")
        entry.rename(doomed)
        shutil.rmtree(doomed)
    return sorted(entry.name for entry in stale)


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
