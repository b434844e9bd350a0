# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deliveries take place in: a registry with a Pod, disks that can be full, and roads that can break."""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Union

from cluster import layout, users
from cluster.certificates import CA, Pair
from live.conftest import kubectl
from live.faulty_connection import FaultyConnection, faulty_connection
from live.host_registries import HostRegistry, create_pod

from .cluster_registry import ClusterRegistry
from .middlebox import Middlebox, middlebox

DISK = 192 << 20
_MARK = "k8scr-chaos"
DIRECT, LINE, BOX = "straight", "over a line", "through a load balancer"
TOKENS = ("first", "second")
AnyRegistry = Union[HostRegistry, ClusterRegistry]


class World:
    """One registry and all that is around it; one delivery after the other takes place in it.

    Attributes:
        folder: What belongs to it.
        name: Its own, which is also the user's.
        namespace: Where the registry's Pod is.
        pod: The Pod's name.
        registry: Its registry.
        server_disk: Where the registry keeps everything.
        client_disk: Where the module finds and writes everything.
        line: The line to the API server that can break.
        front: A load balancer in front of the API server.
        back: A proxy between the API server and the registry.
        token: The file of the token that the load balancer wants.
    """

    def __init__(self, folder: Path, name: str, opened: ExitStack) -> None:
        self.folder = folder
        self.name = name
        self.client_disk = opened.enter_context(_disk(folder / "client"))
        self.server_disk, self.registry = self._have_registry(opened)
        self.namespace, self.pod = (self.registry.options[option] for option in ("namespace", "registry"))
        opened.callback(self._remove)
        kubeconfig = users.make(name)
        self.line: FaultyConnection = opened.enter_context(faulty_connection(folder, kubeconfig))
        to_server = functools.partial(_to_api_server, f"user-{name}")
        to_registry = functools.partial(http.client.HTTPConnection, layout.HOST_ADDRESS, self.registry.port)
        self.front: Middlebox = opened.enter_context(middlebox("127.0.0.1", to_server))
        self.back: Middlebox = opened.enter_context(middlebox(layout.HOST_ADDRESS, to_registry))
        self.token = folder / "token"
        self._kubeconfigs = {
            DIRECT: str(kubeconfig),
            LINE: self.line.kubeconfig,
            BOX: str(_with_token(folder / "box.kubeconfig", self.front.port, self.token)),
        }
        self._allow()

    def _have_registry(self, opened: ExitStack) -> tuple[Path, AnyRegistry]:
        disk = opened.enter_context(_disk(self.folder / "server"))
        registry = HostRegistry("distribution-3", disk, self.name)
        opened.callback(registry.stop)
        registry.start()
        return disk, registry

    def reset(self) -> None:
        """Be as in the beginning: everything works, and nothing is there."""
        self.registry.start_if_stopped()
        self.be_placed()
        self.token.write_text(TOKENS[0])
        for disk in (self.server_disk, self.client_disk):
            for entry in disk.iterdir():
                if entry.name != "config.yml":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def options(self, front: str, back: bool) -> dict[str, Any]:
        """What a task says to mean this registry.

        Args:
            front: The road to the API server.
            back: Whether the API server reaches the registry through the proxy.
        """
        port = self.back.port if back else self.registry.port
        return {**self.registry.options, "registry_port": port, "kubeconfig": self._kubeconfigs[front]}

    def be_placed(self) -> None:
        """Have the Pod."""
        create_pod(layout.HOST_ADDRESS, self.pod)

    def be_displaced(self) -> None:
        """Have no Pod."""
        kubectl("delete", f"--namespace={self.namespace}", "pod", self.pod, "--now", "--ignore-not-found")

    def stored(self) -> int:
        """Bytes of blobs and uploads that the registry has."""
        return sum(path.stat().st_size for path in self.registry.storage.rglob("data") if path.is_file())

    def collect_garbage(self) -> None:
        """Have the registry delete the blobs that no manifest names.

        Raises:
            RuntimeError: It did not begin. It may end early, as when images are pushed meanwhile.
        """
        command = [str(layout.BIN / "registry"), "garbage-collect", "--delete-untagged"]
        command.append(str(self.server_disk / "config.yml"))
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode and "failed to garbage collect" not in done.stderr:
            raise RuntimeError(f"garbage collection did not begin: {done.stderr.strip()}")

    def bind(self, allowed: bool) -> None:
        """Let the user push and pull, or not."""
        if allowed:
            binding = {
                **self._object("RoleBinding"),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}],
            }
            kubectl("apply", "--filename=-", stdin=json.dumps(binding))
        else:
            kubectl("delete", f"--namespace={self.namespace}", "rolebinding", self.name)

    def _allow(self) -> None:
        ports = [f"{self.pod}:{port}" for port in (self.registry.port, self.back.port)]
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
        what = [f"{kind}/{self.name}" for kind in ("rolebinding", "role", "pod")]
        kubectl("delete", f"--namespace={self.namespace}", *what, "--now", "--ignore-not-found")


class ClusterWorld(World):
    """One whose registry the cluster runs, as the role deploys it."""

    def be_placed(self) -> None:
        """The cluster sees to that."""

    def _have_registry(self, opened: ExitStack) -> tuple[Path, AnyRegistry]:
        registry = ClusterRegistry(self.folder / "server", self.name)
        opened.callback(registry.remove)
        registry.deploy()
        return registry.storage, registry


def forget_disks() -> None:
    """Take away what runs that were killed have left mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        device, where, *_rest = line.split(" ")
        mark, _dash, owner = device.rpartition("-")
        if mark == _MARK and not Path("/proc", owner).exists():
            subprocess.run(["umount", "--lazy", where], check=True)


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, which can be filled without harm to others."""
    folder.mkdir(parents=True)
    command = ["mount", "--types", "tmpfs", "--options", f"size={DISK}", f"{_MARK}-{os.getpid()}", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _to_api_server(pair: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(CA.certificate))
    context.load_cert_chain(str(Pair(pair).certificate), str(Pair(pair).key))
    return http.client.HTTPSConnection("127.0.0.1", layout.API_PORT, context=context)


def _with_token(path: Path, port: int, token: Path) -> Path:
    """A kubeconfig for the load balancer."""
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
