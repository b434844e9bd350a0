# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line to the API server that cuts, stalls and tarries as it is told: toxiproxy."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from cluster import layout, programs


class BadLine:
    """A line to the API server that has the faults it is told to have.

    Args:
        api: Where toxiproxy is told what to do.
        kubeconfig: A user's, over this line.
    """

    def __init__(self, api: str, kubeconfig: Path) -> None:
        self._proxy = f"{api}/proxies/line"
        self._numbers = itertools.count()
        self.kubeconfig = str(kubeconfig)

    def have(self, kind: str, stream: str, **attributes: int) -> str:
        """Have a fault, in one direction; its name comes back."""
        name = f"{kind}-{next(self._numbers)}"
        toxic = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
        requests.post(f"{self._proxy}/toxics", json=toxic, timeout=5).raise_for_status()
        return name

    def mend(self, name: str) -> None:
        """Have this fault no more."""
        requests.delete(f"{self._proxy}/toxics/{name}", timeout=5).raise_for_status()

    def be_there(self, there: bool) -> None:
        """Cut every connection and take none any more, or take them again."""
        requests.post(self._proxy, json={"enabled": there}, timeout=5).raise_for_status()


@contextmanager
def bad_line(folder: Path, kubeconfig: Path = layout.KUBECONFIG) -> Iterator[BadLine]:
    """A line without a fault yet, until the end of the block.

    Args:
        folder: Where its kubeconfig may be written.
        kubeconfig: Who speaks over it; the administrator, if nothing is said.
    """
    program = programs.ensure(["toxiproxy"])["toxiproxy"]
    port, listener = _free_port(), _free_port()
    api = f"http://127.0.0.1:{port}"
    command = [str(program), "-host", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            proxy = {"name": "line", "listen": f"127.0.0.1:{listener}", "upstream": f"127.0.0.1:{layout.API_PORT}"}
            requests.post(f"{api}/proxies", json=proxy, timeout=5).raise_for_status()
            over_it = folder / "line.kubeconfig"
            over_it.write_text(kubeconfig.read_text().replace(f":{layout.API_PORT}", f":{listener}"))
            yield BadLine(api, over_it)
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("toxiproxy does not answer")
