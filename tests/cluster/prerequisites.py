# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine must have before anything is started; missing packages are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import layout
from .components import SYSTEM_PATH
from .errors import ClusterError, say

# The command that shows that the Debian package is there.
_PACKAGES = {
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}
_CNI_PACKAGE = "containernetworking-plugins"
_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
# sockaddr_un has room for 107; leave some for what programs append to a socket's name.
_LONGEST_SOCKET_PATH = 99
_WAIT_FOR_OTHERS = ("-o", "DPkg::Lock::Timeout=120")


def check() -> None:
    """Make sure of everything, or say in a line what is missing."""
    if os.geteuid() != 0:
        raise ClusterError("root is needed: the cluster makes namespaces, mounts and cgroups")
    for node in layout.NODES:
        if len(str(node.containerd_socket)) > _LONGEST_SOCKET_PATH:
            raise ClusterError(f"{layout.CLUSTER} is too long a path for sockets: set XDG_CACHE_HOME to a short one")
    missing = _missing_packages()
    if missing:
        _install(missing)
        missing = _missing_packages()
    if missing:
        raise ClusterError(f"missing on this machine, install: {' '.join(missing)}")


def cni_plugins() -> Path:
    """The folder of the CNI plugins."""
    for folder in _CNI_FOLDERS:
        if all(os.access(Path(folder, plugin), os.X_OK) for plugin in _CNI_PLUGINS):
            return Path(folder)
    raise ClusterError(f"missing on this machine, install: {_CNI_PACKAGE}")


def _missing_packages() -> list[str]:
    missing = [package for command, package in _PACKAGES.items() if shutil.which(command, path=SYSTEM_PATH) is None]
    try:
        cni_plugins()
    except ClusterError:
        missing.append(_CNI_PACKAGE)
    return missing


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        return
    say(f"installing with apt-get: {' '.join(packages)}")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *_WAIT_FOR_OTHERS, *packages]
    # Nothing is to be started as a service: RUNLEVEL has the packages' scripts believe that it is not time.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    # The lists of packages may be old, or not there at all: fetch them only then.
    for command in (install, ["apt-get", "update", "-q"], install):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is install and result.returncode == 0:
            return
    end = (result.stderr or result.stdout).strip().splitlines()[-3:]
    say("apt-get failed: " + " ".join(end))
