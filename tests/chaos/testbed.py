# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Testbed of a delivery: a registry with a Pod, small disks, and proxies that inject faults."""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Union

from cluster import cluster, layout, programs, users
from cluster.certificates import CA, Pair
from cluster.kubectl import kubectl
from live.faulty_connection import FaultyConnection, faulty_connection
from live.host_registries import HostRegistry, create_pod

from .cluster_registry import ClusterRegistry
from .middlebox import Middlebox, middlebox

DISK = 192 << 20
_DEVICE = "k8scr-chaos"
DIRECT, TOXIPROXY, LOAD_BALANCER = "direct", "toxiproxy", "load balancer"
TOKENS = ("first", "second")
AnyRegistry = Union[HostRegistry, ClusterRegistry]


class Testbed:
    """A registry with everything around it; it runs one delivery at a time.

    Attributes:
        folder: Folder of the testbed.
        name: Name of the testbed and of its Kubernetes user.
        namespace: Namespace of the registry's Pod.
        pod: Name of the registry's Pod.
        registry: The registry.
        server_disk: Disk of the registry.
        client_disk: Disk of the module, for sources, destinations, cache and temporary files.
        toxiproxy: TCP proxy in front of the API server.
        load_balancer: HTTP proxy in front of the API server.
        registry_proxy: HTTP proxy between the API server and the registry.
        token: File with the token for the load balancer.
    """

    def __init__(self, folder: Path, name: str, opened: ExitStack) -> None:
        self.folder = folder
        self.name = name
        self.client_disk = opened.enter_context(_disk(folder / "client"))
        self.server_disk, self.registry = self._start_registry(opened)
        self.namespace, self.pod = (self.registry.options[option] for option in ("namespace", "registry"))
        opened.callback(self._remove)
        kubeconfig = users.make(name)
        self.toxiproxy: FaultyConnection = opened.enter_context(faulty_connection(folder, kubeconfig))
        to_server = functools.partial(_to_api_server, f"user-{name}")
        to_registry = functools.partial(http.client.HTTPConnection, layout.HOST_ADDRESS, self.registry.port)
        self.load_balancer: Middlebox = opened.enter_context(middlebox("127.0.0.1", to_server))
        self.registry_proxy: Middlebox = opened.enter_context(middlebox(layout.HOST_ADDRESS, to_registry))
        self.token = folder / "token"
        self._kubeconfigs = {
            DIRECT: str(kubeconfig),
            TOXIPROXY: self.toxiproxy.kubeconfig,
            LOAD_BALANCER: str(
                _token_kubeconfig(folder / "load-balancer.kubeconfig", self.load_balancer.port, self.token)
            ),
        }
        self._create_role()

    def _start_registry(self, opened: ExitStack) -> tuple[Path, AnyRegistry]:
        disk = opened.enter_context(_disk(self.folder / "server"))
        registry = HostRegistry("distribution-3", disk, self.name)
        opened.callback(registry.stop)
        registry.start()
        return disk, registry

    def reset(self) -> None:
        """Restore the initial state: all components run, and the disks are empty."""
        self.registry.start_if_stopped()
        self.create_pod()
        self.token.write_text(TOKENS[0])
        for disk in (self.server_disk, self.client_disk):
            for entry in disk.iterdir():
                if entry.name != "config.yml":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def options(self, connection: str, registry_proxy: bool) -> dict[str, Any]:
        """Return the modules' options for this registry.

        Args:
            connection: Connection to the API server.
            registry_proxy: Whether the API server connects to the registry through the proxy.
        """
        port = self.registry_proxy.port if registry_proxy else self.registry.port
        return {**self.registry.options, "registry_port": port, "kubeconfig": self._kubeconfigs[connection]}

    def create_pod(self) -> None:
        """Create the registry's Pod."""
        create_pod(layout.HOST_ADDRESS, self.pod)

    def delete_pod(self) -> None:
        """Delete the registry's Pod."""
        kubectl("delete", f"--namespace={self.namespace}", "pod", self.pod, "--now", "--ignore-not-found")

    def collect_garbage(self) -> None:
        """Run the registry's garbage collection, which deletes blobs without a manifest.

        Raises:
            RuntimeError: The garbage collection did not start. Failures of a started one, such as during a push, are
                ignored.
        """
        command = [str(layout.BIN / "registry"), "garbage-collect", "--delete-untagged"]
        command.append(str(self.server_disk / "config.yml"))
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode and "failed to garbage collect" not in done.stderr:
            raise RuntimeError(f"garbage collection did not start: {done.stderr.strip()}")

    def bind(self, allowed: bool) -> None:
        """Create or delete the RoleBinding that permits the user to push and pull."""
        if allowed:
            binding = {
                **self._object("RoleBinding"),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}],
            }
            kubectl("apply", "--filename=-", stdin=json.dumps(binding))
            users.wait_for_permission(self.name, self.namespace)
        else:
            kubectl("delete", f"--namespace={self.namespace}", "rolebinding", self.name)

    def _create_role(self) -> None:
        ports = [f"{self.pod}:{port}" for port in (self.registry.port, self.registry_proxy.port)]
        verbs = ["get", "create", "update", "patch"]
        rules = [
            {"apiGroups": [""], "resources": ["pods/proxy"], "resourceNames": ports, "verbs": verbs},
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": [self.pod], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["k8scr-write"], "verbs": ["get"]},
        ]
        kubectl("apply", "--filename=-", stdin=json.dumps({**self._object("Role"), "rules": rules}))
        self.bind(True)

    def _object(self, kind: str) -> dict[str, Any]:
        metadata = {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata}

    def _remove(self) -> None:
        objects = [f"{kind}/{self.name}" for kind in ("rolebinding", "role", "pod")]
        kubectl("delete", f"--namespace={self.namespace}", *objects, "--now", "--ignore-not-found")


class ClusterTestbed(Testbed):
    """A testbed whose registry is deployed in the cluster by the role."""

    def create_pod(self) -> None:
        """Do nothing: the StatefulSet creates the Pod."""

    def _start_registry(self, opened: ExitStack) -> tuple[Path, AnyRegistry]:
        registry = ClusterRegistry(self.folder / "server", self.name)
        opened.callback(registry.remove)
        registry.deploy()
        return registry.storage, registry


def prepare(seed: int) -> None:
    """Start the cluster for a campaign, install the programs, and print the seed."""
    # Clean up after SIGTERM as after an exception.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    cluster.up()
    programs.ensure(["toxiproxy"])
    _unmount_stale_disks()
    print(f"seed {seed}", file=sys.stderr, flush=True)


def _unmount_stale_disks() -> None:
    """Unmount the disks of killed runs."""
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount_point, *_rest = line.split(" ")
        name, _dash, owner = device.rpartition("-")
        if name == _DEVICE and not Path("/proc", owner).exists():
            subprocess.run(["umount", "--lazy", mount_point], check=True)


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk that faults can fill."""
    folder.mkdir(parents=True)
    command = ["mount", "--types", "tmpfs", "--options", f"size={DISK}", f"{_DEVICE}-{os.getpid()}", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _to_api_server(pair: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(CA.certificate))
    context.load_cert_chain(str(Pair(pair).certificate), str(Pair(pair).key))
    return http.client.HTTPSConnection("127.0.0.1", layout.API_PORT, context=context)


def _token_kubeconfig(path: Path, port: int, token: Path) -> Path:
    """Write a kubeconfig for the load balancer."""
    context = {"name": "chaos", "context": {"cluster": "chaos", "user": "chaos"}}
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "chaos", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "chaos", "user": {"tokenFile": str(token)}}],
        "contexts": [context],
        "current-context": "chaos",
    }
    path.write_text(json.dumps(value))
    return path
