# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network: a switch that connects this machine and both nodes.

    this machine  k8scr0 ── switch ── eth0  node-1
                               └───── eth0  node-2

The switch is a bridge in a separate network namespace. Packets between the nodes therefore do not pass this
machine's forwarding or firewall, whose settings stay unchanged. The nodes have no default route and reach only
the cluster's addresses. All routes on this machine have the protocol number 177, by which `down` finds them.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from pathlib import Path

from . import layout, processes
from .components import SYSTEM_PATH, Component
from .errors import ClusterError
from .layout import NODES, Node

LINK = "k8scr0"
SWITCH = "switch"
_BRIDGE = "switch"
_PROTOCOL = "177"
_NETNS_NAMES = Path("/run/netns")
_PREFIX = layout.MACHINES.prefixlen


def switch() -> Component:
    """Return the process that keeps the switch's namespace open."""
    return Component(
        name=SWITCH,
        group="k8scr-core/switch",
        command=lambda: ["unshare", "--net", "sleep", "infinity"],
        check=lambda: namespace_problem(SWITCH),
        before_start=_delete_stale_links,
    )


def namespace_problem(component: str) -> str | None:
    """Return None if the process has set up its namespaces, after which it is `sleep`; otherwise the problem."""
    process = processes.running(component)
    if process is None:
        return "not running"
    comm = Path(f"/proc/{process.pid}/comm")
    return None if comm.read_text(encoding="utf-8") == "sleep\n" else "still being set up"


def check_addresses() -> None:
    """Check that no other network of this machine uses the cluster's addresses.

    Raises:
        ClusterError: A route overlaps with them.
    """
    for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all")):
        destination = route["dst"]
        if destination == "default" or route.get("dev") == LINK or route.get("protocol") == _PROTOCOL:
            continue
        if ipaddress.ip_network(destination).overlaps(layout.NETWORK):
            device = route.get("dev", "no device")
            raise ClusterError(
                f"this machine already uses addresses of the cluster, {layout.NETWORK}: "
                f"it has a route for {destination} to {device}"
            )


def connect_host() -> None:
    """Connect this machine to the switch; safe to repeat."""
    _batch(f"link add {_BRIDGE} type bridge", "link set lo up", inside=SWITCH, ignore_errors=True)
    _batch(f"link set {_BRIDGE} up", inside=SWITCH)
    if not Path("/sys/class/net", LINK).exists():
        _batch(f"link add {LINK} type veth peer name host netns {_pid(SWITCH)}")
    _batch(f"link set host master {_BRIDGE} up", inside=SWITCH)
    _batch(
        f"address replace {layout.HOST_ADDRESS}/{_PREFIX} dev {LINK}",
        f"link set {LINK} up",
        # While a node is down, its packets must not leave this machine by a default route.
        f"route replace unreachable {layout.NETWORK} proto {_PROTOCOL}",
        *(f"route replace {node.pods} via {node.address} proto {_PROTOCOL}" for node in NODES),
    )


def connect_node(node: Node) -> None:
    """Connect a node's machine to the switch; safe to repeat."""
    if not _has_link(node.name, "eth0"):
        _delete_link(node)
        _batch(
            f"link add {node.name} type veth peer name eth0 netns {_pid(node.name)}",
            inside=SWITCH,
        )
    _batch(f"link set {node.name} master {_BRIDGE} up", inside=SWITCH)
    others = (other for other in NODES if other != node)
    _batch(
        f"address replace {node.address}/{_PREFIX} dev eth0",
        "link set eth0 up",
        # The kernel drops packets without a route before kube-proxy's rules can replace the destination.
        f"route replace {layout.SERVICES} dev eth0",
        *(f"route replace {other.pods} via {other.address}" for other in others),
        inside=node.name,
    )
    _NETNS_NAMES.mkdir(exist_ok=True)
    name = _NETNS_NAMES / node.netns
    name.unlink(missing_ok=True)
    name.symlink_to(f"/proc/{_pid(node.name)}/ns/net")


def connect_process(pid: int, link: str, address: str) -> None:
    """Connect the network namespace of a process to the switch, without routes to other networks.

    Args:
        pid: The process.
        link: The name of the link's end at the switch.
        address: The address in the namespace, one of `layout.MACHINES`.
    """
    _batch(
        f"link add {link} type veth peer name eth0 netns {pid}",
        f"link set {link} master {_BRIDGE} up",
        inside=SWITCH,
    )
    commands = ("link set lo up", f"address add {address}/{_PREFIX} dev eth0", "link set eth0 up")
    for command in commands:
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", *command.split()], check=True)


def exists() -> bool:
    """Return whether this machine has links, namespaces or routes of the cluster."""
    if shutil.which("ip", path=SYSTEM_PATH) is None:
        return False
    return (
        Path("/sys/class/net", LINK).exists()
        or any((_NETNS_NAMES / node.netns).is_symlink() for node in NODES)
        or bool(_ip("-4", "route", "show", "proto", _PROTOCOL).strip())
    )


def remove() -> None:
    """Remove the cluster's links, routes and namespace names; namespaces end with their processes."""
    _batch(f"link delete {LINK}", ignore_errors=True)
    _ip("-4", "route", "flush", "proto", _PROTOCOL)
    for node in NODES:
        (_NETNS_NAMES / node.netns).unlink(missing_ok=True)


def _delete_stale_links() -> None:
    """Delete the links to an ended switch; the kernel would delete them too, but later."""
    _batch(f"link delete {LINK}", ignore_errors=True)
    for node in NODES:
        if processes.running(node.name):
            _batch("link delete eth0", inside=node.name, ignore_errors=True)


def _delete_link(node: Node) -> None:
    """Delete the switch's end of a link to a machine that has ended."""
    _batch(f"link delete {node.name}", inside=SWITCH, ignore_errors=True)


def _has_link(component: str, link: str) -> bool:
    command = [*_in_namespace_of(component), "ip", "link", "show", link]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _pid(component: str) -> int:
    process = processes.running(component)
    if process is None:
        raise ClusterError(f"{component} is not running")
    return process.pid


def _in_namespace_of(component: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{_pid(component)}/ns/net", "--"]


def _batch(*lines: str, inside: str | None = None, ignore_errors: bool = False) -> None:
    """Run `ip` commands on this machine or in a component's namespace.

    Args:
        lines: The commands.
        inside: The component.
        ignore_errors: Continue after a failed command, for changes that may already be made.
    """
    prefix = _in_namespace_of(inside) if inside else []
    command = [*prefix, "ip", *(["-force"] if ignore_errors else []), "-batch", "-"]
    result = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if result.returncode and not ignore_errors:
        suffix = f" of {inside}" if inside else ""
        raise ClusterError(f"cannot set up the network{suffix}: {result.stderr.strip()}")


def _ip(*arguments: str) -> str:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout
