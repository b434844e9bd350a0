# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the cluster, as JSON and as text."""

from __future__ import annotations

from typing import Any

from . import cluster, images, layout, nodes, processes
from .layout import NODES


def collect() -> dict[str, Any]:
    """Return the state of the cluster with its paths, nodes and components; `state` is up, partly or down."""
    components = []
    for component in cluster.components():
        process = processes.running(component.name)
        problem = component.problem()
        components.append(
            {
                "name": component.name,
                "pid": process.pid if process else None,
                "healthy": problem is None,
                "problem": problem,
                "log": str(processes.log_of(component.name)),
            }
        )
    machines = [
        {
            "name": node.name,
            "ready": nodes.is_ready(node),
            "address": node.address,
            "netns": node.netns,
            "pods": node.pods,
            "containerd_socket": str(node.containerd_socket),
            "containerd_certs_d": str(node.certs_d),
            "containerd_root": str(node.containerd_root),
        }
        for node in NODES
    ]
    healthy = [component["healthy"] for component in components] + [node["ready"] for node in machines]
    return {
        "state": "down" if not layout.CLUSTER.exists() else "up" if all(healthy) else "partly",
        "kubeconfig": str(layout.KUBECONFIG),
        "api_server": layout.API_URL,
        "inventory": str(layout.INVENTORY),
        "audit_log": str(layout.AUDIT_LOG),
        "bin": str(layout.BIN),
        "folder": str(layout.CLUSTER),
        "registry_image": images.REGISTRY,
        "registry_image_archive": str(images.archive_of("registry")),
        "pause_image": images.PAUSE,
        "services": str(layout.SERVICES),
        "nodes": machines,
        "components": components,
    }


def lines(status: dict[str, Any]) -> list[str]:
    """Return the state as lines of text."""
    if status["state"] == "down":
        return ["The cluster is down."]
    shown = [f"The cluster is {status['state']}: {status['api_server']}"]
    for node in status["nodes"]:
        ready = "Ready" if node["ready"] else "not ready"
        shown.append(f"  {node['name']:24} {ready:10} {node['address']}")
    for component in status["components"]:
        pid = component["pid"] or "-"
        shown.append(f"  {component['name']:24} {component['problem'] or 'works':10} pid {pid}")
    shown.append(f"KUBECONFIG={status['kubeconfig']}")
    return shown
