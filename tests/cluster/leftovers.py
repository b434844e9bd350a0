# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of the machine's state, which show leftovers of the cluster."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, host, layout

if TYPE_CHECKING:
    from collections.abc import Iterator

# Folders in which the cluster might leave files. Subfolders are not searched.
_FOLDERS = ("/etc", "/opt", "/run", "/run/netns", "/tmp", "/usr/libexec", "/var/lib", "/var/log", "/var/log/pods")  # noqa: S108
_VOLATILE = re.compile(r"expires [0-9]+sec|\[[0-9:]+\]")
_COMMANDS = (
    ("ip", "-brief", "address"),
    ("ip", "-4", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("iptables-save",),
    ("ip6tables-save",),
)


def snapshot() -> set[str]:
    """Return a line for each process, file, cgroup, setting and network object that the cluster could have made."""
    return {line for lines in (_processes(), _files(), _cgroups(), _settings(), _network()) for line in lines}


def _processes() -> Iterator[str]:
    """Yield the processes in other namespaces, in the cluster's cgroups, or with its folder in their command."""
    namespaces = {kind: Path("/proc/self/ns", kind).readlink() for kind in ("net", "mnt")}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            other_namespaces = [kind for kind, own in namespaces.items() if (folder / "ns" / kind).readlink() != own]
            in_group = cgroups.ROOT in (folder / "cgroup").read_text(encoding="utf-8")
        except OSError:
            continue  # The process has ended.
        if in_group or other_namespaces or str(layout.CLUSTER) in command:
            yield f"process {folder.name} {command[:100]}"


def _files() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        yield f"mount {line.split()[4]}"
    for folder in (*_FOLDERS, str(layout.CACHE)):
        if Path(folder).is_dir():
            yield from (f"file {entry}" for entry in Path(folder).iterdir())
    for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines():
        path = line.split()[-1]
        if path.startswith(("/run/containerd", "/var/lib/kubelet", str(layout.CLUSTER))):
            yield f"socket {path}"


def _cgroups() -> Iterator[str]:
    for folder, _folders, _names in os.walk("/sys/fs/cgroup"):
        yield f"cgroup {folder}"
    yield f"cgroup controllers {sorted(cgroups.enabled_controllers())}"


def _settings() -> Iterator[str]:
    for name in (*host.SETTINGS, "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        yield f"setting {name} = {Path('/proc/sys', name).read_text(encoding='ascii').strip()}"


def _network() -> Iterator[str]:
    for command in _COMMANDS:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in result.stdout.splitlines():
            # Comments contain the time of day, and chains contain counters.
            if not line.startswith("#"):
                yield f"{' '.join(command)}: {_VOLATILE.sub('', line)}"
