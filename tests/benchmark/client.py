# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Type of the measured clients, and wrappers that change their conditions."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from live.engines import DOCKER
from live.faulty_connection import faulty_connection

from .measure import Measurement
from .registry import Registry
from .workloads import Workload

Client = Callable[[Registry, Workload, Sequence[str], Path], Measurement]
"""Pushes or pulls a workload and returns the measurement. Arguments: the registry, the workload, the images' names in
the registry, such as ``team/api:1``, and the folder for pulled images."""


def with_latency(milliseconds: int, client: Client) -> Client:
    """Return the client with a connection of this round-trip time to the API server."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        with _delayed(registry, milliseconds) as delayed:
            return client(delayed, workload, names, folder)

    return run


@contextmanager
def _delayed(registry: Registry, milliseconds: int) -> Iterator[Registry]:
    with tempfile.TemporaryDirectory() as folder, faulty_connection(Path(folder)) as proxy:
        proxy.add_latency(milliseconds)
        kubeconfig = Path(proxy.kubeconfig)
        (server,) = re.findall(r"server: (\S+)", kubeconfig.read_text())
        yield replace(registry, api_url=server, kubeconfig=kubeconfig)


def with_empty_engine(client: Client) -> Client:
    """Return the client with all images removed from the engine first."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        docker = [DOCKER, "--host", workload.engine]
        found = subprocess.run([*docker, "images", "--quiet"], check=True, stdout=subprocess.PIPE, text=True).stdout
        if found:
            subprocess.run([*docker, "rmi", "--force", *set(found.split())], check=True, stdout=subprocess.DEVNULL)
        return client(registry, workload, names, folder)

    return run
