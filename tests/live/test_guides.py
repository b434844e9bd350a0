# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files and commands of the guides. Ansible reaches the nodes over SSH, except in the guide on managed clusters.

They run unchanged with three exceptions. The host of the images is one that no node knows, and whose images come from a
registry with TLS and token authentication. The folder of the medium is one of the test. Additional variables add the
nodes' addresses, the kubeconfigs, the upstream registry, and namespaces of the test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
import yaml
from cluster import layout
from cluster.images import REGISTRY, ctr
from cluster.kubectl import kubectl
from cluster.layout import NODES
from images.image import Image
from images.sizes import MIB

from .air_gap import air_gap
from .conftest import Task
from .containerd_copies import containerd_copies
from .guide_machine import NAMES, Machine, image_on
from .guide_pages import GUIDES
from .image_policies import keep_lists_readable
from .upstream_registries import PASSWORD, SecuredRegistry, secured_registry

pytestmark = pytest.mark.own_registries

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
    keep_lists_readable()
    namespace = machine.namespace()
    machine.variables = {
        "registry_image": REGISTRY,
        "registry_namespace": namespace,
        "registry_node_port": NODE_PORT,
        "deliver_upstreams": machine.upstreams,
        "image_policy_name": namespace,
        "image_policy_upstreams": [machine.host],
        "node_mirror_upstreams": [machine.host],
        "node_mirror_namespace": f"{namespace}-nodes",
        "node_mirror_containerd": str(layout.BIN / "containerd"),
    }
    with containerd_copies(namespace) as path:
        machine.variables["node_mirror_containerd_config"] = path
        yield
    kubectl("delete", "pod", "waiter", "--now", "--ignore-not-found")
    policy = ("mutatingadmissionpolicy,mutatingadmissionpolicybinding", namespace)
    kubectl("delete", *policy, "--ignore-not-found")
    for node in NODES:
        pulled = [name for name in ctr(node, "images", "list", "--quiet").split() if f":{NODE_PORT}/" in name]
        if pulled:
            ctr(node, "images", "remove", *pulled)


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
    plan, deliver, apply, describe, no_policy, daemonset, no_daemonset, undo = machine.read(
        "guide_managed_clusters.rst"
    )
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

    machine.run(no_policy)
    namespace = machine.namespaces[0]
    assert namespace not in kubectl("get", "mutatingadmissionpolicies", "--output=name")
    assert machine.run(daemonset)["localhost"]
    assert [name for name in NAMES if name != "registry" and not image_on(NODES[0], machine.image(name))] == []
    assert machine.run(daemonset) == {"localhost": 0}, machine.output
    machine.run(no_daemonset)
    assert [node.name for node in NODES if (node.certs_d / machine.host).exists()] == []

    machine.run(undo)
    assert namespace not in kubectl("get", "namespaces", "--output=name")


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
    # On the first node, the tasks push the new image and pull it on both nodes.
    assert sorted(machine.run(f"{deliver}{delta}").values()) == [0, 2], machine.output
    assert all(image_on(node, names["busybox"]) for node in NODES)
