# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the whole cluster up and takes it down."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import (
    api,
    cgroups,
    control_plane,
    host,
    images,
    layout,
    network,
    nodes,
    prerequisites,
    processes,
    programs,
)
from .catalogue import NEEDED
from .components import POLL, Component, inside
from .errors import ClusterError, say
from .layout import NODES


@contextmanager
def lock() -> Iterator[None]:
    """One run at a time changes the cluster; see `processes.start` for who else holds this."""
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with layout.LOCK.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that is changing the cluster")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def components() -> list[Component]:
    """All of the cluster's components, in the order in which they are started."""
    of_nodes = (part for node in NODES for part in nodes.components(node))
    return [network.switch(), *control_plane.components(), *of_nodes]


def component(name: str) -> Component:
    """The component of this name."""
    for candidate in components():
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in components())
    raise ClusterError(f"no component {name!r} (there are {names})")


def up() -> None:
    """Make the cluster be up: start what does not run, leave alone what does."""
    prerequisites.check()
    paths = programs.ensure(program.name for program in NEEDED)
    with lock():
        network.check_addresses()
        host.remember()
        control_plane.prepare()
        for node in NODES:
            nodes.prepare(node)

        _start(network.switch())
        network.plug_in_host()
        control_plane.etcd().ensure_started()
        for node in NODES:
            _start(nodes.machine(node))
            network.plug_in(node)
            nodes.containerd(node).ensure_started()
        control_plane.etcd().await_working()
        control_plane.api_server().ensure_started()
        for node in NODES:
            nodes.containerd(node).await_working()
            images.put_into(node, paths)
        control_plane.api_server().await_working()
        for part in components():
            part.ensure_started()
        for part in components():
            part.await_working()
        for node in NODES:
            _await(lambda node=node: nodes.is_ready(node), f"kubelet@{node.name}", "Ready node")
            _await(
                lambda node=node: _reaches_services(node),
                f"kube-proxy@{node.name}",
                "way to Services",
            )
        _await(_takes_pods, "kube-controller-manager", "service account for Pods")
        nodes.write_inventory()


def _start(part: Component) -> None:
    part.ensure_started()
    part.await_working()


def _await(works: object, name: str, what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not works():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{name} brings no {what}. The end of {processes.log_of(name)}:\n"
                + processes.last_lines(name)
            )
        time.sleep(POLL)


def _reaches_services(node: layout.Node) -> bool:
    """Whether the node gets through to the API server's Service."""
    address = (layout.KUBERNETES_SERVICE, 443)
    connect = f"import socket; socket.create_connection({address}, 1)"
    command = inside(node.name, sys.executable, "-S", "-c", connect)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _takes_pods() -> bool:
    """Whether Pods can be made, which takes a service account in their namespace."""
    try:
        api.get("/api/v1/namespaces/default/serviceaccounts/default")
    except OSError:
        return False
    return True


def down() -> bool:
    """Leave nothing of the cluster behind; whether there was anything."""
    with lock():
        if not (layout.CLUSTER.exists() or cgroups.exists() or network.remains()):
            return False
        cgroups.kill()
        network.remove()
        cgroups.remove()
        host.restore()
        shutil.rmtree(layout.CLUSTER, ignore_errors=False)
    return True
