# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a delivery is measured with."""

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

from .measure import Measured
from .registry import Registry
from .works import Work

Way = Callable[[Registry, Work, Sequence[str], Path], Measured]
"""A way to push a work or to pull it: takes the registry, the work, the names that its images have in the registry, as
in ``team/api:1``, and a folder to write into what is pulled; tells what it took."""


def at_a_distance(milliseconds: int, way: Way) -> Way:
    """The same over a line whose round trips take so long."""

    def act(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
        with _far_away(registry, milliseconds) as distant:
            return way(distant, work, names, folder)

    return act


@contextmanager
def _far_away(registry: Registry, milliseconds: int) -> Iterator[Registry]:
    with tempfile.TemporaryDirectory() as folder, faulty_connection(Path(folder)) as line:
        for stream, latency in {"upstream": milliseconds // 2, "downstream": -(-milliseconds // 2)}.items():
            line.add_fault("latency", stream, latency=latency)
        kubeconfig = Path(line.kubeconfig)
        (server,) = re.findall(r"server: (\S+)", kubeconfig.read_text())
        yield replace(registry, api_url=server, kubeconfig=kubeconfig)


def into_an_empty_engine(way: Way) -> Way:
    """The same with nothing left in the engine of what was pulled before."""

    def act(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
        docker = [DOCKER, "--host", work.engine]
        found = subprocess.run([*docker, "images", "--quiet"], check=True, stdout=subprocess.PIPE, text=True).stdout
        if found:
            subprocess.run([*docker, "rmi", "--force", *set(found.split())], check=True, stdout=subprocess.DEVNULL)
        return way(registry, work, names, folder)

    return act
