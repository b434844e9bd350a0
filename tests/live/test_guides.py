# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories and commands of the guides, run on nodes that Ansible reaches over SSH.

They run unchanged with two exceptions. The host of the images is one that no node knows. A second inventory adds the
nodes' addresses, the kubeconfigs, and namespaces of the test.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import layout, nodes
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.layout import NODES, Node
from images.image import Image

from .guide_pages import read_guide, run_command
from .host_registries import HostRegistry
from .upstream_registries import upstream_registry

NAMES = {"registry": "library/registry:3.1.2", "busybox": "library/busybox:1.36", "multi": "team/waiter:1.2.3"}


@pytest.fixture(scope="module")
def originals() -> dict[str, Image]:
    """The images in the guides."""
    return {name: images.ensure(name) for name in NAMES}


@pytest.fixture(scope="module")
def upstream(originals: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """The registry that serves the images of docker.io in the guides."""
    with upstream_registry("distribution-3", tmp_path_factory.mktemp("upstream")) as registry:
        for name, repository in NAMES.items():
            source = originals[name].reference("oci")
            copy = ["skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false"]
            subprocess.run(
                [*copy, source, f"docker://{registry.address}/{repository}"], check=True, capture_output=True
            )
        yield registry


class Machine:
    """The machine on which a user follows a guide.

    Args:
        folder: The working directory.
        upstream: The registry that serves the images of docker.io.
    """

    def __init__(self, folder: Path, upstream: HostRegistry) -> None:
        self.folder = folder
        self.host = f"{secrets.token_hex(6)}.example.net"
        self.namespaces: list[str] = []
        self.output = ""
        configuration = folder / ".config/containers/registries.conf"
        configuration.parent.mkdir(parents=True)
        # Kubelets record the names of pulled images and pull an image again under a new name, so the image must be new.
        original = f"{upstream.address}/{NAMES['registry']}"
        mutate = [str(layout.BIN / "crane"), "mutate", original, f"--label=for={self.host}", f"--tag={original}"]
        subprocess.run(mutate, check=True, capture_output=True)
        configuration.write_text(
            f'[[registry]]\nprefix = "{self.host}"\nlocation = "{upstream.address}"\ninsecure = true\n'
        )

    def image(self, name: str) -> str:
        """Return an image's name on this machine."""
        return f"{self.host}/{NAMES[name]}"

    def namespace(self) -> str:
        """Return a new namespace for a registry."""
        self.namespaces.append(f"guide-{secrets.token_hex(4)}")
        return self.namespaces[-1]

    def read(self, guide: str) -> list[str]:
        """Write the files of a guide, with this machine's host of images, and return the guide's commands."""
        page = read_guide(guide, {"docker.io": self.host})
        for name, text in page.files.items():
            (self.folder / name).write_text(text)
        return page.commands

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
        done = run_command(command, self.folder, layout.KUBECONFIG, ["-i", "machine.yml"], fails)
        self.output = done.output
        return done.changes

    def clean(self) -> None:
        """Remove the namespaces, and the images and files on the nodes."""
        for namespace in self.namespaces:
            kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        for node in NODES:
            shutil.rmtree(node.certs_d / self.host, ignore_errors=True)
            names = [name for name in ctr(node, "images", "list", "--quiet").split() if name.startswith(self.host)]
            if names:
                ctr(node, "images", "remove", *names)


@pytest.fixture
def machine(tmp_path: Path, upstream: HostRegistry) -> Iterator[Machine]:
    """A machine with an empty working directory, and nodes without its images."""
    machine = Machine(tmp_path, upstream)
    try:
        yield machine
    finally:
        machine.clean()


def image_on(node: Node, name: str) -> str:
    """Return the line of an image in the list of the node's containerd, or an empty string."""
    _header, _newline, line = ctr(node, "images", "list", f"name=={name}").partition("\n")
    return line


def test_air_gap_guide_delivers_and_removes_images(machine: Machine, originals: dict[str, Image]) -> None:
    *copy, plan, deliver, remove = machine.read("guide_air_gap.rst")
    namespace = machine.namespace()
    machine.write_inventory({"registry_namespace": namespace}, {"node-1": (1, {}), "node-2": (2, {})})
    for command in copy:
        machine.run(command)

    planned = machine.run(plan)
    delivered = machine.run(deliver)

    assert all(planned.values())
    assert all(delivered.values())
    for node in NODES:
        assert "io.cri-containerd.pinned=pinned" in image_on(node, machine.image("registry"))
        assert originals["multi"].digest in image_on(node, machine.image("multi"))
        assert image_on(node, machine.image("busybox"))

    # The volume is deleted with the Pod; the same command restores the images.
    kubectl("delete", "pod", "k8scr-0", f"--namespace={namespace}", "--now")
    assert sorted(machine.run(deliver).values()) == [0, 1], machine.output

    machine.run(remove)
    assert namespace not in kubectl("get", "namespaces")
    for node in NODES:
        assert not image_on(node, machine.image("registry"))
        assert not (node.certs_d / machine.host).exists()


def test_many_clusters_guide_delivers_despite_unreachable_cluster(machine: Machine) -> None:
    (deliver,) = machine.read("guide_many_clusters.rst")
    app = machine.folder / "app"
    app.mkdir()
    for name in ("registry", "busybox"):
        image = machine.image(name)
        machine.run(f"skopeo copy docker://{image} oci-archive:{app}/{name}.tar:{image}")
    shutil.copy(layout.KUBECONFIG, machine.folder / "paris.kubeconfig")
    kubeconfig = yaml.safe_load(layout.KUBECONFIG.read_text())
    kubeconfig["contexts"][0]["name"] = "oslo"
    del kubeconfig["current-context"]
    (machine.folder / "north.kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    namespaces = {host: {"registry_namespace": machine.namespace()} for host in ("paris-1", "oslo-1", "rome-1")}
    unreachable = {**namespaces["rome-1"], "deliver_kubeconfig": str(machine.folder / "none"), "deliver_registry": ""}
    hosts = {"paris-1": (1, namespaces["paris-1"]), "oslo-1": (2, namespaces["oslo-1"]), "rome-1": (2, unreachable)}
    machine.write_inventory({}, hosts)

    delivered = machine.run(deliver, fails=True)

    assert list(delivered) == ["oslo-1", "paris-1"], machine.output
    assert all(delivered.values())
    assert machine.run(deliver, fails=True) == {"oslo-1": 0, "paris-1": 0}, machine.output


def test_bastion_guide_delivers_images(machine: Machine, upstream: HostRegistry) -> None:
    copy, deliver = machine.read("guide_bastion.rst")
    upstreams = [{"host": machine.host, "mirrors": [upstream.address]}, {"host": upstream.address, "plain_http": True}]
    variables = {"registry_namespace": machine.namespace(), "deliver_upstreams": upstreams}
    machine.write_inventory(variables, {"node-1": (1, {}), "node-2": (2, {})})
    machine.run(copy)

    assert all(machine.run(deliver).values())
    assert set(machine.run(deliver).values()) == {0}, machine.output
