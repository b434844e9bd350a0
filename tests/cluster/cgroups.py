# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups, which contain all processes of the cluster so that `down` finds them.

A process cannot leave its group by forking, by becoming a daemon or by losing its parent. Groups therefore
include processes that a list of process ids misses: shims, containers, and processes that started just before
an interruption.

Both versions are supported. Version 1 has one tree for each controller, and a group is made in each of them.
Version 2 has one tree. A group enables controllers for its children in `cgroup.subtree_control`, and a group with
such children must not contain processes.
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
# The controllers that kubelet requires, and io. Some machines do not have hugetlb and io.
_V2_CONTROLLERS = ("cpuset", "cpu", "memory", "pids", "hugetlb", "io")


def is_v2() -> bool:
    """Return whether the machine has only version 2; a hybrid machine is used as version 1."""
    return (_V2_MOUNT / "cgroup.controllers").exists()


def _trees() -> list[Path]:
    """Return the mount points of the trees with controllers, to which processes are added."""
    if is_v2():
        return [_V2_MOUNT]
    trees = _mounted("cgroup")
    if not trees:
        raise ClusterError("no cgroup hierarchy is mounted on this machine")
    return trees


def _all_trees() -> list[Path]:
    """Return all mount points. On a hybrid machine, runc also makes groups in the tree of version 2."""
    return [*_mounted("cgroup"), *_mounted("cgroup2")]


def _mounted(filesystem: str) -> list[Path]:
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == filesystem:
            mounts.append(Path(fields[4]))
    return mounts


def create(group: str) -> None:
    """Make the group and its parents in every tree; `group` is ROOT or a path below it."""
    for tree in _trees():
        folder = tree
        for part in Path(group).parts:
            if is_v2():
                _enable_controllers(folder)
            parent, folder = folder, folder / part
            folder.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # Version 1: a new group has empty settings and accepts no processes.
                if not is_v2() and (folder / setting).exists():
                    inherited = (parent / setting).read_text(encoding="ascii").strip()
                    (folder / setting).write_text(inherited, encoding="ascii")


def _enable_controllers(folder: Path) -> None:
    """Version 2: enable the controllers of a group for its children."""
    available = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    enabled = enabled_controllers(folder)
    for controller in _V2_CONTROLLERS:
        if controller in available and controller not in enabled:
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
            except OSError as error:
                # For example, a container with processes in its root group.
                message = f"cannot enable the cgroup controller {controller} for the children of {folder}: {error}"
                raise ClusterError(message) from error


def enabled_controllers(folder: Path = _V2_MOUNT) -> list[str]:
    """Version 2: return the controllers that are enabled for the children of a group."""
    try:
        return (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []


def restore_controllers(before: list[str]) -> None:
    """Version 2: disable all other controllers for the children of the machine's root group."""
    for controller in set(enabled_controllers()) - set(before):
        with contextlib.suppress(OSError):  # Other processes have started to use it.
            (_V2_MOUNT / "cgroup.subtree_control").write_text(f"-{controller}", encoding="ascii")


def enter(group: str) -> None:
    """Move the calling process into the group."""
    for tree in _trees():
        (tree / group / "cgroup.procs").write_text("0", encoding="ascii")


def processes(group: str = ROOT) -> set[int]:
    """Return the ids of all processes in the group and in the groups below it."""
    found: set[int] = set()
    for tree in _all_trees():
        for folder, _folders, _files in os.walk(tree / group):
            try:
                text = (Path(folder) / "cgroup.procs").read_text(encoding="ascii")
            except OSError:
                continue  # The group was removed, or (version 2) contains only threads.
            found.update(int(pid) for pid in text.split())
    # 0 is a process outside of this PID namespace, which cannot be killed from here.
    return found - {0}


def kill(group: str = ROOT, timeout: float = 15) -> None:
    """Kill all processes in the group and below it, and wait until they have ended."""
    deadline = time.monotonic() + timeout
    while remaining := processes(group):
        if time.monotonic() > deadline:
            raise ClusterError(f"processes still running {timeout:g} s after SIGKILL: {sorted(remaining)}")
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def exists() -> bool:
    """Return whether any tree has the cluster's group."""
    return any((tree / ROOT).exists() for tree in _all_trees())


def remove(group: str = ROOT, timeout: float = 10) -> None:
    """Remove the group and all groups below it, which must not contain processes."""
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
                    # An ended process disappears from cgroup.procs shortly before the group can be removed.
                    if time.monotonic() > deadline:
                        raise ClusterError(f"cannot remove {folder}: {error}") from error
                    time.sleep(0.02)
