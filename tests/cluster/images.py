# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two images that are imported on every node, because the nodes have no registry to pull them from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import image_archive, layout, packages
from .catalogue import PROGRAMS
from .errors import ClusterError
from .image_archive import Image
from .layout import Node

PAUSE = f"registry.k8s.io/pause:{PROGRAMS['pause'].version}"
REGISTRY = f"docker.io/library/registry:{PROGRAMS['registry'].version}"


def archive_of(program: str) -> Path:
    """Return the path of the OCI archive with the image of this program."""
    return layout.IMAGES / f"{program}.tar"


def import_into(node: Node, programs: dict[str, Path]) -> None:
    """Import the images into the node's containerd if they are missing.

    The image of the registry has a shell, as the official one, which the registry's garbage collection requires.
    """
    shell = packages.path_of("busybox")
    required = (
        Image(PAUSE, programs["pause"]),
        Image(REGISTRY, programs["registry"], command=["serve", "/etc/distribution/config.yml"], shell=shell),
    )
    for image in required:
        archive = archive_of(image.program.name)
        digest = image_archive.write(image, archive)
        if digest not in ctr(node, "images", "list", f"name=={image.reference}"):
            # The label excludes the image from kubelet's garbage collection.
            pinned = "io.cri-containerd.pinned=pinned"
            ctr(node, "images", "import", "--local", "--label", pinned, str(archive))


def ctr(node: Node, *arguments: str) -> str:
    """Run containerd's client for the node, in the containerd namespace of Kubernetes, and return its output."""
    command = [str(layout.BIN / "ctr"), "--address", str(node.containerd_socket)]
    command += ["--namespace", "k8s.io", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"containerd@{node.name} does not respond") from error
    if result.returncode:
        raise ClusterError(f"containerd@{node.name}: {result.stderr.strip()}")
    return result.stdout
