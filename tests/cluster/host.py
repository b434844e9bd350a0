# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster changes on this machine itself, written down first and put back by `down`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from . import cgroups, files, layout

NODE_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log")
"""Fixed paths of programs that a node must have for itself: there it mounts its own over them."""

# Kubelet sets these for the whole machine, whatever namespaces it is in.
SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def remember() -> None:
    """Write down how things are, unless a run before us has; then make the mount points."""
    folders = ("/run/netns", "/run/sshd", *NODE_FOLDERS)
    if not layout.HOST_BEFORE.exists():
        before = {
            "settings": {name: _setting(name).read_text(encoding="ascii") for name in SETTINGS},
            "folders made": [folder for folder in folders if not Path(folder).exists()],
            "controllers": cgroups.handed_down(),
        }
        files.write(layout.HOST_BEFORE, json.dumps(before, indent=2))
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)


def restore() -> None:
    """Put back what was written down; the cluster's processes and cgroups must be gone."""
    try:
        before = json.loads(layout.HOST_BEFORE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    for name, value in before["settings"].items():
        if _setting(name).read_text(encoding="ascii") != value:
            _setting(name).write_text(value, encoding="ascii")
    for folder in before["folders made"]:
        with contextlib.suppress(OSError):  # Gone already, or somebody else has put something into it since.
            Path(folder).rmdir()
    if cgroups.is_v2():
        cgroups.take_back(before["controllers"])


def _setting(name: str) -> Path:
    return Path("/proc/sys", name)
