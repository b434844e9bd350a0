# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_preheat: pulls on all nodes, their failures, cordoned nodes, and the DaemonSet for new nodes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import images
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import preheat
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.nodes import Node
from cluster import image_archive, layout, users
from cluster import images as node_images
from cluster.kubectl import kubectl
from cluster.media_types import INDEX
from cluster.waiting import wait_until

from .conftest import MODULES, Task
from .image_tasks import push_entry
from .mirrored_host import mirrored

RUN_LABEL = "k8scr.core/preheat-run"
NODES = [node.name for node in layout.NODES]
Preheat = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A host whose images the nodes pull from the registry, and from nowhere else."""
    name = "preheat.example.net"
    with mirrored(name):
        for node in layout.NODES:
            path = node.certs_d / name / "hosts.toml"
            text = path.read_text()
            path.write_text(f'server = "{text.split(chr(34))[1]}"\n{text}')
        yield name


@pytest.fixture
def namespace(repository: str) -> Iterator[str]:
    """A namespace for the Pods, with the strictest Pod Security Standard."""
    name = repository.replace("/", "-")
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def push(task: Task, repository: str, host: str) -> Callable[..., str]:
    """Pushes an image to the repository of the test and returns its name for nodes, which have no such image."""

    def run(source: images.Image | str, tag: str = "1", **more: Any) -> str:
        name = f"{host}/{repository}:{tag}"
        result = task("k8scr_push", images=[push_entry(source, repository, name=name, **more)])
        assert not result.get("failed"), result["msg"]
        return name

    return run


@pytest.fixture
def preheat_on(task: Task, namespace: str) -> Preheat:
    """Runs the module in the namespace, and checks that it leaves no Pod."""

    def run(*names: str, **options: Any) -> dict[str, Any]:
        result = task("k8scr_preheat", images=names, namespace=namespace, image=node_images.REGISTRY, **options)
        assert not pods(namespace, RUN_LABEL)
        return result

    return run


def pods(namespace: str, selector: str) -> list[str]:
    """Return the names of the Pods with a label."""
    return kubectl("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=name").split()


def results(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the nodes and the results of a report."""
    return [(row["node"], row["result"]) for row in result["report"]]


def scratch_image(path: Path, name: str) -> str:
    """Write an image that has only a program, and return it as a source.

    Its content differs from the image of the nodes' sandboxes: a kubelet that pulled the same content under another
    name would not use that image in a container.
    """
    image_archive.write(image_archive.Image(name, layout.BIN / "pause", command=[name]), path)
    return f"oci-archive:{path}"


def arm64_only(folder: Path) -> str:
    """Write a layout with an index that has only linux/arm64, and return it as a source."""
    shutil.copytree(images.ensure("multi").layout, folder)
    top = json.loads((folder / "index.json").read_text())
    entry = top["manifests"][0]
    blobs = folder / "blobs/sha256"
    index = json.loads((blobs / entry["digest"].partition(":")[2]).read_text())
    assert index["mediaType"] == INDEX
    index["manifests"] = [part for part in index["manifests"] if part["platform"]["architecture"] == "arm64"]
    content = json.dumps(index).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    entry.update(digest=f"sha256:{digest}", size=len(content))
    top["manifests"] = [entry]
    (folder / "index.json").write_text(json.dumps(top))
    return f"oci:{folder}"


@pytest.mark.parametrize("has_image_volumes", [True, False])
def test_preheat_pulls_image_without_shell_once_on_each_node(
    push: Callable[..., str],
    preheat_on: Preheat,
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_image_volumes: bool,
) -> None:
    if not has_image_volumes:
        from_object = Node.from_object
        monkeypatch.setattr(Node, "from_object", lambda item: replace(from_object(item), has_image_volumes=False))
    image = push(scratch_image(tmp_path / "scratch.tar", f"{host}/scratch:{has_image_volumes}"))

    first, second = preheat_on(image), preheat_on(image)

    assert results(first) == [(name, "pulled") for name in NODES]
    assert all(row["seconds"] > 0 for row in first["report"])
    assert first["changed"]
    assert results(second) == [(name, "present") for name in NODES]
    assert not second["changed"]


def test_preheat_names_reason_of_each_failure_and_pulls_other_images(
    push: Callable[..., str], preheat_on: Preheat, tmp_path: Path
) -> None:
    good = push(images.ensure("busybox"))
    arm64 = push(arm64_only(tmp_path / "arm64"), "arm64")
    missing = good.replace(":1", ":missing")

    result = preheat_on(arm64, missing, good)

    rows = {(row["node"], row["image"]): row for row in result["report"]}
    for name in NODES:
        assert rows[name, good]["result"] == "pulled"
        assert rows[name, missing]["reason"].startswith("the registry does not have the image: ")
        assert rows[name, arm64]["reason"].startswith(
            "the image has no manifest for linux/amd64, the platform of the node: "
        )
        assert f"{missing} on {name}" in result["msg"]
    assert result["failed"]


def test_preheat_fails_image_of_other_platform_without_index_and_creates_no_pod(
    task: Task, push: Callable[..., str], preheat_on: Preheat, namespace: str
) -> None:
    image = push(images.ensure("multi"), platforms=["linux/arm64"])
    stored = task("k8scr_info", images=[image])["images"][0]
    assert stored["media_type"] != INDEX

    result = preheat_on(image, platforms={image: [each["platform"] for each in stored["platforms"]]})

    assert results(result) == [(name, "failed") for name in NODES]
    assert {row["reason"] for row in result["report"]} == {"the image has linux/arm64, the node is linux/amd64"}
    assert not kubectl(
        "get", "events", f"--namespace={namespace}", "--output=name", "--field-selector=involvedObject.kind=Pod"
    )


def test_preheat_reports_registry_that_does_not_respond(preheat_on: Preheat) -> None:
    result = preheat_on("localhost:9/team/api:1", node_selector={"kubernetes.io/hostname": NODES[0]}, timeout=5)

    assert results(result) == [(NODES[0], "failed")]
    assert result["report"][0]["reason"].startswith("the node does not reach the registry at localhost:9: ")


def test_preheat_pulls_on_cordoned_node_and_names_it(push: Callable[..., str], preheat_on: Preheat) -> None:
    image = push(images.ensure("busybox"))
    kubectl("cordon", NODES[1])
    try:
        result = preheat_on(image)
    finally:
        kubectl("uncordon", NODES[1])

    assert [row["reason"] for row in result["report"]] == ["", "the node is cordoned"]
    assert results(result)[1] == (NODES[1], "pulled")


def test_preheat_leaves_out_node_whose_taint_it_does_not_tolerate(
    push: Callable[..., str], preheat_on: Preheat
) -> None:
    image = push(images.ensure("busybox"))
    kubectl("taint", "node", NODES[1], "k8scr.core/test=1:NoSchedule")
    try:
        result = preheat_on(image, tolerations=[])
    finally:
        kubectl("taint", "node", NODES[1], "k8scr.core/test-")

    assert results(result) == [(NODES[0], "pulled")]


def test_preheat_keeps_images_for_new_node_until_it_is_absent(
    push: Callable[..., str], preheat_on: Preheat, namespace: str
) -> None:
    image, node = push(images.ensure("busybox")), layout.NODES[1]
    assert preheat_on(image, keep=True)["changed"]
    selectors = [f"--namespace={namespace}", f"--field-selector=spec.nodeName={node.name}"]
    # A node that joins has neither the Pod nor the image.
    node_images.ctr(node, "images", "remove", "--sync", image)
    kubectl("delete", "pods", *selectors, "--now")
    wait_until(lambda: image in node_images.ctr(node, "images", "list", f"name=={image}"), "the node pulls the image")
    kubectl("rollout", "status", "daemonset/k8scr-preheat", f"--namespace={namespace}", "--timeout=60s")

    again = preheat_on(image, keep=True)
    absent = preheat_on(state="absent")

    assert not again["changed"]
    assert again["diff"] == []
    assert absent["changed"]
    assert not kubectl("get", "daemonsets", f"--namespace={namespace}", "--output=name")
    assert not preheat_on(state="absent")["changed"]


def test_preheat_deletes_its_pods_when_signal_ends_it(namespace: str, tmp_path: Path) -> None:
    options = {
        "kubeconfig": str(layout.KUBECONFIG),
        "images": ["localhost:9/team/api:1"],
        "namespace": namespace,
        "image": node_images.REGISTRY,
    }
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    command = [sys.executable, "-m", f"{MODULES}.k8scr_preheat", str(arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as module:
        wait_until(lambda: len(pods(namespace, RUN_LABEL)) == len(NODES), "the Pods exist")
        module.send_signal(signal.SIGTERM)

    assert module.returncode == -signal.SIGTERM
    wait_until(lambda: not pods(namespace, RUN_LABEL), "the Pods are deleted")


def test_preheat_deletes_pods_of_killed_run(
    preheat_on: Preheat, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preheat, "_LEFTOVER_SECONDS", -3600.0)
    spec = {
        "activeDeadlineSeconds": 1,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "pull", "image": node_images.PAUSE}],
    }
    metadata = {"name": "leftover", "labels": {RUN_LABEL: "killed"}}
    leftover = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce-")
    kubectl("create", f"--namespace={namespace}", "--filename=-", stdin=json.dumps(leftover))

    result = preheat_on(node_images.REGISTRY)

    assert not result["changed"]
    assert not pods(namespace, RUN_LABEL)


def test_preheat_in_check_mode_creates_no_pod(preheat_on: Preheat, namespace: str) -> None:
    result = preheat_on(node_images.PAUSE, check_mode=True, keep=True)

    assert results(result) == [(name, "present") for name in NODES]
    assert result["changed"]
    assert not kubectl("get", "events,daemonsets", f"--namespace={namespace}", "--output=name")


def test_preheat_names_missing_permission(preheat_on: Preheat) -> None:
    result = preheat_on(node_images.PAUSE, kubeconfig=str(users.make("stranger")))

    assert 'User "stranger" cannot list resource "nodes"' in result["msg"]
    assert result["report"] == []
