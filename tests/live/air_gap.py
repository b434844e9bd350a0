# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network namespace from which only the cluster's API server and the SSH servers of its nodes can be reached."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from cluster import layout, network
from cluster.waiting import wait_until

ADDRESS = str(layout.MACHINES[30])
_ALLOWED = ((layout.HOST_ADDRESS, layout.API_PORT), *((node.address, 22) for node in layout.NODES))


@contextmanager
def air_gap() -> Iterator[list[str]]:
    """Create the namespace until the end of the block, and return the command that runs another command in it."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as process:
        try:
            comm = Path(f"/proc/{process.pid}/comm")
            wait_until(lambda: comm.read_text() == "sleep\n", "the network namespace exists")
            inside = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "--"]
            network.connect_process(process.pid, f"gap-{secrets.token_hex(4)}", ADDRESS)
            for address, port in _ALLOWED:
                _allow(inside, "-p", "tcp", "-d", address, "--dport", str(port))
            _allow(inside, "-o", "lo")
            subprocess.run([*inside, "iptables", "-A", "OUTPUT", "-j", "REJECT"], check=True)
            yield inside
        finally:
            # The kernel deletes the namespace and its link.
            process.kill()


def _allow(inside: list[str], *match: str) -> None:
    subprocess.run([*inside, "iptables", "-A", "OUTPUT", *match, "-j", "ACCEPT"], check=True)


def write_kubeconfig(path: Path) -> None:
    """Write the administrator's kubeconfig with the address of the API server for other machines."""
    kubeconfig = yaml.safe_load(layout.KUBECONFIG.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = layout.API_URL_FOR_NODES
    path.write_text(yaml.safe_dump(kubeconfig))
