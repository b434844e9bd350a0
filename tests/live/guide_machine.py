# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine on which a user follows a guide, with an upstream registry in place of docker.io."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import images
import yaml
from cluster import layout, nodes
from cluster.components import SYSTEM_PATH
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.layout import NODES, Node

from .air_gap import write_kubeconfig
from .guide_pages import read_guide, run_command
from .upstream_registries import SecuredRegistry

NAMES = {"registry": "library/registry:3.1.2", "busybox": "library/busybox:1.36", "multi": "team/waiter:1.2.3"}
"""The repositories and tags of the images in the guides, by the names of the test images."""


class Machine:
    """The machine on which a user follows a guide.

    Args:
        folder: The working directory.
        upstream: The registry that serves the images of docker.io.
    """

    def __init__(self, folder: Path, upstream: SecuredRegistry) -> None:
        self.folder = folder
        self.host = f"{secrets.token_hex(6)}.example.net"
        self.namespaces: list[str] = []
        self.output = ""
        self.variables: dict[str, Any] = {}
        self.upstreams = [{"host": self.host, "mirrors": [upstream.address]}, upstream.upstream]
        self._files: Mapping[str, str] = {}
        self._kubeconfig = layout.KUBECONFIG
        self._inside: Sequence[str] = ()
        self._variables: dict[str, str] | None = None
        upstream.log_in(folder)
        # Kubelets record the names of pulled images and pull an image again under a new name, so the image must be new.
        registry = with_label(images.ensure("registry").layout, folder / "layout", self.host)
        upstream.fill(registry, NAMES["registry"])
        (folder / ".config/containers/registries.conf").write_text(
            f'[[registry]]\nprefix = "{self.host}"\nlocation = "{upstream.address}"\n'
        )

    def image(self, name: str) -> str:
        """Return an image's name on this machine."""
        return f"{self.host}/{NAMES[name]}"

    def namespace(self) -> str:
        """Return a new namespace for a registry."""
        self.namespaces.append(f"guide-{secrets.token_hex(4)}")
        return self.namespaces[-1]

    def read(self, guide: str, replaced: Mapping[str, str] | None = None) -> list[str]:
        """Write the files of a guide, with this machine's host of images, and return the guide's commands."""
        page = read_guide(guide, {"docker.io": self.host, **(replaced or {})})
        self._files = page.files
        self._write_files()
        return page.commands

    def move(self, folder: Path, inside: Sequence[str]) -> None:
        """Continue on another machine, with nothing but the files of the guide and a Python without libraries.

        Args:
            folder: The working directory there.
            inside: The command that runs another command in the network of that machine.
        """
        self.folder, self._inside = folder, inside
        self._kubeconfig = folder / "kubeconfig"
        self._variables = {"PATH": f"{sys.base_prefix}/bin:{SYSTEM_PATH}", "LC_ALL": "C.UTF-8"}
        write_kubeconfig(self._kubeconfig)
        self._write_files()

    def write_inventory(self, variables: Mapping[str, Any], hosts: Mapping[str, tuple[int, Mapping[str, Any]]]) -> None:
        """Write the second inventory, with variables that differ from the guide.

        Args:
            variables: Variables of all nodes.
            hosts: The number of each host's node in the test cluster, and the host's variables.
        """
        cluster = yaml.safe_load(nodes.inventory())["nodes"]
        common = {name: value for name, value in cluster["vars"].items() if name.startswith("ansible_")}
        host_vars: dict[str, Any] = {}
        for host, (number, more) in hosts.items():
            node = NODES[number - 1].name
            staging = {"preload_staging": str(self.folder / f"staging-{host}"), "deliver_node_name": node}
            host_vars[host] = {**cluster["hosts"][node], **staging, **more}
        group_vars = {**common, "node_mirror_upstreams": [self.host], **variables}
        (self.folder / "machine.yml").write_text(yaml.safe_dump({"nodes": {"hosts": host_vars, "vars": group_vars}}))

    def run(self, command: str, fails: bool = False) -> dict[str, int]:
        """Run a command and return the number of changes on each host without failures.

        Args:
            command: The command, as in the guide.
            fails: Whether the command must fail.
        """
        if command.startswith(". "):
            self._activate(self.folder / command[2:])
            return {}
        options = [f"--extra-vars={json.dumps(self.variables)}"] if self.variables else []
        if "-i inventory.yml" in command:
            options += ["-i", "machine.yml"]
        done = run_command(
            *(command, self.folder, self._kubeconfig, options, fails), inside=self._inside, variables=self._variables
        )
        self.output = done.output
        return done.changes

    def _activate(self, script: Path) -> None:
        """Do what the script of a virtual environment does that commands need."""
        assert script.is_file()
        assert self._variables is not None
        self._variables["PATH"] = f"{script.parent}:{self._variables['PATH']}"

    def _write_files(self) -> None:
        for name, text in self._files.items():
            content = yaml.safe_load(text)
            if isinstance(content, list):
                for play in content:
                    play["module_defaults"] = {"k8scr.core.k8scr_bundle": {"upstreams": self.upstreams}}
            (self.folder / name).write_text(yaml.safe_dump(content))

    def clean(self) -> None:
        """Remove the namespaces, and the images and files on the nodes."""
        for namespace in self.namespaces:
            kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        for node in NODES:
            shutil.rmtree(node.certs_d / self.host, ignore_errors=True)
            names = [name for name in ctr(node, "images", "list", "--quiet").split() if name.startswith(self.host)]
            if names:
                ctr(node, "images", "remove", *names)


def with_label(layout: Path, folder: Path, label: str) -> str:
    """Copy an OCI layout of one image, add a label to the image, and return it as a source of skopeo."""
    shutil.copytree(layout, folder)
    index = json.loads((folder / "index.json").read_text())
    (entry,) = index["manifests"]
    manifest = json.loads(_blob(folder, entry["digest"]).read_text())
    config = json.loads(_blob(folder, manifest["config"]["digest"]).read_text())
    config.setdefault("config", {}).setdefault("Labels", {})["for"] = label
    for descriptor, content in ((manifest["config"], config), (entry, manifest)):
        written = json.dumps(content).encode()
        descriptor.update(digest=f"sha256:{hashlib.sha256(written).hexdigest()}", size=len(written))
        _blob(folder, descriptor["digest"]).write_bytes(written)
    (folder / "index.json").write_text(json.dumps(index))
    return f"oci:{folder}:{entry['annotations']['org.opencontainers.image.ref.name']}"


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def image_on(node: Node, name: str) -> str:
    """Return the line of an image in the list of the node's containerd, or an empty string."""
    _header, _newline, line = ctr(node, "images", "list", f"name=={name}").partition("\n")
    return line
