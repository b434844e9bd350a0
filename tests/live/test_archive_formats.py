# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and layouts of common tools: a push uploads the original image from each.

crane uses the ``tarball`` package of go-containerregistry, as do kaniko and bazel's rules_docker.
"""

from __future__ import annotations

import json
import lzma
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import images
import pytest
import zstandard
from cluster import layout

from .conftest import Task
from .engines import docker_engine, podman_engine
from .host_registries import HostRegistry, host_registry
from .image_tasks import push

pytestmark = pytest.mark.concurrent

CRANE = str(layout.BIN / "crane")
NAME = "example.com/team/busybox:1"


@dataclass(frozen=True)
class Writer:
    """Writes an image by various tools and returns the source for a task.

    Attributes:
        registry: The address of a registry that has the image as ``team/busybox:1``.
        folder: The folder to write to.
        image: The image.
    """

    registry: str
    folder: Path
    image: images.Image

    def run(self, *command: str | Path) -> None:
        """Run a tool."""
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)

    def skopeo(self, destination: str) -> str:
        """Write the image by skopeo."""
        self.run("skopeo", "copy", "--quiet", f"oci:{self.image.layout}", destination)
        return destination

    def compressed(self, compress: Callable[[bytes], bytes]) -> str:
        """Write an archive by skopeo and compress it, as the releases of k3s and RKE2 are."""
        path = self.folder / "images.tar"
        self.skopeo(f"docker-archive:{path}:{NAME}")
        path.write_bytes(compress(path.read_bytes()))
        return str(path)

    def crane(self, archive_format: str) -> str:
        """Write the image by crane."""
        reference = f"{self.registry}/team/busybox:1"
        path = self.folder / archive_format
        self.run(CRANE, "pull", "--insecure", f"--format={archive_format}", reference, path)
        return str(path)

    def docker(self) -> str:
        """Save the image under two names by Docker and compress the archive by gzip."""
        archive = self.folder / "docker.tar"
        with docker_engine() as engine:
            engine.load(self.image.docker_archive, self.image.tag, NAME)
            engine.docker("tag", NAME, f"{NAME}.1")
            engine.docker("save", "--output", archive, NAME, f"{NAME}.1")
        self.run("gzip", archive)
        return f"docker-archive:{archive}.gz:{NAME}"

    def podman(self, archive_format: str) -> str:
        """Save the image by Podman."""
        path = self.folder / archive_format
        with podman_engine() as engine:
            engine.load(self.image.docker_archive, self.image.tag, NAME)
            storage = [f"--root={engine.folder}/root", f"--runroot={engine.folder}/run", "--storage-driver=vfs"]
            self.run("podman", *storage, "save", "--quiet", f"--format={archive_format}", f"--output={path}", NAME)
        return str(path)


FORMATS: dict[str, Callable[[Writer], str]] = {
    "docker, gzip": Writer.docker,
    "podman docker-archive": lambda writer: writer.podman("docker-archive"),
    "podman oci-archive": lambda writer: writer.podman("oci-archive"),
    "podman oci-dir": lambda writer: writer.podman("oci-dir"),
    "skopeo docker-archive": lambda writer: writer.skopeo(f"docker-archive:{writer.folder}/skopeo.tar:{NAME}"),
    "skopeo docker-archive, zstd": lambda writer: writer.compressed(zstandard.ZstdCompressor().compress),
    "skopeo docker-archive, xz": lambda writer: writer.compressed(lzma.compress),
    "skopeo oci, no name": lambda writer: writer.skopeo(f"oci:{writer.folder}/layout"),
    "crane tarball": lambda writer: writer.crane("tarball"),
    "crane legacy": lambda writer: writer.crane("legacy"),
    "crane oci": lambda writer: writer.crane("oci"),
}
"""A function for each tool and format that writes the image and returns the source for a task."""


def diff_ids(reference: str) -> list[str]:
    """Return the digests of an image's uncompressed layers, after crane has unpacked and verified them."""
    subprocess.run([CRANE, "validate", "--insecure", f"--remote={reference}"], check=True, stdout=subprocess.DEVNULL)
    command = [CRANE, "config", "--insecure", reference]
    config = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found: list[str] = config["rootfs"]["diff_ids"]
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry with the image, which tools on this machine can reach too."""
    with host_registry("go-containerregistry", tmp_path_factory.mktemp("registry"), "archive-formats") as registry:
        source = f"oci:{images.ensure('busybox').layout}"
        destination = f"docker://{registry.address}/team/busybox:1"
        command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, destination]
        subprocess.run(command, check=True)
        yield registry


@pytest.mark.parametrize("archive_format", FORMATS)
def test_push_uploads_original_image_from_each_format(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, archive_format: str
) -> None:
    source = FORMATS[archive_format](Writer(host.address, tmp_path, images.ensure("busybox")))

    pushed = push(task, source, repository, **host.options)
    again = push(task, source, repository, **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert not again["changed"], again.get("msg")
    reference = f"{host.address}/{pushed['images'][0]['target']}"
    # Podman writes a different config in its OCI formats; the layers are the same in all formats.
    assert diff_ids(reference) == diff_ids(f"{host.address}/team/busybox:1")
