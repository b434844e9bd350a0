# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files and commands of the guides, run on nodes that Ansible reaches over SSH.

They run unchanged with three exceptions. The host of the images is one that no node knows, and whose images come from a
registry with TLS and token authentication. The folder of the medium is one of the test. Additional variables add the
nodes' addresses, the kubeconfigs, the upstream registry, and namespaces of the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import layout, nodes
from cluster.components import SYSTEM_PATH
from cluster.images import REGISTRY, ctr
from cluster.kubectl import kubectl
from cluster.layout import NODES, Node
from images.image import Image
from images.sizes import MIB

from .air_gap import air_gap, write_kubeconfig
from .conftest import Task
from .guide_pages import GUIDES, read_guide, run_command
from .upstream_registries import PASSWORD, SecuredRegistry, secured_registry

pytestmark = pytest.mark.own_registries

NAMES = {"registry": "library/registry:3.1.2", "busybox": "library/busybox:1.36", "multi": "team/waiter:1.2.3"}
MEDIUM = "/media/app"
NODE_PORT = 30504


@pytest.fixture(scope="module")
def originals() -> dict[str, Image]:
    """The images in the guides."""
    return {name: images.ensure(name) for name in NAMES}


@pytest.fixture(scope="module")
def upstream(originals: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRegistry]:
    """The registry that serves the images of docker.io in the guides."""
    with secured_registry("distribution-3", tmp_path_factory.mktemp("upstream")) as registry:
        for name, repository in NAMES.items():
            registry.fill(originals[name].reference("oci"), repository)
        yield registry


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


@pytest.fixture
def machine(tmp_path: Path, upstream: SecuredRegistry) -> Iterator[Machine]:
    """A machine with an empty working directory, and nodes without its images."""
    machine = Machine(tmp_path, upstream)
    try:
        yield machine
    finally:
        machine.clean()


@pytest.fixture
def managed_cluster(machine: Machine) -> Iterator[None]:
    """Variables of the machine for a registry with a node port, and a policy that only rewrites the test's images."""
    namespace = machine.namespace()
    machine.variables = {
        "registry_image": REGISTRY,
        "registry_namespace": namespace,
        "registry_node_port": NODE_PORT,
        "deliver_upstreams": machine.upstreams,
        "image_policy_name": namespace,
        "image_policy_upstreams": [machine.host],
    }
    yield
    kubectl("delete", "pod", "waiter", "--now", "--ignore-not-found")
    policy = ("mutatingadmissionpolicy,mutatingadmissionpolicybinding", namespace)
    kubectl("delete", *policy, "--ignore-not-found")
    for node in NODES:
        pulled = [name for name in ctr(node, "images", "list", "--quiet").split() if f":{NODE_PORT}/" in name]
        if pulled:
            ctr(node, "images", "remove", *pulled)


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


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball of this collection."""
    folder = tmp_path_factory.mktemp("tarball")
    build = ["ansible-galaxy", "collection", "build", str(GUIDES.parents[2]), "--output-path", str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    (tarball,) = folder.glob("k8scr-core-*.tar.gz")
    return tarball


def test_air_gap_guide_delivers_and_removes_images(
    machine: Machine,
    originals: dict[str, Image],
    upstream: SecuredRegistry,
    tarball: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    medium = tmp_path_factory.mktemp("media") / "app"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    replaced = {MEDIUM: str(medium), '"3.13"': f'"{python}"'}
    commands = machine.read("guide_air_gap.rst", replaced)
    fill, venv, activate, install, galaxy, plan, deliver, apply, remove = commands
    shutil.copy(tarball, machine.folder)
    assert machine.run(fill) == {"localhost": 1}
    assert machine.run(fill) == {"localhost": 0}, machine.output
    check_sums(medium)
    assert_public(medium, upstream.address, str(tmp_path), PASSWORD)

    with air_gap() as inside:
        machine.move(tmp_path_factory.mktemp("far"), inside)
        namespace = machine.namespace()
        machine.write_inventory({"registry_namespace": namespace}, {"node-1": (1, {}), "node-2": (2, {})})
        machine.run(f"curl --max-time 5 --insecure https://{upstream.address}/v2/", fails=True)
        for command in (venv, activate, install, galaxy):
            machine.run(command)

        planned = machine.run(plan)
        delivered = machine.run(deliver)

        assert all(planned.values())
        assert all(delivered.values())
        for node in NODES:
            assert "io.cri-containerd.pinned=pinned" in image_on(node, machine.image("registry"))
            assert originals["multi"].digest in image_on(node, machine.image("multi"))
            assert image_on(node, machine.image("busybox"))

        try:
            machine.run(apply)
            assert "Running" in kubectl("get", "pod", "waiter")
        finally:
            kubectl("delete", "pod", "waiter", "--now", "--ignore-not-found")

        # The volume is deleted with the Pod; the same command restores the images.
        kubectl("delete", "pod", "k8scr-0", f"--namespace={namespace}", "--now")
        assert sorted(machine.run(deliver).values()) == [0, 1], machine.output

        machine.run(remove)
    assert namespace not in kubectl("get", "namespaces")
    for node in NODES:
        assert not image_on(node, machine.image("registry"))
        assert not (node.certs_d / machine.host).exists()


def check_sums(bundle: Path) -> None:
    """Check the files of a bundle by ``sha256sum``, and that there are no others."""
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    listed = {line.partition("  ")[2] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert found == {*listed, "SHA256SUMS"}


def assert_public(bundle: Path, *hidden: str) -> None:
    """Assert that the files of a bundle, except other people's wheels, do not contain texts."""
    for path in bundle.rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            content = path.read_bytes()
            # Programs in images contain most words.
            texts = [text for text in hidden if len(text) > len(PASSWORD) or content[:1] in b"{[#"]
            assert not [text for text in texts if text.encode() in content], path


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


def test_bastion_guide_delivers_images(machine: Machine) -> None:
    save, deliver = machine.read("guide_bastion.rst")
    variables = {"registry_namespace": machine.namespace(), "deliver_upstreams": machine.upstreams}
    machine.write_inventory(variables, {"node-1": (1, {}), "node-2": (2, {})})
    machine.run(save)

    assert all(machine.run(deliver).values())
    assert set(machine.run(deliver).values()) == {0}, machine.output


def test_managed_clusters_guide_delivers_without_access_to_nodes(
    machine: Machine, managed_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{layout.BIN}:{os.environ['PATH']}")
    plan, deliver, apply, describe, _daemonset, undo = machine.read("guide_managed_clusters.rst")
    names = {name: f"localhost:{NODE_PORT}/{NAMES[name]}" for name in ("busybox", "multi")}

    planned = machine.run(plan)
    assert planned["localhost"]
    assert machine.run(deliver)["localhost"]
    assert machine.run(deliver) == {"localhost": 0}, machine.output

    assert [name for name in names.values() for node in NODES if not image_on(node, name)] == []
    machine.run(apply)
    machine.run(describe)
    assert f"original-image.k8scr.core/waiter: {machine.image('multi')}" in machine.output
    assert re.search(rf"Image: +{names['multi']}\n", machine.output)

    machine.run(undo)
    assert machine.namespaces[0] not in kubectl("get", "namespaces,mutatingadmissionpolicies", "--output=name")


def test_deliver_playbook_delivers_volumes_and_delta(
    machine: Machine, originals: dict[str, Image], task: Task, tmp_path: Path
) -> None:
    names = {name: machine.image(name) for name in NAMES}
    sources = {name: {"source": image.reference("oci"), "name": names[name]} for name, image in originals.items()}
    large = {"source": images.ensure_random(24 * MIB, 1).reference("oci"), "name": f"{machine.host}/team/large:1"}
    registry = f"oci:{machine.folder}/layout"
    bundle = {"registry_image": {"source": registry, "name": names["registry"]}, "upstreams": machine.upstreams}
    volumes, delta = tmp_path / "volumes", tmp_path / "delta"
    medium = {"dest": str(volumes), "images": [sources["busybox"], large], "volumes": {"size": "20M"}}
    update = {"dest": str(delta), "images": [sources["busybox"], sources["multi"]], "since": str(volumes)}
    first, second = (task("k8scr_bundle", **bundle, **options) for options in (medium, update))
    assert len(first["volumes"]) > 1, first
    assert [image.get("left_out") for image in second["images"]][:2] == [True, None], second
    variables = {"registry_namespace": machine.namespace(), "node_mirror_fallback": False}
    check = [{"image": names["busybox"], "args": ["true"]}]
    machine.write_inventory({**variables, "deliver_check": check}, {"node-1": (1, {}), "node-2": (2, {})})
    deliver = "ansible-playbook -i machine.yml k8scr.core.deliver -e deliver_bundle="
    (damaged,) = volumes.glob("*/registry.tar")
    content = damaged.read_bytes()

    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    machine.run(f"{deliver}{volumes}", fails=True)
    assert "registry.tar on volume" in machine.output
    damaged.write_bytes(content)

    assert all(machine.run(f"{deliver}{volumes}").values())
    assert set(machine.run(f"{deliver}{volumes}").values()) == {0}, machine.output
    assert sorted(machine.run(f"{deliver}{delta}").values()) == [0, 1], machine.output
    assert all(image_on(node, names["busybox"]) for node in NODES)
