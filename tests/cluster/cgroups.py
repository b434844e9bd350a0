# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: where every process of the cluster is, so that `down` finds every one.

A process cannot leave its group by forking, by becoming a daemon or by losing its parent,
so the groups know what lists of process ids forget: shims, containers, and whatever was
started a moment before we were killed.

Both versions are handled. Version 1 has one tree for each controller, and a group is made in
each of them; version 2 has one tree, in which a group hands controllers to its children in
`cgroup.subtree_control`, and only groups without children of that kind may hold processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .errors import ClusterError

ROOT = "k8scr-core"
_V2_MOUNT = Path("/sys/fs/cgroup")
# What kubelet insists on, and io because it may be there; hugetlb and io may be missing.
_V2_CONTROLLERS = ("cpuset", "cpu", "memory", "pids", "hugetlb", "io")


def is_v2() -> bool:
    """Whether the machine has only version 2 (a hybrid machine is used as version 1)."""
    return (_V2_MOUNT / "cgroup.controllers").exists()


def _trees() -> list[Path]:
    """Where the trees are mounted that have controllers: the ones to put processes into."""
    if is_v2():
        return [_V2_MOUNT]
    trees = _mounted("cgroup")
    if not trees:
        raise ClusterError("no cgroup hierarchy is mounted on this machine")
    return trees


def _all_trees() -> list[Path]:
    """On a hybrid machine, with version 2's tree, in which runc makes groups too."""
    return [*_mounted("cgroup"), *_mounted("cgroup2")]


def _mounted(filesystem: str) -> list[Path]:
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == filesystem:
            mounts.append(Path(fields[4]))
    return mounts


def create(group: str) -> None:
    """Make the group and its parents in every tree; `group` is a path below ROOT or ROOT."""
    for tree in _trees():
        folder = tree
        for part in Path(group).parts:
            if is_v2():
                _hand_down(folder)
            parent, folder = folder, folder / part
            folder.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # Version 1: empty in a new group, which then accepts no process.
                if not is_v2() and (folder / setting).exists():
                    inherited = (parent / setting).read_text(encoding="ascii").strip()
                    (folder / setting).write_text(inherited, encoding="ascii")


def _hand_down(folder: Path) -> None:
    """Version 2: let the children of a group have the controllers that the group has."""
    there = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    given = handed_down(folder)
    for controller in _V2_CONTROLLERS:
        if controller in there and controller not in given:
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
            except OSError as error:
                # In a container, where the processes in its root group are in the way, for one.
                raise ClusterError(f"{folder} cannot hand down the controller {controller}: {error}") from error


def handed_down(folder: Path = _V2_MOUNT) -> list[str]:
    """Version 2: the controllers that the children of a group have."""
    try:
        return (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []


def take_back(before: list[str]) -> None:
    """Version 2: leave only these controllers to the children of the machine's root group."""
    for controller in set(handed_down()) - set(before):
        with contextlib.suppress(OSError):  # Somebody else has come to use it since.
            (_V2_MOUNT / "cgroup.subtree_control").write_text(f"-{controller}", encoding="ascii")


def enter(group: str) -> None:
    """Move the calling process into the group."""
    for tree in _trees():
        (tree / group / "cgroup.procs").write_text("0", encoding="ascii")


def processes(group: str = ROOT) -> set[int]:
    """The ids of all processes in the group and in the groups below it."""
    found: set[int] = set()
    for tree in _all_trees():
        for folder, _folders, _files in os.walk(tree / group):
            try:
                text = (Path(folder) / "cgroup.procs").read_text(encoding="ascii")
            except OSError:
                continue  # The group has gone, or (version 2) holds threads only.
            found.update(int(pid) for pid in text.split())
    # 0 is a process outside of our pid namespace: not ours to see, let alone to kill.
    return found - {0}


def kill(group: str = ROOT, timeout: float = 15) -> None:
    """Kill every process in the group and below it, and wait until they are gone."""
    deadline = time.monotonic() + timeout
    while left := processes(group):
        if time.monotonic() > deadline:
            raise ClusterError(f"these processes do not die: {sorted(left)}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def exists() -> bool:
    """Whether any tree has our group."""
    return any((tree / ROOT).exists() for tree in _all_trees())


def remove(group: str = ROOT, timeout: float = 10) -> None:
    """Remove the group and all groups below it; no process may be in them."""
    deadline = time.monotonic() + timeout
    for tree in _all_trees():
        for folder, _folders, _files in os.walk(tree / group, topdown=False):
            while True:
                try:
                    Path(folder).rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    # A dying process leaves its group a moment after it leaves the list.
                    if time.monotonic() > deadline:
                        raise ClusterError(f"cannot remove {folder}: {error}") from error
                    time.sleep(0.02)
