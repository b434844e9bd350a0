# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two images that every node has from the start, since there is no registry to pull from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import image_archive, layout
from .catalogue import PROGRAMS
from .errors import ClusterError
from .image_archive import Image
from .layout import Node

PAUSE = f"registry.k8s.io/pause:{PROGRAMS['pause'].version}"
REGISTRY = f"docker.io/library/registry:{PROGRAMS['registry'].version}"


def archive_of(program: str) -> Path:
    """Where the image of this program is as an OCI archive."""
    return layout.IMAGES / f"{program}.tar"


def put_into(node: Node, programs: dict[str, Path]) -> None:
    """Put the images into the node's containerd, unless they are there."""
    wanted = (
        Image(PAUSE, programs["pause"]),
        Image(REGISTRY, programs["registry"], command=["serve", "/etc/distribution/config.yml"]),
    )
    for image in wanted:
        archive = archive_of(image.program.name)
        digest = image_archive.write(image, archive)
        if digest not in ctr(node, "images", "list", f"name=={image.reference}"):
            # The label keeps kubelet's garbage collection from taking it.
            pinned = "io.cri-containerd.pinned=pinned"
            ctr(node, "images", "import", "--local", "--label", pinned, str(archive))


def ctr(node: Node, *arguments: str) -> str:
    """Run containerd's client for the node, in the namespace where Kubernetes has its images."""
    command = [str(layout.BIN / "ctr"), "--address", str(node.containerd_socket)]
    command += ["--namespace", "k8s.io", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"containerd@{node.name} does not answer") from error
    if result.returncode:
        raise ClusterError(f"containerd@{node.name}: {result.stderr.strip()}")
    return result.stdout
