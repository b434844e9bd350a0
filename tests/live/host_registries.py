# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries of several makes, each a process of this machine that the API server takes for a Pod's.

The Pod exists and runs nowhere: the address in its status is this machine's. So the way through the API server is
real and the registry is real, and a test can kill it, start it again and look into its storage.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import layout, programs

from .conftest import kubectl

NAMESPACE = "default"
_CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "{address}", secret: the-same-after-a-restart}}
"""


def _distribution(program: str) -> Callable[[Path, str, int], list[str]]:
    def command(folder: Path, host: str, port: int) -> list[str]:
        configuration = folder / "config.yml"
        configuration.write_text(_CONFIGURATION.format(storage=folder / "storage", address=f"{host}:{port}"))
        return [program, "serve", str(configuration)]

    return command


def _go_containerregistry(_folder: Path, host: str, port: int) -> list[str]:
    return [str(layout.BIN / "crane"), "registry", "serve", "--address", f"{host}:{port}"]


def _listing(_folder: Path, host: str, port: int) -> list[str]:
    return [str(programs.ensure(["listing-registry"])["listing-registry"]), f"{host}:{port}"]


def _seeds(_folder: Path, host: str, port: int) -> list[str]:
    return [str(programs.ensure(["seed"])["seed"]), "serve", f"{host}:{port}"]


MAKES = {
    "distribution-3": _distribution(str(layout.BIN / "registry")),
    "distribution-2.8": _distribution("docker-registry"),
    "go-containerregistry": _go_containerregistry,
    "go-containerregistry with lists of referrers": _listing,
}
SEEDS = "the seed's"
_COMMANDS = {**MAKES, SEEDS: _seeds}


class HostRegistry:
    """One registry process and the Pod that stands for it.

    Args:
        make: One of :data:`MAKES`, or :data:`SEEDS`.
        folder: Where it keeps everything.
        pod: The Pod's name.
        port: Where it listens; 0 for any port that is free.
        variables: Environment variables, by which distribution's makes are configured.
    """

    def __init__(
        self, make: str, folder: Path, pod: str, port: int = 0, variables: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.make = make
        self.pod = pod
        self.port = port or _free_port()
        self.address = f"{layout.HOST_ADDRESS}:{self.port}"
        self.write_url = f"http://{self.address}"
        self._variables = variables or {}
        self.storage = folder / "storage"
        self._command = _COMMANDS[make](folder, layout.HOST_ADDRESS, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What a task says to mean this registry."""
        return {"namespace": NAMESPACE, "registry": self.pod, "registry_port": self.port}

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none", **self._variables}
        self._process = subprocess.Popen(
            self._command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            # Another program may listen on the port that it was told to take.
            ended = self._process.poll() is not None
            assert not ended, f"{self.make} ended with {self._process.returncode}: is {self.address} in use?"
            try:
                socket.create_connection((layout.HOST_ADDRESS, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"{self.make} does not answer")

    def start_if_stopped(self) -> None:
        """Start it, unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal and wait for its end."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


@contextmanager
def host_registry(make: str, folder: Path, pod: str, port: int = 0) -> Iterator[HostRegistry]:
    """A registry that runs, and its Pod, until the end of the block."""
    registry = HostRegistry(make, folder, pod, port)
    try:
        registry.start()
        with pod_at(layout.HOST_ADDRESS, pod):
            yield registry
    finally:
        registry.stop(signal.SIGKILL)


@contextmanager
def pod_at(address: str, name: str) -> Iterator[None]:
    """A Pod that nobody runs and that has this address, until the end of the block."""
    place_pod(address, name)
    try:
        yield
    finally:
        kubectl("delete", f"--namespace={NAMESPACE}", "pod", name, "--now", "--ignore-not-found")


def place_pod(address: str, name: str) -> None:
    """Make a Pod that nobody runs, and give it this address."""
    container = {"name": "registry", "image": "registry.invalid/none:1"}
    spec = {"schedulerName": "nobody", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    where = (f"--namespace={NAMESPACE}", "pod", name)
    kubectl("patch", *where, "--subresource=status", "--type=merge", f"--patch={json.dumps(status)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((layout.HOST_ADDRESS, 0))
        return int(probe.getsockname()[1])
