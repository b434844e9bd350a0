# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries of several implementations, each a process of this machine behind a Pod.

No node runs the Pod. Its status has this machine's address, so the API server's Pod proxy connects to the process.
Requests thus pass a real API server to a real registry, and a test can kill it, restart it and read its storage.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import layout, programs
from cluster.kubectl import kubectl
from cluster.waiting import accepts_connections, free_port, wait_until

NAMESPACE = "default"
_CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "{address}", secret: the-same-after-a-restart}}
"""
_DURING_COLLECTION = {
    "REGISTRY_HTTP_HEADERS": '{"K8scr-Collection": ["running"]}',
    "REGISTRY_STORAGE_MAINTENANCE": '{"readonly": {"enabled": true}}',
}


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


def _k8scr(_folder: Path, host: str, port: int) -> list[str]:
    return [str(programs.ensure(["seed"])["seed"]), "serve", f"{host}:{port}"]


IMPLEMENTATIONS = {
    "distribution-3": _distribution(str(layout.BIN / "registry")),
    "distribution-2.8": _distribution("docker-registry"),
    "go-containerregistry": _go_containerregistry,
    "go-containerregistry with referrers": _listing,
}
K8SCR = "k8scr"
"""The registry of the kubectl plugin k8scr."""
_COMMANDS = {**IMPLEMENTATIONS, K8SCR: _k8scr}


class HostRegistry:
    """A registry process and the name of its Pod.

    Args:
        implementation: One of :data:`IMPLEMENTATIONS`, or :data:`K8SCR`.
        folder: The folder for its storage.
        pod: The Pod's name.
        port: The port to listen on; 0 for any free port.
        variables: Environment variables that configure the implementations of distribution.
    """

    def __init__(
        self, implementation: str, folder: Path, pod: str, port: int = 0, variables: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.implementation = implementation
        self.pod = pod
        self.port = port or free_port(layout.HOST_ADDRESS)
        self.address = f"{layout.HOST_ADDRESS}:{self.port}"
        self.write_url = f"http://{self.address}"
        self._variables = variables or {}
        self.storage = folder / "storage"
        self._command = _COMMANDS[implementation](folder, layout.HOST_ADDRESS, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of a task for this registry."""
        return {"namespace": NAMESPACE, "registry": self.pod, "registry_port": self.port}

    @property
    def pid(self) -> int:
        """The process ID of the registry."""
        assert self._process is not None
        return self._process.pid

    def start(self, **variables: str) -> None:
        """Start the registry, with more environment variables, and wait until it accepts connections."""
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none", **self._variables, **variables}
        self._process = subprocess.Popen(
            self._command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._accepts_connections, f"{self.implementation} accepts connections")

    def start_if_stopped(self) -> None:
        """Start the registry unless it is running."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the process a signal and wait until it exits."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def start_during_collection(self) -> None:
        """Start distribution read-only, as the role ``registry`` does while it collects garbage."""
        self.start(**_DURING_COLLECTION)

    def collect_garbage(self, *arguments: str) -> None:
        """Restart distribution read-only, as the role ``registry`` does, run its garbage collection, and restart it."""
        program, _serve, configuration = self._command
        self.stop()
        self.start_during_collection()
        subprocess.run(
            [program, "garbage-collect", *arguments, configuration],
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stop()
        self.start()

    def _accepts_connections(self) -> bool:
        assert self._process is not None
        # The registry exits if another program uses its port.
        ended = self._process.poll() is not None
        assert not ended, f"{self.implementation} exited with {self._process.returncode}: is {self.address} in use?"
        return accepts_connections(self.port, layout.HOST_ADDRESS)


@contextmanager
def host_registry(
    implementation: str, folder: Path, pod: str, port: int = 0, variables: Mapping[str, str] | None = None
) -> Iterator[HostRegistry]:
    """Run a registry behind a Pod until the end of the block, and delete its storage; see :class:`HostRegistry`."""
    registry = HostRegistry(implementation, folder, pod, port, variables)
    try:
        registry.start()
        with pod_at(layout.HOST_ADDRESS, pod):
            yield registry
    finally:
        registry.stop(signal.SIGKILL)
        shutil.rmtree(registry.storage, ignore_errors=True)


@contextmanager
def pod_at(address: str, name: str) -> Iterator[None]:
    """Provide a Pod with this address, which no node runs, until the end of the block."""
    create_pod(address, name)
    try:
        yield
    finally:
        kubectl("delete", f"--namespace={NAMESPACE}", "pod", name, "--now", "--ignore-not-found")


def create_pod(address: str, name: str) -> None:
    """Create a Pod with this address, which no node runs."""
    container = {"name": "registry", "image": "registry.invalid/none:1"}
    spec = {"schedulerName": "none", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    kubectl(
        *("patch", f"--namespace={NAMESPACE}", "pod", name),
        *("--subresource=status", "--type=merge", f"--patch={json.dumps(status)}"),
    )


def stored_bytes(storage: Path) -> int:
    """Return the bytes of all blobs and uploads in a registry's storage."""
    return sum(path.stat().st_size for path in storage.rglob("data") if path.is_file())
