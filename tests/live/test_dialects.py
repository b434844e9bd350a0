# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and layouts as the tools write them that people have: each is pushed, and is the image that it was made of.

kaniko and bazel's rules_docker write with go-containerregistry's ``tarball`` package, which is what crane uses.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import images
import pytest
from cluster import layout

from .conftest import Task
from .engines import docker_engine, podman_engine
from .host_registries import HostRegistry, host_registry

CRANE = str(layout.BIN / "crane")
NAME = "example.com/team/busybox:1"


@dataclass(frozen=True)
class Kitchen:
    """Where tools find the image that they write, and where to."""

    registry: str
    folder: Path
    image: images.Image

    def run(self, *command: str | Path) -> None:
        """Run a tool."""
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)

    def skopeo(self, destination: str) -> str:
        """Have skopeo write the image."""
        self.run("skopeo", "copy", "--quiet", f"oci:{self.image.layout}", destination)
        return destination

    def crane(self, form: str) -> str:
        """Have crane write the image."""
        reference = f"{self.registry}/team/busybox:1"
        self.run(CRANE, "pull", "--insecure", f"--format={form}", reference, self.folder / form)
        return str(self.folder / form)

    def docker(self) -> str:
        """Have Docker save the image under two names, through gzip."""
        archive = self.folder / "docker.tar"
        with docker_engine() as engine:
            engine.load(self.image.docker_archive, self.image.tag, NAME)
            engine.docker("tag", NAME, f"{NAME}.1")
            engine.docker("save", "--output", archive, NAME, f"{NAME}.1")
        self.run("gzip", archive)
        return f"docker-archive:{archive}.gz:{NAME}"

    def podman(self, form: str) -> str:
        """Have Podman save the image."""
        with podman_engine() as engine:
            engine.load(self.image.docker_archive, self.image.tag, NAME)
            storage = [f"--root={engine.folder}/root", f"--runroot={engine.folder}/run", "--storage-driver=vfs"]
            self.run("podman", *storage, "save", "--quiet", f"--format={form}", "--output", self.folder / form, NAME)
        return str(self.folder / form)


DIALECTS: dict[str, Callable[[Kitchen], str]] = {
    "docker, gzip": Kitchen.docker,
    "podman docker-archive": lambda kitchen: kitchen.podman("docker-archive"),
    "podman oci-archive": lambda kitchen: kitchen.podman("oci-archive"),
    "podman oci-dir": lambda kitchen: kitchen.podman("oci-dir"),
    "skopeo docker-archive": lambda kitchen: kitchen.skopeo(f"docker-archive:{kitchen.folder}/skopeo.tar:{NAME}"),
    "skopeo oci, no name": lambda kitchen: kitchen.skopeo(f"oci:{kitchen.folder}/layout"),
    "crane tarball": lambda kitchen: kitchen.crane("tarball"),
    "crane legacy": lambda kitchen: kitchen.crane("legacy"),
    "crane oci": lambda kitchen: kitchen.crane("oci"),
}
"""How each tool writes the image; how a task means what it has written comes back."""


def diff_ids(reference: str) -> list[str]:
    """The digests of an image's layers as they are unpacked; crane unpacks and compares them."""
    subprocess.run([CRANE, "validate", "--insecure", f"--remote={reference}"], check=True, stdout=subprocess.DEVNULL)
    command = [CRANE, "config", "--insecure", reference]
    config = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found: list[str] = config["rootfs"]["diff_ids"]
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry that tools on this host reach as well."""
    with host_registry("go-containerregistry", tmp_path_factory.mktemp("registry"), "dialects") as registry:
        source = f"oci:{images.ensure('busybox').layout}"
        destination = f"docker://{registry.address}/team/busybox:1"
        command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, destination]
        subprocess.run(command, check=True)
        yield registry


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_tool_writes_is_the_image_in_the_cluster(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, dialect: str
) -> None:
    kitchen = Kitchen(host.address, tmp_path, images.ensure("busybox"))
    wanted = {"source": DIALECTS[dialect](kitchen), "name": f"{repository}:1"}

    pushed = task("k8scr_push", images=[wanted], **host.options)
    again = task("k8scr_push", images=[wanted], **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert not again["changed"], again.get("msg")
    reference = f"{host.address}/{pushed['images'][0]['target']}"
    # Podman writes another config into what it saves for OCI; the layers are the same in all.
    assert diff_ids(reference) == diff_ids(f"{host.address}/team/busybox:1")
