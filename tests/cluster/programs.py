# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds, downloads or builds the programs of the catalogue; the cache has one folder for each version."""

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
from .errors import ClusterError, log

FOLDER_VARIABLE = "K8SCR_CLUSTER_PROGRAMS"


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Find, download or build programs, and return their paths.

    Each is linked into `layout.BIN` under its name; this folder can be added to a PATH.

    Raises:
        ClusterError: A program is unknown, or it cannot be downloaded or built.
    """
    names = list(names)
    unknown = sorted(set(names) - set(PROGRAMS))
    if unknown:
        raise ClusterError(f"unknown program: {', '.join(unknown)}; the programs are {', '.join(PROGRAMS)}")
    if all(_is_cached(PROGRAMS[name]) for name in names):
        # Do not wait for the builds of other runs.
        return {name: cached(PROGRAMS[name]) for name in names}
    paths = {}
    missing = []
    with _lock():
        _delete_interrupted_builds()
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
            f"missing programs: {', '.join(missing)}. They cannot be downloaded, and Go is not installed. "
            f"Install Go, or set {FOLDER_VARIABLE} to a folder that contains the programs."
        )
    return paths


def cached(program: Program) -> Path:
    """Return the program's path in the cache, whether or not the file exists."""
    return layout.PROGRAMS / f"{program.name}-{program.version}" / program.name


def _is_cached(program: Program) -> bool:
    """Return whether the cache has the program, and no folder with other programs is configured."""
    linked = (layout.BIN / program.name).resolve() == cached(program).resolve()
    return linked and os.access(cached(program), os.X_OK) and not os.environ.get(FOLDER_VARIABLE)


def _find(program: Program) -> Path | None:
    """Return the program in the configured folder, in the cache or in PATH, if its version matches."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        path = Path(folder) / program.name
        if os.access(path, os.X_OK) and (not program.version_arguments or _version_matches(program, path)):
            return path.absolute()
    if os.access(cached(program), os.X_OK):
        return cached(program)
    found = shutil.which(program.name)
    if found and program.version_arguments and _version_matches(program, Path(found)) and _is_static(Path(found)):
        return Path(found).absolute()
    return None


def _version_matches(program: Program, path: Path) -> bool:
    try:
        result = subprocess.run(
            [str(path), *program.version_arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    pattern = rf"(?<![\d.]){re.escape(program.version)}(?![\d.]|-)"
    return re.search(pattern, result.stdout + result.stderr) is not None


def _is_static(path: Path) -> bool:
    """Return whether a program is static; the registry's program is the only file of its image.

    A dynamic ELF program contains the path of its loader in the first page of the file.
    """
    with path.open("rb") as stream:
        start = stream.read(4096)
    return start.startswith(b"\x7fELF") and b"/ld-" not in start


def _build(program: Program) -> Path:
    """Build the program, and move it into the cache atomically."""
    times = _read_times()
    last = times.get(program.name)
    known = f" (took {last} s last time)" if last else ""
    log(f"{program.name} {program.version}: building from source{known}")
    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=layout.PROGRAMS))
    try:
        built = gobuild.build(program, scratch)
        _move(built, cached(program))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    took = round(time.monotonic() - started)
    log(f"{program.name} {program.version}: built in {took} s")
    _write_times({**times, program.name: took})
    return cached(program)


def _move(path: Path, destination: Path) -> None:
    """Move a finished program to its path in the cache."""
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
    """Let one run at a time build; the kernel releases the lock when the process ends."""
    layout.PROGRAMS.mkdir(parents=True, exist_ok=True)
    with (layout.PROGRAMS / ".lock").open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting for another run that downloads or builds the cluster's programs")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _delete_interrupted_builds() -> None:
    """Delete the folders of interrupted builds; the caller holds the lock, so no run uses them."""
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
