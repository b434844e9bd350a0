# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries of the benchmark: one deployed by the collection's role, and the kubectl plugin's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from cluster import images, layout
from cluster.certificates import CA, Pair
from cluster.kubectl import kubectl
from cluster.pods import find_processes
from live import host_registries

from .measure import Failed

NAMESPACE = "k8scr-benchmark"
POD = "bench-0"
PORT = 5000
# In memory, so that disks neither limit the speed nor fill up.
STORAGE = Path("/dev/shm/k8scr-benchmark")  # noqa: S108
_USER = 65532
"""User ID of the registry in the role."""


@dataclass(frozen=True)
class Tunnel:
    """A running ``kubectl port-forward``."""

    address: str
    pid: int


@dataclass(frozen=True)
class Registry:
    """A registry in the cluster, and the API server in front of it.

    Attributes:
        address: Address of the Pod in the cluster's network.
        pids: IDs of the registry's processes.
        api_url: URL of the API server, or of a proxy in front of it.
        kubeconfig: The administrator's kubeconfig for that URL.
        namespace: The Pod's namespace.
        pod: The Pod's name.
        port: The Pod's port.
    """

    address: str
    pids: tuple[int, ...]
    api_url: str = layout.API_URL
    kubeconfig: Path = layout.KUBECONFIG
    namespace: str = NAMESPACE
    pod: str = POD
    port: int = PORT

    @property
    def proxy(self) -> str:
        """The URL of the Pod's proxy."""
        return f"{self.api_url}/api/v1/namespaces/{self.namespace}/pods/{self.pod}:{self.port}/proxy"

    @property
    def options(self) -> dict[str, Any]:
        """Options of the modules for this registry."""
        where = {"namespace": self.namespace, "registry": self.pod, "registry_port": self.port}
        return {"kubeconfig": str(self.kubeconfig), **where}

    def empty(self) -> None:
        """Delete all images."""
        shutil.rmtree(STORAGE / "docker", ignore_errors=True)

    @contextmanager
    def forwarded(self) -> Iterator[Tunnel]:
        """Forward a local port to the registry with ``kubectl port-forward``."""
        command = [str(layout.BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
        command += ["port-forward", f"pod/{self.pod}", f":{self.port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                port = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                if port is None:
                    raise Failed("kubectl port-forward failed: no port in its output")
                yield Tunnel(f"127.0.0.1:{port[1]}", process.pid)
            finally:
                process.kill()


def administrator() -> requests.Session:
    """Return a session of the cluster's administrator that ignores proxy and CA settings of the environment."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(CA.certificate)
    session.cert = (str(Pair("admin").certificate), str(Pair("admin").key))
    return session


@contextmanager
def deployed_registry() -> Iterator[Registry]:
    """Deploy the registry with the role, and delete it at the end of the block."""
    # A Pod of a killed run may have mounted a folder that was deleted since.
    kubectl("delete", "pod", POD, f"--namespace={NAMESPACE}", "--ignore-not-found", "--now")
    shutil.rmtree(STORAGE, ignore_errors=True)
    STORAGE.mkdir()
    os.chown(STORAGE, _USER, _USER)
    try:
        _role("present")
        _remove_write_path()
        address = kubectl("get", "pod", POD, f"--namespace={NAMESPACE}", "--output=jsonpath={.status.podIP}")
        yield Registry(f"{address}:{PORT}", find_processes(NAMESPACE, POD, b"serve"))
    finally:
        shutil.rmtree(STORAGE)
        _role("absent")


@contextmanager
def plugin_registry(registry: Registry, names: Sequence[str]) -> Iterator[Registry]:
    """Run the registry of the kubectl plugin, which keeps images in memory, until the end of the block.

    Args:
        registry: The benchmark's registry; its connection to the API server is used.
        names: Images to copy from the benchmark's registry: all, or none if the first one is missing there.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = stack.enter_context(host_registries.host_registry(host_registries.K8SCR, folder, "bench-seed"))
        if _crane("digest", f"{registry.address}/{names[0]}"):
            for name in names:
                if not _crane("copy", f"{registry.address}/{name}", f"{host.address}/{name}"):
                    raise Failed(f"copying {name} into the kubectl plugin's registry failed")
        yield replace(
            registry,
            address=host.address,
            pids=(host.pid,),
            namespace=host_registries.NAMESPACE,
            pod=host.pod,
            port=host.port,
        )


def _crane(*arguments: str) -> bool:
    """Run crane with direct connections to the registries, and return whether it succeeded."""
    done = subprocess.run([str(layout.BIN / "crane"), "--insecure", *arguments], capture_output=True, check=False)
    return done.returncode == 0


def run_role(name: str, **variables: Any) -> None:
    """Run a role of the collection with variables.

    Raises:
        Failed: The role failed.
    """
    role = ["-m", "ansible.builtin.include_role", "-a", f"name=k8scr.core.{name}"]
    command = ["ansible", "localhost", *role, f"--extra-vars={json.dumps(variables)}"]
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = re.findall(r'"msg": "(.*)"', done.stdout) or done.stderr.strip().splitlines() or ["no output"]
        raise Failed(f"the role {name} failed: {errors[-1]}")


def _role(state: str) -> None:
    run_role(
        "registry",
        registry_state=state,
        registry_image=images.REGISTRY,
        registry_namespace=NAMESPACE,
        registry_name=POD.rpartition("-")[0],
        registry_storage="hostPath",
        registry_storage_path=str(STORAGE),
    )


def _remove_write_path() -> None:
    """Remove the write path: the other clients do not support registries below a path."""
    name = POD.rpartition("-")[0]
    workload = f"statefulset/{name}"
    kubectl("set", "env", workload, f"--namespace={NAMESPACE}", "--containers=registry", "REGISTRY_HTTP_PREFIX-")
    kubectl("delete", "secret", f"{name}-write", f"--namespace={NAMESPACE}")
    kubectl("rollout", "status", workload, f"--namespace={NAMESPACE}", "--timeout=120s")
