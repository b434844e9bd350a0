# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark's own registry, as the collection's role deploys it, the two ways that lead to it, and the seed's."""

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
from live import host_registries
from live.conftest import kubectl

from .measure import Failed

NAMESPACE = "k8scr-benchmark"
POD = "bench-0"
PORT = 5000
# In memory: the road is to be measured, not a disk, and none fills up.
STORAGE = Path("/dev/shm/k8scr-benchmark")  # noqa: S108
_USER = 65532
"""Whom the role has the registry run as."""


@dataclass(frozen=True)
class Tunnel:
    """A ``kubectl port-forward`` that runs."""

    address: str
    pid: int


@dataclass(frozen=True)
class Registry:
    """The registry that runs in the cluster, as seen over one road.

    Attributes:
        address: Where its Pod listens, for who is in the cluster's network.
        pids: Its processes.
        api_url: Where the API server is, or a line to it.
        kubeconfig: The administrator's, for there.
        namespace: Where its Pod is.
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
        """What a task says to mean this registry."""
        where = {"namespace": self.namespace, "registry": self.pod, "registry_port": self.port}
        return {"kubeconfig": str(self.kubeconfig), **where}

    def empty(self) -> None:
        """Forget everything that was pushed."""
        shutil.rmtree(STORAGE / "docker", ignore_errors=True)

    @contextmanager
    def forwarded(self) -> Iterator[Tunnel]:
        """A port of this machine that is the registry's, by ``kubectl port-forward``."""
        command = [str(layout.BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
        command += ["port-forward", f"pod/{self.pod}", f":{self.port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                port = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                if port is None:
                    raise Failed("kubectl port-forward says no port")
                yield Tunnel(f"127.0.0.1:{port[1]}", process.pid)
            finally:
                process.kill()


def administrator() -> requests.Session:
    """A session of the cluster's administrator, whatever the environment says of certificates."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(CA.certificate)
    session.cert = (str(Pair("admin").certificate), str(Pair("admin").key))
    return session


@contextmanager
def deployed() -> Iterator[Registry]:
    """The registry until the end of the block."""
    # The Pod of an earlier run that was killed holds on to a folder that may be gone.
    kubectl("delete", "pod", POD, f"--namespace={NAMESPACE}", "--ignore-not-found", "--now")
    shutil.rmtree(STORAGE, ignore_errors=True)
    STORAGE.mkdir()
    os.chown(STORAGE, _USER, _USER)
    try:
        _role("present")
        _open_write_port()
        address = kubectl("get", "pod", POD, f"--namespace={NAMESPACE}", "--output=jsonpath={.status.podIP}")
        yield Registry(f"{address}:{PORT}", _processes())
    finally:
        shutil.rmtree(STORAGE)
        _role("absent")


@contextmanager
def the_seeds(registry: Registry, names: Sequence[str]) -> Iterator[Registry]:
    """The registry that goes with the seed, until the end of the block, which frees the memory that it keeps all in.

    Args:
        registry: The benchmark's own, over whose road it is reached.
        names: Images that it is to have as well, if that one has them: all or none.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = stack.enter_context(host_registries.host_registry(host_registries.K8SCR, folder, "bench-seed"))
        if _crane("digest", f"{registry.address}/{names[0]}"):
            for name in names:
                if not _crane("copy", f"{registry.address}/{name}", f"{host.address}/{name}"):
                    raise Failed(f"{name} cannot be copied into the seed's registry")
        yield replace(
            registry,
            address=host.address,
            pids=(host.pid,),
            namespace=host_registries.NAMESPACE,
            pod=host.pod,
            port=host.port,
        )


def _crane(*words: str) -> bool:
    """Whether crane could do it, straight to the registries."""
    done = subprocess.run([str(layout.BIN / "crane"), "--insecure", *words], capture_output=True, check=False)
    return done.returncode == 0


def _role(state: str) -> None:
    variables = {
        "registry_state": state,
        "registry_image": images.REGISTRY,
        "registry_namespace": NAMESPACE,
        "registry_name": POD.rpartition("-")[0],
        "registry_storage": "hostPath",
        "registry_storage_path": str(STORAGE),
    }
    role = ["-m", "ansible.builtin.include_role", "-a", "name=k8scr.core.registry"]
    command = ["ansible", "localhost", *role, f"--extra-vars={json.dumps(variables)}"]
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = re.findall(r'"msg": "(.*)"', done.stdout) or done.stderr.strip().splitlines() or ["it said nothing"]
        raise Failed(f"the registry cannot be made {state}: {said[-1]}")


def _open_write_port() -> None:
    """Take away the write path, for the other clients, which cannot send requests below a path."""
    name = POD.rpartition("-")[0]
    workload = f"statefulset/{name}"
    kubectl("set", "env", workload, f"--namespace={NAMESPACE}", "--containers=registry", "REGISTRY_HTTP_PREFIX-")
    kubectl("delete", "secret", f"{name}-write", f"--namespace={NAMESPACE}")
    kubectl("rollout", "status", workload, f"--namespace={NAMESPACE}", "--timeout=120s")


def _processes() -> tuple[int, ...]:
    """The processes of the Pod's containers, as this machine numbers them."""
    uid = kubectl("get", "pod", POD, f"--namespace={NAMESPACE}", "--output=jsonpath={.metadata.uid}")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = f"pod{uid}" in (folder / "cgroup").read_text()
            if inside and b"serve" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tuple(found)
