# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, stops and removes the whole cluster."""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from . import (
    api,
    cgroups,
    control_plane,
    files,
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
from .components import POLL
from .errors import ClusterError, log
from .layout import NODES

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from .components import Component


@contextmanager
def lock() -> Iterator[None]:
    """Let one run at a time change the cluster. New processes share the lock, see `processes.start`."""
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with layout.LOCK.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting for another run that is changing the cluster")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def components() -> list[Component]:
    """Return all components of the cluster, in start order."""
    on_nodes = (part for node in NODES for part in nodes.components(node))
    return [network.switch(), *control_plane.components(), *on_nodes]


def component(name: str) -> Component:
    """Return the component with this name."""
    for candidate in components():
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in components())
    raise ClusterError(f"unknown component {name!r}; the components are {names}")


def up() -> None:
    """Start all components that are not running, and wait until the cluster works."""
    prerequisites.check()
    paths = programs.ensure(program.name for program in NEEDED)
    with lock():
        network.check_addresses()
        host.record()
        control_plane.prepare()
        for node in NODES:
            nodes.prepare(node)
        files.write(layout.INVENTORY, nodes.inventory())

        # Components without dependencies start first, and get ready while others start.
        _start(network.switch())
        network.connect_host()
        control_plane.etcd().ensure_started()
        for node in NODES:
            _start_machine(node)
            nodes.containerd(node).ensure_started()
        control_plane.etcd().await_working()
        control_plane.api_server().ensure_started()
        for node in NODES:
            nodes.containerd(node).await_working()
            images.import_into(node, paths)
        # The other components connect to the API server at once, and retry only after a long pause.
        control_plane.api_server().await_working()
        for part in components():
            part.ensure_started()
        for part in components():
            part.await_working()
        for node in NODES:
            _await(partial(nodes.is_ready, node), f"kubelet@{node.name}", f"{node.name} is not Ready")
            _await(
                partial(nodes.can_reach_services, node), f"kube-proxy@{node.name}", f"{node.name} reaches no Service"
            )
        _await(_pods_are_accepted, "kube-controller-manager", "the namespace default has no service account for Pods")


def start(name: str) -> None:
    """Start or resume one component and wait until it works; for a node, start all of its components."""
    with lock():
        part = component(name)
        if not layout.HOST_BEFORE.exists():
            raise ClusterError("the cluster is not up: start it with `up`")
        _start(part)
        if name == network.SWITCH:
            network.connect_host()
        for node in NODES:
            if name in (network.SWITCH, node.name) and processes.running(node.name):
                network.connect_node(node)
            if name == node.name:
                for node_part in nodes.components(node):
                    _start(node_part)


def stop(name: str, number: signal.Signals) -> None:
    """Send a signal to one component. If it ends a node's machine, all processes on the node are killed."""
    with lock():
        part = component(name)
        process = processes.running(part.name)
        processes.stop(part.name, number)
        if process and process.state() is None:
            for node in NODES:
                if name == node.name:
                    nodes.power_off(node)


def down() -> bool:
    """Stop the cluster and remove all of its files; return whether anything existed."""
    if not _exists():
        return False
    with lock():
        cgroups.kill()
        network.remove()
        cgroups.remove()
        host.restore()
        # Rename the folder first: `up` must not use a folder that an interrupted `down` has half deleted.
        shutil.rmtree(layout.REMOVED, ignore_errors=True)
        if layout.CLUSTER.exists():
            layout.CLUSTER.rename(layout.REMOVED)
            shutil.rmtree(layout.REMOVED)
    return True


def _exists() -> bool:
    return layout.CLUSTER.exists() or layout.REMOVED.exists() or cgroups.exists() or network.exists()


def _start(part: Component) -> None:
    part.ensure_started()
    part.await_working()


def _start_machine(node: layout.Node) -> None:
    _start(nodes.machine(node))
    network.connect_node(node)


def _await(works: Callable[[], bool], name: str, problem: str, timeout: float = 60) -> None:
    """Wait for an effect of a component that its own check does not cover."""
    deadline = time.monotonic() + timeout
    while not works():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{problem} after {timeout:g} s. The end of {processes.log_of(name)}:\n{processes.last_lines(name)}"
            )
        time.sleep(POLL)


def _pods_are_accepted() -> bool:
    """Return whether the API server accepts Pods, which need a service account in their namespace."""
    try:
        api.get("/api/v1/namespaces/default/serviceaccounts/default")
    except OSError:
        return False
    return True
