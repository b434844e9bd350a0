# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection to the API server with faults: toxiproxy resets, stalls and delays it."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from cluster import layout, programs
from cluster.waiting import free_port, wait_for_port


class FaultyPort:
    """A local port that forwards to an address, with configurable faults.

    Args:
        api: The URL of toxiproxy's API.
        name: The name of the proxy there.
        port: The local port.
    """

    def __init__(self, api: str, name: str, port: int) -> None:
        self.api = api
        self.name = name
        self.port = port
        self._proxy = f"{api}/proxies/{name}"
        self._numbers = itertools.count()

    def add_fault(self, kind: str, stream: str, **attributes: int) -> str:
        """Add a fault in one direction and return its name."""
        name = f"{kind}-{next(self._numbers)}"
        toxic = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
        requests.post(f"{self._proxy}/toxics", json=toxic, timeout=60).raise_for_status()
        return name

    def remove_fault(self, name: str) -> None:
        """Remove a fault."""
        requests.delete(f"{self._proxy}/toxics/{name}", timeout=60).raise_for_status()

    def set_enabled(self, enabled: bool) -> None:
        """Accept connections, or reset all connections and reject new ones."""
        requests.post(self._proxy, json={"enabled": enabled}, timeout=60).raise_for_status()

    def add_latency(self, milliseconds: int) -> None:
        """Delay both directions, so that a round trip takes this time longer."""
        for stream, latency in {"upstream": milliseconds // 2, "downstream": -(-milliseconds // 2)}.items():
            self.add_fault("latency", stream, latency=latency)


class FaultyConnection(FaultyPort):
    """A connection to the API server with configurable faults.

    Args:
        kubeconfig: A user's kubeconfig with that port. The others are those of :class:`FaultyPort`.
    """

    def __init__(self, api: str, name: str, port: int, kubeconfig: Path) -> None:
        super().__init__(api, name, port)
        self.kubeconfig = str(kubeconfig)


@contextmanager
def faulty_port(upstream: str, name: str = "upstream") -> Iterator[FaultyPort]:
    """Forward a local port to an address without faults until the end of the block."""
    program = programs.ensure(["toxiproxy"])["toxiproxy"]
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    command = [str(program), "-host", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port, "toxiproxy")
            proxy = {"name": name, "listen": "127.0.0.1:0", "upstream": upstream}
            response = requests.post(f"{api}/proxies", json=proxy, timeout=60)
            response.raise_for_status()
            yield FaultyPort(api, name, int(response.json()["listen"].rpartition(":")[2]))
        finally:
            process.kill()


@contextmanager
def faulty_connection(folder: Path, kubeconfig: Path = layout.KUBECONFIG) -> Iterator[FaultyConnection]:
    """Provide a connection without faults until the end of the block.

    Args:
        folder: The folder for its kubeconfig.
        kubeconfig: The user's kubeconfig; the administrator's by default.
    """
    with faulty_port(f"127.0.0.1:{layout.API_PORT}", "api-server") as port:
        proxied = folder / "faulty.kubeconfig"
        proxied.write_text(kubeconfig.read_text().replace(f":{layout.API_PORT}", f":{port.port}"))
        yield FaultyConnection(port.api, port.name, port.port, proxied)
