# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to this machine itself: `up` records the previous state, and `down` restores it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from . import cgroups, files, layout

NODE_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log")
"""Folders with fixed paths that programs write to; each node mounts its own folders over them."""

# kubelet changes these for the whole machine: they have no namespaces.
SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def record() -> None:
    """Record the current state, unless an earlier run has recorded it; then make the mount points."""
    folders = ("/run/netns", "/run/sshd", *NODE_FOLDERS)
    if not layout.HOST_BEFORE.exists():
        before = {
            "settings": {name: _setting(name).read_text(encoding="ascii") for name in SETTINGS},
            "folders made": [folder for folder in folders if not Path(folder).exists()],
            "controllers": cgroups.enabled_controllers(),
        }
        files.write(layout.HOST_BEFORE, json.dumps(before, indent=2))
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)


def restore() -> None:
    """Restore the recorded state; call it after the cluster's processes and cgroups are gone."""
    try:
        before = json.loads(layout.HOST_BEFORE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    for name, value in before["settings"].items():
        if _setting(name).read_text(encoding="ascii") != value:
            _setting(name).write_text(value, encoding="ascii")
    for folder in before["folders made"]:
        with contextlib.suppress(OSError):  # It was removed, or other programs use it.
            Path(folder).rmdir()
    if cgroups.is_v2():
        cgroups.restore_controllers(before["controllers"])


def _setting(name: str) -> Path:
    return Path("/proc/sys", name)
