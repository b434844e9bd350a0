# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker and Podman engines, each with its own storage and socket and without a system service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import newer_debian
from cluster.certificates import CA, Pair, signed
from cluster.waiting import wait_until

DOCKER = "/usr/bin/docker"


class Engine:
    """A running engine.

    Args:
        name: ``docker`` or ``podman``.
        folder: The folder for its storage and its socket. Its path must be short: socket paths have a limit.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.socket = folder / "engine.sock"
        self.host = f"unix://{self.socket}"

    def docker(self, *arguments: str | Path) -> str:
        """Run Docker's client against the engine and return its output."""
        command = [DOCKER, "--host", self.host, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def responds(self) -> bool:
        """Return whether the engine responds."""
        command = [DOCKER, "--host", self.host, "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def load(self, archive: Path, name: str, new_name: str) -> str:
        """Load an archive, add a name to its image, and return the image's ID."""
        self.docker("load", "--quiet", "--input", archive)
        self.docker("tag", name, new_name)
        return self.id_of(new_name)

    def id_of(self, name: str) -> str:
        """Return the ID of an image."""
        return self.docker("image", "inspect", "--format={{.Id}}", name)


@contextmanager
def docker_engine(*options: str) -> Iterator[Engine]:
    """Run a Docker engine of the version in this machine's Debian release until the end of the block.

    Args:
        options: Further options of dockerd.
    """
    with _running_docker("dockerd", "vfs", {}, *options) as engine:
        yield engine


@contextmanager
def newer_docker_engine(containerd: bool = False) -> Iterator[Engine]:
    """Run a Docker engine that saves images as OCI layouts (version 25 and newer) until the end of the block.

    Args:
        containerd: Whether containerd stores the images with their manifests, the default of new installations
            since version 29.
    """
    # The client and containerd come from this machine's Debian release and may be older.
    program = str(newer_debian.program("docker.io"))
    driver = "native" if containerd else "vfs"
    with _running_docker(program, driver, {"containerd-snapshotter": containerd}) as engine:
        yield engine


@contextmanager
def podman_engine() -> Iterator[Engine]:
    """Run a Podman engine until the end of the block."""
    with _folder() as folder:
        command = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver=vfs"]
        command += ["system", "service", "--time=0", f"unix://{folder}/engine.sock"]
        with _running("podman", folder, command) as engine:
            yield engine


def certificates(folder: Path) -> list[str]:
    """Create certificates for an engine and its clients, as ``ca.pem``, ``cert.pem`` and ``key.pem``.

    Returns:
        The options of dockerd to use them and to require client certificates.
    """
    pair = signed(Pair("docker-engine"), "engine", hosts=["127.0.0.1"])
    for file, source in {"ca.pem": CA.certificate, "cert.pem": pair.certificate, "key.pem": pair.key}.items():
        shutil.copy(source, folder / file)
    files = {"tlscacert": CA.certificate, "tlscert": pair.certificate, "tlskey": pair.key}
    return ["--tlsverify", *(f"--{option}={path}" for option, path in files.items())]


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running_docker(program: str, driver: str, features: dict[str, bool], *options: str) -> Iterator[Engine]:
    with _folder() as folder:
        configuration = folder / "daemon.json"
        configuration.write_text(json.dumps({"features": features}))
        command = [program, "--config-file", str(configuration), "--iptables=false", "--ip6tables=false"]
        command += ["--bridge=none", f"--storage-driver={driver}", "--data-root", str(folder / "data")]
        command += ["--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid"), *options]
        with _running("docker", folder, [*command, "-H", f"unix://{folder}/engine.sock"]) as engine:
            yield engine


@contextmanager
def _running(name: str, folder: Path, command: list[str]) -> Iterator[Engine]:
    engine = Engine(name, folder)
    # PATH excludes the cluster's programs: Docker needs the containerd of the same distribution.
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(engine.responds, f"{name} responds")
            yield engine
        finally:
            process.terminate()
