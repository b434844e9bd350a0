# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds each program of the catalogue, or gets it, and keeps it in the cache by version."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import gobuild, layout, releases
from .catalogue import PROGRAMS, Program
from .errors import ClusterError, say

NAMED_FOLDER = "K8SCR_CLUSTER_PROGRAMS"


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Make sure that the programs of these names are there; their paths come back.

    Each is linked into `layout.BIN` under its own name, which is the folder for a PATH.
    """
    names = list(names)
    unknown = sorted(set(names) - set(PROGRAMS))
    if unknown:
        known = ", ".join(PROGRAMS)
        raise ClusterError(f"no such program: {', '.join(unknown)} (there are {known})")
    if all(_at_hand(PROGRAMS[name]) for name in names):
        # Nobody's build is waited for.
        return {name: cached(PROGRAMS[name]) for name in names}
    paths = {}
    missing = []
    with _lock():
        _sweep()
        for name in names:
            path = _find(PROGRAMS[name]) or releases.download_into_cache(PROGRAMS[name], cached(PROGRAMS[name]))
            if path is None and shutil.which("go"):
                path = _build(PROGRAMS[name])
            if path is None:
                missing.append(f"{name} {PROGRAMS[name].version}")
            else:
                paths[name] = path
                _link(name, path)
    if missing:
        raise ClusterError(
            f"missing: {', '.join(missing)}. Install Go, or put them into a folder and name it "
            f"in {NAMED_FOLDER}; a download was not possible."
        )
    return paths


def cached(program: Program) -> Path:
    """Where the cache has the program, or will."""
    return layout.PROGRAMS / f"{program.name}-{program.version}" / program.name


def _at_hand(program: Program) -> bool:
    """Whether the cache has the program, and no folder is named that may have another."""
    linked = (layout.BIN / program.name).resolve() == cached(program).resolve()
    return linked and os.access(cached(program), os.X_OK) and not os.environ.get(NAMED_FOLDER)


def _find(program: Program) -> Path | None:
    """The program in the named folder, in the cache or in PATH, if its version fits."""
    named = os.environ.get(NAMED_FOLDER)
    if named:
        path = Path(named) / program.name
        if os.access(path, os.X_OK) and (not program.ask or _version_fits(program, path)):
            return path.absolute()
    if os.access(cached(program), os.X_OK):
        return cached(program)
    found = shutil.which(program.name)
    if found and program.ask and _version_fits(program, Path(found)) and _is_static(Path(found)):
        return Path(found).absolute()
    return None


def _version_fits(program: Program, path: Path) -> bool:
    try:
        said = subprocess.run(
            [str(path), *program.ask],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    pattern = rf"(?<![\d.]){re.escape(program.version)}(?![\d.]|-)"
    return re.search(pattern, said.stdout + said.stderr) is not None


def _is_static(path: Path) -> bool:
    """Whether it is a program of its own: the registry's is an image's only file.

    A dynamic ELF program names its loader, and the name is in the first page of the file.
    """
    with path.open("rb") as stream:
        start = stream.read(4096)
    return start.startswith(b"\x7fELF") and b"/ld-" not in start


def _build(program: Program) -> Path:
    """Build the program, and put it into the cache in one step."""
    times = _read_times()
    last = times.get(program.name)
    known = f" (took {last} s last time)" if last else ""
    say(f"{program.name} {program.version}: building from source{known}")
    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=layout.PROGRAMS))
    try:
        built = gobuild.build(program, scratch)
        adopt(built, cached(program))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    took = round(time.monotonic() - started)
    say(f"{program.name} {program.version}: built in {took} s")
    _write_times({**times, program.name: took})
    return cached(program)


def adopt(path: Path, destination: Path) -> None:
    """Move a finished program to its place in the cache: all of it or nothing."""
    path.chmod(0o755)
    destination.parent.mkdir(parents=True, exist_ok=True)
    path.replace(destination)


def _link(name: str, path: Path) -> None:
    link = layout.BIN / name
    if link.is_symlink() and link.readlink() == path:
        return
    layout.BIN.mkdir(parents=True, exist_ok=True)
    temporary = layout.BIN / f".{name}-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path)
    temporary.replace(link)


@contextmanager
def _lock() -> Iterator[None]:
    """One builder at a time; the kernel lets go of the lock whatever way we end."""
    layout.PROGRAMS.mkdir(parents=True, exist_ok=True)
    with (layout.PROGRAMS / ".lock").open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to get the cluster's programs")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _sweep() -> None:
    """Remove what interrupted builds left; we hold the lock, so nobody is using it."""
    for leftover in layout.PROGRAMS.glob(".build-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _read_times() -> dict[str, int]:
    try:
        return dict(json.loads(layout.BUILD_TIMES.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write_times(times: dict[str, int]) -> None:
    temporary = layout.BUILD_TIMES.with_suffix(".new")
    temporary.write_text(json.dumps(times, indent=2) + "\n", encoding="utf-8")
    temporary.replace(layout.BUILD_TIMES)
