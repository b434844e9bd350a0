# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the whole cluster up and takes it down."""

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
from .errors import ClusterError, say
from .layout import NODES

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from .components import Component


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
        files.write(layout.INVENTORY, nodes.inventory())

        # What waits for nobody first, so that it gets ready while others start.
        _start(network.switch())
        network.plug_in_host()
        control_plane.etcd().ensure_started()
        for node in NODES:
            _start_machine(node)
            nodes.containerd(node).ensure_started()
        control_plane.etcd().await_working()
        control_plane.api_server().ensure_started()
        for node in NODES:
            nodes.containerd(node).await_working()
            images.put_into(node, paths)
        # The rest asks the API server first thing, and waits long before it asks again.
        control_plane.api_server().await_working()
        for part in components():
            part.ensure_started()
        for part in components():
            part.await_working()
        for node in NODES:
            _await(partial(nodes.is_ready, node), f"kubelet@{node.name}", "Ready node")
            _await(partial(nodes.reaches_services, node), f"kube-proxy@{node.name}", "way to Services")
        _await(_takes_pods, "kube-controller-manager", "service account for Pods")


def start(name: str) -> None:
    """Start one component, or wake it, and wait until it works; a node with all that runs on it."""
    with lock():
        part = component(name)
        if not layout.HOST_BEFORE.exists():
            raise ClusterError("the cluster is not up")
        _start(part)
        if name == network.SWITCH:
            network.plug_in_host()
        for node in NODES:
            if name in (network.SWITCH, node.name) and processes.running(node.name):
                network.plug_in(node)
            if name == node.name:
                for on_it in nodes.components(node):
                    _start(on_it)


def stop(name: str, number: signal.Signals) -> None:
    """Send one component a signal; a node's end takes along all that runs on it."""
    with lock():
        part = component(name)
        process = processes.running(part.name)
        processes.stop(part.name, number)
        if process and process.state() is None:
            for node in NODES:
                if name == node.name:
                    nodes.power_off(node)


def down() -> bool:
    """Leave nothing of the cluster behind; whether there was anything."""
    if not _remains():
        return False
    with lock():
        cgroups.kill()
        network.remove()
        cgroups.remove()
        host.restore()
        # In one step out of the way: an `up` after an interrupted `down` shall not build on half of it.
        shutil.rmtree(layout.REMOVED, ignore_errors=True)
        if layout.CLUSTER.exists():
            layout.CLUSTER.rename(layout.REMOVED)
            shutil.rmtree(layout.REMOVED)
    return True


def _remains() -> bool:
    return layout.CLUSTER.exists() or layout.REMOVED.exists() or cgroups.exists() or network.remains()


def _start(part: Component) -> None:
    part.ensure_started()
    part.await_working()


def _start_machine(node: layout.Node) -> None:
    _start(nodes.machine(node))
    network.plug_in(node)


def _await(works: Callable[[], bool], name: str, what: str, timeout: float = 60) -> None:
    """Wait for what a component brings about, beyond being there itself."""
    deadline = time.monotonic() + timeout
    while not works():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{name} brings no {what}. The end of {processes.log_of(name)}:\n{processes.last_lines(name)}"
            )
        time.sleep(POLL)


def _takes_pods() -> bool:
    """Whether Pods can be made, which takes a service account in their namespace."""
    try:
        api.get("/api/v1/namespaces/default/serviceaccounts/default")
    except OSError:
        return False
    return True
