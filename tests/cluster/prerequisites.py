# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requirements of the cluster on this machine; missing packages are installed."""

from __future__ import annotations

import os
from pathlib import Path

from . import layout, packages
from .errors import ClusterError

_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
# sockaddr_un has room for 107 bytes, and programs append suffixes to a socket's name.
_LONGEST_SOCKET_PATH = 99


def check() -> None:
    """Check the requirements, and install missing packages.

    Raises:
        ClusterError: A requirement is not met.
    """
    if os.geteuid() != 0:
        raise ClusterError("the cluster needs root: it makes namespaces, mounts and cgroups")
    for node in layout.NODES:
        if len(str(node.containerd_socket)) > _LONGEST_SOCKET_PATH:
            raise ClusterError(f"{layout.CLUSTER} is too long for sockets: set XDG_CACHE_HOME to a shorter path")
    packages.ensure(packages.CLUSTER)
    cni_plugins()


def cni_plugins() -> Path:
    """Return the folder of the CNI plugins."""
    for folder in packages.CNI_FOLDERS:
        if all(os.access(Path(folder, plugin), os.X_OK) for plugin in _CNI_PLUGINS):
            return Path(folder)
    raise ClusterError(f"missing on this machine, install: {packages.CLUSTER['host-local']}")
