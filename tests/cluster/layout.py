# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths, names and addresses of the cluster."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "k8scr-core"


CACHE = _cache_folder()
LOCK = CACHE / "cluster.lock"

# Kept by `down`.
PROGRAMS = CACHE / "programs"
BIN = PROGRAMS / "bin"
BUILD_TIMES = CACHE / "build-times.json"

# Removed by `down`.
CLUSTER = CACHE / "cluster"
REMOVED = CACHE / "cluster.removed"
PKI = CLUSTER / "pki"
USERS = CLUSTER / "users"
LOGS = CLUSTER / "logs"
RECORDS = CLUSTER / "processes"
IMAGES = CLUSTER / "images"
SSH = CLUSTER / "ssh"
CONTROL_PLANE = CLUSTER / "control-plane"
AUDIT_LOG = CONTROL_PLANE / "audit.log"
KUBECONFIG = CLUSTER / "admin.kubeconfig"
INVENTORY = CLUSTER / "inventory.yml"
HOST_BEFORE = CLUSTER / "host-before.json"

# All addresses are in one block, so that one route keeps their packets on this machine.
NETWORK = ipaddress.IPv4Network("10.77.0.0/16")
MACHINES = ipaddress.IPv4Network("10.77.0.0/24")
PODS = ipaddress.IPv4Network("10.77.64.0/18")
SERVICES = ipaddress.IPv4Network("10.77.128.0/20")
HOST_ADDRESS = "10.77.0.1"
KUBERNETES_SERVICE = str(SERVICES[1])

API_PORT = 6443
API_URL = f"https://127.0.0.1:{API_PORT}"
API_URL_FOR_NODES = f"https://{HOST_ADDRESS}:{API_PORT}"


@dataclass(frozen=True)
class Node:
    """One of the cluster's two nodes."""

    number: int

    @property
    def name(self) -> str:
        """The name in Kubernetes."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """The address of the node, on which kubelet listens."""
        return str(MACHINES[10 + self.number])

    @property
    def pods(self) -> str:
        """The address block of the node's Pods."""
        return f"10.77.{64 + self.number}.0/24"

    @property
    def netns(self) -> str:
        """The name of the network namespace for `ip netns exec`."""
        return f"k8scr-{self.name}"

    @property
    def folder(self) -> Path:
        """The folder of the node's files."""
        return CLUSTER / "nodes" / self.name

    @property
    def root(self) -> Path:
        """The node's own folders: `root/var/log` is its /var/log, and so on."""
        return self.folder / "root"

    @property
    def certs_d(self) -> Path:
        """The folder in which containerd looks for hosts.toml files."""
        return self.folder / "certs.d"

    @property
    def static_pods(self) -> Path:
        """The folder of the manifests of the node's static Pods."""
        return self.folder / "static-pods"

    @property
    def containerd_socket(self) -> Path:
        """The path of containerd's socket on this machine."""
        return self.root / "run/containerd/containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """The folder of containerd's content and snapshots."""
        return self.folder / "containerd"


NODES = (Node(1), Node(2))
