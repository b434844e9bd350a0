# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The upstream registry of the bundles: a process of this machine, over a connection with latency."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import layout
from cluster.waiting import free_port, wait_for_port
from live.faulty_connection import faulty_port

from .measure import Failed
from .registry import Registry
from .workloads import Source

ROUND_TRIP = 20
"""Milliseconds of a round trip to the registry."""
_STORAGE = Path("/dev/shm/k8scr-benchmark-upstream")  # noqa: S108 - in memory, so that the disk does not limit it
_CONFIGURATION = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: "127.0.0.1:{port}", secret: benchmark}}
"""
_REQUEST = re.compile(r'"(?:GET|HEAD) /v2/.+ HTTP/1\.1" ')


@dataclass(frozen=True)
class Upstream(Registry):
    """A registry with the images to bundle; its address has latency.

    Attributes:
        near: Its address without latency, to fill it.
        log: The file with a line for each request.
    """

    near: str = ""
    log: Path = Path()

    def requests(self) -> int:
        """Return how many requests for content it has received, without the checks of the API's version."""
        return len(_REQUEST.findall(self.log.read_text()))

    def fill(self, images: Iterable[tuple[Source, str]]) -> None:
        """Store the images of layouts, each under its name."""
        for source, name in images:
            command = ["push", "--insecure", source.location, f"{self.near}/{name}"]
            done = subprocess.run([str(layout.BIN / "crane"), *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"{name} cannot be stored in the upstream registry: {done.stderr.strip()[-300:]}")

    def empty(self) -> None:
        """Delete all images."""
        shutil.rmtree(_STORAGE / "docker", ignore_errors=True)


@contextmanager
def upstream_registry(folder: Path) -> Iterator[Upstream]:
    """Run the registry until the end of the block.

    Args:
        folder: The folder for its files, except for the images.
    """
    shutil.rmtree(_STORAGE, ignore_errors=True)
    port = free_port()
    configuration, log = folder / "upstream.yml", folder / "upstream.log"
    configuration.write_text(_CONFIGURATION.format(storage=_STORAGE, port=port))
    command = [str(layout.BIN / "registry"), "serve", str(configuration)]
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            wait_for_port(port, "the upstream registry")
            with faulty_port(f"127.0.0.1:{port}") as far:
                far.add_latency(ROUND_TRIP)
                yield Upstream(f"127.0.0.1:{far.port}", (process.pid,), near=f"127.0.0.1:{port}", log=log)
        finally:
            process.kill()
            shutil.rmtree(_STORAGE, ignore_errors=True)
