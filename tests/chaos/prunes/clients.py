# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other clients of registries, which verify images while they pull them: containerd and skopeo."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import layout
from cluster.layout import Node

from .pool import HOST

_NAMESPACE = "k8scr-chaos"


@dataclass(frozen=True, order=True)
class Target:
    """An image to pull, by its digest."""

    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


class Containerd:
    """The containerd of a node, with a namespace of its own for the images of the campaign.

    Args:
        node: The node.
        hosts: Folder with containerd's configuration of registries.
    """

    def __init__(self, node: Node, hosts: Path) -> None:
        self.node = node
        self._hosts = hosts
        self._command = [str(layout.BIN / "ctr"), "--address", str(node.containerd_socket), "--namespace", _NAMESPACE]

    def pull(self, target: Target) -> str:
        """Pull an image with all platforms, delete it, and return the problem if the pull failed."""
        name = f"{HOST}/{target}"
        pulled = self._ctr("images", "pull", "--hosts-dir", str(self._hosts), "--all-platforms", name)
        # Without its content, the next pull transfers it again.
        deleted = self._ctr("images", "delete", "--sync", name)
        failed = pulled if pulled.returncode else deleted
        return failed.stderr.strip().rpartition("\n")[2] if failed.returncode else ""

    def clean(self) -> None:
        """Delete the namespace and its images."""
        names = self._ctr("images", "list", "--quiet").stdout.split()
        if names:
            self._ctr("images", "delete", "--sync", *names)
        self._ctr("namespaces", "remove", _NAMESPACE)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False, timeout=120)


def write_hosts(folder: Path, service: str) -> Path:
    """Write containerd's configuration of a mirror for all registries, as on nodes of the cluster.

    Args:
        folder: The folder; it is created.
        service: Address of the registry's Service.
    """
    file = folder / "_default/hosts.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[host."http://{service}"]\n  capabilities = ["pull", "resolve"]\n')
    return folder


def skopeo_problems(address: str, targets: Sequence[Target], folder: Path) -> list[str]:
    """Copy images with skopeo to a folder, with all platforms, and return a line for each problem.

    Args:
        address: Address of the registry.
        targets: The images.
        folder: A folder for the images; it is deleted.
    """
    if not targets:
        return []
    folder.mkdir()
    images: dict[str, list[str]] = {}
    for target in targets:
        images.setdefault(target.repository, []).append(target.digest)
    source = folder / "images.yaml"
    # JSON is YAML.
    source.write_text(json.dumps({address: {"tls-verify": False, "images": images}}))
    command = ["skopeo", "sync", "--all", "--keep-going", "--src=yaml", "--dest=dir", str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    copied = len(list(folder.glob("**/manifest.json")))
    shutil.rmtree(folder)
    problems = [
        f"skopeo: {line}" for line in done.stderr.splitlines() if "level=error" in line or "level=fatal" in line
    ]
    if done.returncode and not problems:
        problems = [f"skopeo: {done.stderr.strip()[-500:]}"]
    if copied < len(targets):
        problems.append(f"skopeo: {copied} of {len(targets)} images were copied")
    return problems
