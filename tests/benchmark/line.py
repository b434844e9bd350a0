# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long lines to the API server, by toxiproxy."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import requests
from cluster import layout

from .measure import Failed
from .registry import Registry


@contextmanager
def far_away(registry: Registry, milliseconds: int) -> Iterator[Registry]:
    """The registry over a line whose round trips take so long, until the end of the block."""
    port, listener = _free_port(), _free_port()
    command = [str(layout.BIN / "toxiproxy"), "-host", "127.0.0.1", "-port", str(port)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            _wait_for(port)
            _post(port, "", name="line", listen=f"127.0.0.1:{listener}", upstream=f"127.0.0.1:{layout.API_PORT}")
            for stream, latency in {"upstream": milliseconds // 2, "downstream": -(-milliseconds // 2)}.items():
                _post(port, "/line/toxics", type="latency", stream=stream, attributes={"latency": latency})
            kubeconfig = Path(folder) / "kubeconfig"
            kubeconfig.write_text(layout.KUBECONFIG.read_text().replace(f":{layout.API_PORT}", f":{listener}"))
            yield replace(registry, api_url=f"https://127.0.0.1:{listener}", kubeconfig=kubeconfig)
        finally:
            process.kill()


def _post(port: int, path: str, **content: object) -> None:
    requests.post(f"http://127.0.0.1:{port}/proxies{path}", json=content, timeout=5).raise_for_status()


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
    raise Failed("toxiproxy does not answer")
