# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network: a switch that this machine and both nodes are plugged into.

    this machine  k8scr0 ── switch ── eth0  node-1
                               └───── eth0  node-2

The switch is a bridge in a network namespace of its own, so packets between the nodes never pass
this machine's forwarding or its firewall, and nothing of either needs to be changed. The nodes
have no default route: what is not the cluster's cannot be reached from there. All routes here
carry our own protocol number, by which `down` finds them.
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
    """The process that holds the switch's namespace open."""
    return Component(
        name=SWITCH,
        group="k8scr-core/switch",
        command=lambda: ["unshare", "--net", "sleep", "infinity"],
        check=lambda: holder_problem(SWITCH),
        before_start=_pull_all_plugs,
    )


def holder_problem(component: str) -> str | None:
    """Whether a process that holds namespaces has them ready: it ends up as `sleep`."""
    process = processes.running(component)
    if process is None:
        return "not running"
    comm = Path(f"/proc/{process.pid}/comm")
    return None if comm.read_text(encoding="utf-8") == "sleep\n" else "is still being set up"


def check_addresses() -> None:
    """Refuse to come up where somebody else uses our addresses."""
    for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all")):
        destination = route["dst"]
        if destination == "default" or route.get("dev") == LINK or route.get("protocol") == _PROTOCOL:
            continue
        if ipaddress.ip_network(destination).overlaps(layout.NETWORK):
            device = route.get("dev", "a route without a device")
            raise ClusterError(
                f"the cluster's addresses, {layout.NETWORK}, are in use here: {destination} goes to {device}"
            )


def plug_in_host() -> None:
    """Connect this machine to the switch. All of this can be done twice."""
    _batch(f"link add {_BRIDGE} type bridge", "link set lo up", inside=SWITCH, again=True)
    _batch(f"link set {_BRIDGE} up", inside=SWITCH)
    if not Path("/sys/class/net", LINK).exists():
        _batch(f"link add {LINK} type veth peer name host netns {_pid(SWITCH)}")
    _batch(f"link set host master {_BRIDGE} up", inside=SWITCH)
    _batch(
        f"address replace {layout.HOST_ADDRESS}/{_PREFIX} dev {LINK}",
        f"link set {LINK} up",
        # Should a node be away, its packets shall end here and not leave by a default route.
        f"route replace unreachable {layout.NETWORK} proto {_PROTOCOL}",
        *(f"route replace {node.pods} via {node.address} proto {_PROTOCOL}" for node in NODES),
    )


def plug_in(node: Node) -> None:
    """Connect a node's machine to the switch. All of this can be done twice."""
    if not _has_link(node.name, "eth0"):
        _pull_plug(node)
        _batch(
            f"link add {node.name} type veth peer name eth0 netns {_pid(node.name)}",
            inside=SWITCH,
        )
    _batch(f"link set {node.name} master {_BRIDGE} up", inside=SWITCH)
    others = (other for other in NODES if other != node)
    _batch(
        f"address replace {node.address}/{_PREFIX} dev eth0",
        "link set eth0 up",
        # Only there so that the kernel lets the packet go: kube-proxy's rules then readdress it.
        f"route replace {layout.SERVICES} dev eth0",
        *(f"route replace {other.pods} via {other.address}" for other in others),
        inside=node.name,
    )
    _NETNS_NAMES.mkdir(exist_ok=True)
    name = _NETNS_NAMES / node.netns
    name.unlink(missing_ok=True)
    name.symlink_to(f"/proc/{_pid(node.name)}/ns/net")


def remains() -> bool:
    """Whether this machine has anything of ours."""
    if shutil.which("ip", path=SYSTEM_PATH) is None:
        return False
    return (
        Path("/sys/class/net", LINK).exists()
        or any((_NETNS_NAMES / node.netns).is_symlink() for node in NODES)
        or bool(_ip("-4", "route", "show", "proto", _PROTOCOL).strip())
    )


def remove() -> None:
    """Remove what this machine has of ours; the namespaces end with their processes."""
    _batch(f"link delete {LINK}", again=True)
    _ip("-4", "route", "flush", "proto", _PROTOCOL)
    for node in NODES:
        (_NETNS_NAMES / node.netns).unlink(missing_ok=True)


def _pull_all_plugs() -> None:
    """A dead switch takes its ends of the links with it, but the kernel takes its time."""
    _batch(f"link delete {LINK}", again=True)
    for node in NODES:
        if processes.running(node.name):
            _batch("link delete eth0", inside=node.name, again=True)


def _pull_plug(node: Node) -> None:
    """Remove the switch's end of a link to a machine that is no more."""
    _batch(f"link delete {node.name}", inside=SWITCH, again=True)


def _has_link(component: str, link: str) -> bool:
    command = [*_in_network_of(component), "ip", "link", "show", link]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _pid(component: str) -> int:
    process = processes.running(component)
    if process is None:
        raise ClusterError(f"{component} is not running")
    return process.pid


def _in_network_of(component: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{_pid(component)}/ns/net", "--"]


def _batch(*lines: str, inside: str | None = None, again: bool = False) -> None:
    """Run `ip` commands, here or in a component's namespace.

    With `again`, each may fail because it has been done before.
    """
    prefix = _in_network_of(inside) if inside else []
    command = [*prefix, "ip", *(["-force"] if again else []), "-batch", "-"]
    result = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if result.returncode and not again:
        where = f" in {inside}" if inside else ""
        raise ClusterError(f"cannot set up the network{where}: {result.stderr.strip()}")


def _ip(*arguments: str) -> str:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout
