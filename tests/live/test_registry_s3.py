# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry of two replicas on S3, one of which is lost while it is used."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import components, layout

from .conftest import Task, kubectl
from .registry_role import deploy, deployed
from .s3 import SECRET_KEY, s3

NAMESPACE = "live-s3"
SIZE = 64 << 20
LAYERS = 2
BANDWIDTH = "10M"


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A registry of two replicas on S3: what the role was told."""
    with s3(tmp_path_factory.mktemp("s3")) as storage:
        told = {"registry_namespace": NAMESPACE, "registry_replicas": 2, **storage}
        with deployed(**told):
            yield told


@pytest.fixture(scope="module")
def large() -> images.Image:
    """An image whose transfer, at the bandwidth of these tests, takes a few seconds."""
    return images.ensure_random(SIZE, LAYERS)


def push(task: Task, image: images.Image, repository: str, **options: Any) -> dict[str, Any]:
    source = {"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}
    return task("k8scr_push", namespace=NAMESPACE, images=[source], **options)


def pull(task: Task, repository: str, folder: Path, pod: str) -> dict[str, Any]:
    wanted = {"name": f"docker.io/{repository}:1", "dest": f"oci:{folder}"}
    return task("k8scr_pull", namespace=NAMESPACE, registry=pod, images=[wanted])


def kill(pod: str) -> None:
    """Kill a Pod's processes, as when its node is lost."""
    kubectl("delete", "pod", pod, f"--namespace={NAMESPACE}", "--force", "--grace-period=0")


def later(seconds: float, act: Callable[[], object]) -> threading.Thread:
    """Do something while the test goes on."""
    thread = threading.Timer(seconds, act)
    thread.start()
    return thread


def await_replicas() -> None:
    kubectl("rollout", "status", "statefulset/k8scr", f"--namespace={NAMESPACE}", "--timeout=120s")


@pytest.mark.usefixtures("variables")
def test_each_replica_is_on_another_node_and_one_may_be_drained() -> None:
    pods = json.loads(kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    budget = json.loads(kubectl("get", "poddisruptionbudget", "k8scr", f"--namespace={NAMESPACE}", "--output=json"))

    assert {pod["spec"]["nodeName"] for pod in pods} == {node.name for node in layout.NODES}
    assert budget["status"]["disruptionsAllowed"] == 1


def test_the_key_is_shown_nowhere(variables: dict[str, Any]) -> None:
    changed = {**variables, "registry_s3_access_key": "another"}

    printed = deploy("--check", "--diff", "-vvv", **changed)

    assert "AWS_SECRET_ACCESS_KEY" in printed
    assert SECRET_KEY not in printed


@pytest.mark.usefixtures("variables")
def test_a_replica_serves_what_another_took(task: Task, repository: str, tmp_path: Path) -> None:
    image = images.ensure("busybox")
    push(task, image, repository)

    result = pull(task, repository, tmp_path / "layout", "k8scr-1")

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


@pytest.mark.usefixtures("variables")
def test_a_push_goes_on_after_its_replica_was_killed(
    task: Task, large: images.Image, repository: str, tmp_path: Path
) -> None:
    fault = later(3, lambda: kill("k8scr-0"))

    result = push(task, large, repository, bandwidth=BANDWIDTH)

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert pull(task, repository, tmp_path / "layout", "k8scr-1")["images"][0]["digest"] == large.digest
    await_replicas()


@pytest.mark.usefixtures("variables")
def test_nodes_pull_while_a_replica_is_killed(task: Task, repository: str) -> None:
    push(task, images.ensure("debian"), repository)
    service = kubectl("get", "service", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.clusterIP}")
    end = time.monotonic() + 12
    fault = later(3, lambda: kill("k8scr-0"))

    with ThreadPoolExecutor() as nodes:
        pulled = list(
            nodes.map(lambda node: pulls_until(end, node.name, f"{service}:5001/{repository}:1"), layout.NODES)
        )

    fault.join()
    assert all(pulled)
    await_replicas()


def pulls_until(end: float, node: str, reference: str) -> int:
    """Pull on a node again and again; a pull that breaks off is begun anew, as nodes do. How many there were."""
    command = components.inside(node, str(layout.BIN / "crane"), "validate", "--insecure", "--remote", reference)
    pulled = 0
    while time.monotonic() < end:
        for _attempt in range(3):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        pulled += 1
    return pulled


def test_a_registry_that_moves_to_another_node_keeps_its_images(
    task: Task, repository: str, variables: dict[str, Any]
) -> None:
    image = images.ensure("busybox")
    push(task, image, repository)
    node = kubectl("get", "pod", "k8scr-0", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.nodeName}")
    (other,) = ({node.name for node in layout.NODES}) - {node}

    deploy(**variables, registry_node_selector={"kubernetes.io/hostname": other})

    where = kubectl("get", "pod", "k8scr-0", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.nodeName}")
    assert where == other
    assert not push(task, image, repository)["changed"]
