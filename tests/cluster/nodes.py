# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes: each is a set of namespaces with containerd, kubelet, kube-proxy and an SSH server.

A node shares this machine's files except the folders of `host.NODE_FOLDERS`, over which it mounts its own. On this
machine, these are below the node's `root`. A node's mounts are invisible outside and end with its last process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import api, certificates, cgroups, files, host, images, layout, network, prerequisites, ssh, users
from .certificates import CA, Pair
from .components import Component, inside
from .errors import ClusterError
from .layout import NODES, Node

_KUBELET_HEALTH_PORT = 10248
_PROXY_HEALTH_PORT = 10256


def group(node: Node) -> str:
    """Return the cgroup of all processes on the node; kubelet makes the groups of its Pods below it."""
    return f"k8scr-core/{node.name}"


def prepare(node: Node) -> None:
    """Make the node's certificates, folders and configuration files."""
    for folder in (*host.NODE_FOLDERS, "/var/log/pods"):
        (node.root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for path in (node.certs_d, node.static_pods):
        path.mkdir(parents=True, exist_ok=True)
    kubelet = certificates.signed(
        Pair(f"kubelet-{node.name}"),
        f"system:node:{node.name}",
        ["system:nodes"],
        hosts=[node.address, node.name],
    )
    user = f"system:node:{node.name}"
    users.kubeconfig(node.folder / "kubelet.kubeconfig", user, kubelet, layout.API_URL_FOR_NODES)
    proxy = certificates.signed(Pair("kube-proxy"), "system:kube-proxy")
    proxy_kubeconfig = node.folder / "kube-proxy.kubeconfig"
    users.kubeconfig(proxy_kubeconfig, "system:kube-proxy", proxy, layout.API_URL_FOR_NODES)
    resolv_conf = node.folder / "resolv.conf"
    files.write(resolv_conf, "# No DNS server.\n")
    values = {
        "name": node.name,
        "address": node.address,
        "folder": node.folder,
        "containerd_root": node.containerd_root,
        "pause_image": images.PAUSE,
        "certs_d": node.certs_d,
        "cni_plugins": prerequisites.cni_plugins(),
        "cni_configuration": node.folder / "cni",
        "certificate": kubelet.certificate,
        "key": kubelet.key,
        "ca": CA.certificate,
        "cgroup": group(node),
        "resolv_conf": resolv_conf,
        "static_pods": node.static_pods,
    }
    for name in ("containerd.toml", "kubelet.yaml"):
        files.write(node.folder / name, files.fill(name, **values))
    files.write(
        node.folder / "kube-proxy.yaml",
        files.fill(
            "kube-proxy.yaml",
            name=node.name,
            address=node.address,
            pods=layout.PODS,
            kubeconfig=proxy_kubeconfig,
        ),
    )
    files.write(node.folder / "cni/pods.conflist", files.fill("cni.conflist", pods=node.pods))
    ssh.prepare()


def components(node: Node) -> list[Component]:
    """Return the node's machine and the components on it, in start order."""
    return [machine(node), containerd(node), kubelet(node), kube_proxy(node), sshd(node)]


def machine(node: Node) -> Component:
    """Return the process that keeps the node's namespaces open. Its end simulates a power failure."""

    def clear() -> None:
        power_off(node)
        # After a boot, the runtime state is empty.
        run = node.root / "run/containerd"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)

    script = str(layout.TEMPLATES / "machine.sh")
    unshare = ["unshare", "--net", "--mount", "--propagation=private"]
    return Component(
        name=node.name,
        group=f"{group(node)}/machine",
        command=lambda: [*unshare, "sh", script, str(node.root), *host.NODE_FOLDERS],
        check=lambda: network.namespace_problem(node.name),
        before_start=clear,
    )


def power_off(node: Node) -> None:
    """Kill all processes on the node, including its Pods."""
    cgroups.kill(group(node))


def containerd(node: Node) -> Component:
    """Return the node's container runtime. Pods keep running while it is stopped."""

    def check() -> str | None:
        try:
            images.ctr(node, "version")
        except ClusterError as error:
            return str(error)
        return None

    return _component(node, "containerd", ["--config", str(node.folder / "containerd.toml")], check)


def kubelet(node: Node) -> Component:
    """Return the node's kubelet. Pods keep running while it is stopped."""
    flags = [
        f"--config={node.folder / 'kubelet.yaml'}",
        f"--kubeconfig={node.folder / 'kubelet.kubeconfig'}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    ]
    return _component(node, "kubelet", flags, lambda: api.check(node.address, _KUBELET_HEALTH_PORT))


def kube_proxy(node: Node) -> Component:
    """Return the node's kube-proxy, which makes Service addresses work."""
    flags = [f"--config={node.folder / 'kube-proxy.yaml'}"]
    return _component(node, "kube-proxy", flags, lambda: api.check(node.address, _PROXY_HEALTH_PORT))


def sshd(node: Node) -> Component:
    """Return the node's SSH server, for playbooks."""
    return _component(node, "sshd", ssh.server_flags(), lambda: ssh.check(node), folder=Path("/usr/sbin"))


def _component(
    node: Node, program: str, flags: list[str], check: Callable[[], str | None], folder: Path = layout.BIN
) -> Component:
    return Component(
        name=f"{program}@{node.name}",
        group=f"{group(node)}/{program}",
        command=lambda: inside(node.name, str(folder / program), *flags),
        check=check,
    )


def is_ready(node: Node) -> bool:
    """Return whether the node has the condition Ready."""
    try:
        conditions = api.get(f"/api/v1/nodes/{node.name}")["status"]["conditions"]
    except (OSError, KeyError):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def can_reach_services(node: Node) -> bool:
    """Return whether the node can connect to the Service of the API server."""
    address = (layout.KUBERNETES_SERVICE, 443)
    connect = f"import socket; socket.create_connection({address}, 1)"
    command = inside(node.name, sys.executable, "-I", "-S", "-c", connect)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def inventory() -> str:
    """Return the Ansible inventory of the nodes."""
    hosts = "".join(
        files.fill(
            "inventory-host.yml",
            name=node.name,
            address=node.address,
            folder=node.folder,
        )
        for node in NODES
    )
    return files.fill(
        "inventory.yml",
        hosts=hosts.rstrip("\n"),
        python=sys.executable,
        key=ssh.CLIENT_KEY,
        known_hosts=ssh.KNOWN_HOSTS,
        kubeconfig=layout.KUBECONFIG,
        registry_image=images.REGISTRY,
        registry_archive=images.archive_of("registry"),
    )
