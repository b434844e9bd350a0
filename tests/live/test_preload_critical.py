# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role preload with preload_node_critical: images of a DaemonSet that only one of two nodes has."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import images, layout, nodes
from cluster.catalogue import ARCH
from cluster.image_archive import Image, write
from cluster.kubectl import kubectl
from cluster.waiting import wait_until

NAMESPACE = "live-preload-critical"
SOURCE, TARGET = layout.NODES
DAEMONS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: network, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: network}}}}
  template:
    metadata: {{labels: {{app: network}}}}
    spec:
      priorityClassName: system-node-critical
      terminationGracePeriodSeconds: 0
      containers:
        - {{name: by-tag, image: TAGGED, imagePullPolicy: Never}}
        - {{name: by-digest, image: DIGESTED, imagePullPolicy: Never}}
"""


@dataclass(frozen=True)
class CriticalImage:
    """An image that the source has under both names of the DaemonSet.

    Attributes:
        names: The name with a tag and the name with a digest.
        layer: The digest of its only layer, which no other image has.
    """

    names: tuple[str, str]
    digest: str
    layer: str


@dataclass(frozen=True)
class Run:
    """A run of the role on both nodes: the ended process, and the actions for each image on each node."""

    process: subprocess.CompletedProcess[str]
    actions: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriticalImage]:
    """An image that only the source has, and a DaemonSet that uses it on both nodes."""
    folder = tmp_path_factory.mktemp("critical")
    repository = f"example.com/critical-{secrets.token_hex(6)}"
    program = folder / "network"
    # The random bytes make the layer unique.
    program.write_bytes((layout.BIN / "pause").read_bytes() + secrets.token_bytes(16))
    program.chmod(0o755)
    digest = write(Image(f"{repository}:1", program), folder / "image.tar")
    names = f"{repository}:1", f"{repository}@{digest}"
    try:
        images.ctr(SOURCE, "images", "import", str(folder / "image.tar"))
        images.ctr(SOURCE, "images", "tag", *names)
        manifest = json.loads(images.ctr(SOURCE, "content", "get", digest))
        kubectl("apply", "--filename=-", stdin=DAEMONS.replace("TAGGED", names[0]).replace("DIGESTED", names[1]))
        wait_until(lambda: ready_pods() == [SOURCE.name], "the DaemonSet on one node", 60)
        yield CriticalImage(names, digest, manifest["layers"][0]["digest"])
    finally:
        kubectl("delete", "--ignore-not-found", "--wait=false", f"namespace/{NAMESPACE}")
        for node in layout.NODES:
            remove(node, names)
            # A failed import leaves its archives.
            shutil.rmtree(node.folder / "preload", ignore_errors=True)


@pytest.fixture(scope="module")
def runs(image: CriticalImage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs of the role: in check mode, for the first time, and again."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: run_role(folder, *options) for name, options in {"check": ["--check"], "1": [], "2": []}.items()}


def remove(node: layout.Node, names: tuple[str, ...]) -> None:
    """Remove existing images from a node, with the names that Kubernetes' plugin gave them."""
    listed = images.ctr(node, "images", "list").splitlines()[1:]
    digests = {line.split()[2] for line in listed if line.split()[0] in names}
    found = [line.split()[0] for line in listed if line.split()[2] in digests]
    if found:
        images.ctr(node, "images", "remove", "--sync", *found)


def ready_pods() -> list[str]:
    """Return the nodes on which the Pod of the DaemonSet is ready."""
    pods = json.loads(kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    return sorted(
        pod["spec"]["nodeName"]
        for pod in pods
        if all(status["ready"] for status in pod["status"].get("containerStatuses") or [{"ready": False}])
    )


def run_role(folder: Path, *options: str) -> Run:
    """Run the role on both nodes over SSH."""
    (folder / "inventory.yml").write_text(nodes.inventory())
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_role": {"name": "k8scr.core.preload"}, "vars": {"preload_node_critical": True}},
        {
            "ansible.builtin.copy": {
                "content": "{{ preload_done.images | to_json }}",
                "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "check_mode": False,
            "changed_when": False,
        },
    ]
    play = {"hosts": "nodes", "gather_facts": False, "become": True, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    command = ["ansible-playbook", "-i", str(folder / "inventory.yml"), str(folder / "play.yml"), *options]
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG), "TMPDIR": str(folder)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    actions = {}
    for file in folder.glob("node-*.json"):
        actions[file.stem] = {entry["name"]: entry["action"] for entry in json.loads(file.read_text())}
        file.unlink()
    return Run(process, actions)


def test_preload_in_check_mode_plans_actions_of_next_run(runs: dict[str, Run]) -> None:
    assert runs["check"].process.returncode == 0, runs["check"].process.stdout
    assert runs["check"].actions == runs["1"].actions


def test_preload_imports_image_of_daemon_set_on_node_without_it(image: CriticalImage, runs: dict[str, Run]) -> None:
    assert runs["1"].process.returncode == 0, runs["1"].process.stdout
    actions = {node: [actions.get(name) for name in image.names] for node, actions in runs["1"].actions.items()}
    assert actions == {SOURCE.name: ["pinned", "pinned"], TARGET.name: ["imported", "imported"]}


def test_preload_includes_sandbox_image_and_registry(runs: dict[str, Run]) -> None:
    for actions in runs["1"].actions.values():
        assert {images.PAUSE, images.REGISTRY} <= set(actions)


def test_preloaded_image_has_digest_of_exporting_node(image: CriticalImage, runs: dict[str, Run]) -> None:
    assert runs
    for name in image.names:
        line = images.ctr(TARGET, "images", "list", f'name=="{name}"').splitlines()[1]
        assert image.digest in line
        assert "io.cri-containerd.pinned=pinned" in line


@pytest.mark.usefixtures("runs")
def test_pod_of_daemon_set_starts_with_preloaded_image() -> None:
    wait_until(lambda: len(ready_pods()) == 2, "the DaemonSet on both nodes", 60)


def test_preload_copies_nothing_if_all_nodes_have_images(runs: dict[str, Run]) -> None:
    actions = runs["2"].actions.values()
    assert {action for each in actions for action in each.values()} == {"unchanged"}
    assert "changed=0" in runs["2"].process.stdout
    assert "Create a folder for archives" not in runs["2"].process.stdout


@pytest.mark.usefixtures("runs")
def test_preload_deletes_exported_archives(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not list(Path("/var/tmp").glob("k8scr-*"))  # noqa: S108
    assert not list(tmp_path_factory.getbasetemp().glob("runs*/k8scr-*"))


def test_preload_names_image_whose_layers_were_discarded(
    image: CriticalImage, runs: dict[str, Run], tmp_path: Path
) -> None:
    assert runs
    remove(TARGET, image.names)
    images.ctr(SOURCE, "content", "rm", image.layer)

    done = run_role(tmp_path)

    assert done.process.returncode != 0
    message = (
        f"containerd has discarded layers of {image.names[0]} for linux/{ARCH}, used by DaemonSet {NAMESPACE}/network"
    )
    assert message in done.process.stdout
