# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry of two replicas with S3 storage, and the loss of one replica during transfers."""

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
from cluster.kubectl import kubectl
from cluster.waiting import once

from .conftest import Task
from .image_tasks import pull, push
from .registry_role import deploy, deployed
from .s3 import SECRET_KEY, s3

pytestmark = pytest.mark.own_registries

NAMESPACE = "live-s3"
SIZE = 64 << 20
LAYERS = 2
BANDWIDTH = "10M"


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The role's variables of a deployed registry with two replicas and S3 storage."""
    with s3(tmp_path_factory.mktemp("s3")) as storage:
        role_variables = {"registry_namespace": NAMESPACE, "registry_replicas": 2, **storage}
        with deployed(**role_variables):
            yield role_variables


@pytest.fixture(scope="module")
def large() -> images.Image:
    """An image whose transfer takes a few seconds at the bandwidth of these tests."""
    return images.ensure_random(SIZE, LAYERS)


def kill(pod: str) -> None:
    """Kill a Pod's processes, as the loss of its node would."""
    kubectl("delete", "pod", pod, f"--namespace={NAMESPACE}", "--force", "--grace-period=0")


def later(seconds: float, act: Callable[[], object]) -> threading.Thread:
    """Call a function in the background after some seconds."""
    thread = threading.Timer(seconds, act)
    thread.start()
    return thread


def wait_for_replicas() -> None:
    kubectl("rollout", "status", "statefulset/k8scr", f"--namespace={NAMESPACE}", "--timeout=120s")


@pytest.mark.usefixtures("variables")
def test_replicas_run_on_different_nodes_and_allow_one_disruption() -> None:
    pods = json.loads(kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]

    assert {pod["spec"]["nodeName"] for pod in pods} == {node.name for node in layout.NODES}
    # The cluster updates the status of the budget some time after the Pods are ready.
    allowed = "--for=jsonpath={.status.disruptionsAllowed}=1"
    kubectl("wait", "poddisruptionbudget/k8scr", f"--namespace={NAMESPACE}", allowed, "--timeout=60s")


def test_role_does_not_print_s3_secret_key(variables: dict[str, Any]) -> None:
    changed = {**variables, "registry_s3_access_key": "another"}

    output = deploy("--check", "--diff", "-vvv", **changed)

    assert "AWS_SECRET_ACCESS_KEY" in output
    assert SECRET_KEY not in output


@pytest.mark.usefixtures("variables")
def test_replica_serves_image_pushed_to_other_replica(task: Task, repository: str, tmp_path: Path) -> None:
    image = images.ensure("busybox")
    push(task, image, repository, namespace=NAMESPACE)

    result = pull(task, repository, f"oci:{tmp_path}/layout", namespace=NAMESPACE, registry="k8scr-1")

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


@pytest.mark.usefixtures("variables")
def test_push_resumes_after_kill_of_replica(
    task: Task, large: images.Image, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    fault = once(lambda: sum(transferred) > SIZE // 4, lambda: kill("k8scr-0"))

    pushed = push(task, large, repository, namespace=NAMESPACE, bandwidth=BANDWIDTH, chunk_size="1M")

    fault.join()
    assert pushed["changed"], pushed.get("msg")
    assert pushed["retries"]
    pulled = pull(task, repository, f"oci:{tmp_path}/layout", namespace=NAMESPACE, registry="k8scr-1")
    assert pulled["images"][0]["digest"] == large.digest
    wait_for_replicas()


@pytest.mark.usefixtures("variables")
def test_nodes_pull_during_kill_of_replica(task: Task, repository: str) -> None:
    push(task, images.ensure("debian"), repository, namespace=NAMESPACE)
    service = kubectl("get", "service", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.clusterIP}")
    end = time.monotonic() + 12
    fault = later(3, lambda: kill("k8scr-0"))

    with ThreadPoolExecutor() as nodes:
        pulled = list(
            nodes.map(lambda node: pull_until(end, node.name, f"{service}:5001/{repository}:1"), layout.NODES)
        )

    fault.join()
    assert all(pulled)
    wait_for_replicas()


def pull_until(end: float, node: str, reference: str) -> int:
    """Pull on a node repeatedly and return how many pulls succeeded. Like nodes, retry failed pulls."""
    command = components.inside(node, str(layout.BIN / "crane"), "validate", "--insecure", "--remote", reference)
    pulled = 0
    while time.monotonic() < end:
        deadline = time.monotonic() + 30
        while (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
            assert time.monotonic() < deadline, done.stderr
            time.sleep(1)
        pulled += 1
    return pulled


def test_registry_keeps_images_after_move_to_other_node(task: Task, repository: str, variables: dict[str, Any]) -> None:
    image = images.ensure("busybox")
    push(task, image, repository, namespace=NAMESPACE)
    node = kubectl("get", "pod", "k8scr-0", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.nodeName}")
    (other,) = ({node.name for node in layout.NODES}) - {node}

    deploy(**variables, registry_node_selector={"kubernetes.io/hostname": other})

    moved_to = kubectl("get", "pod", "k8scr-0", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.nodeName}")
    assert moved_to == other
    assert not push(task, image, repository, namespace=NAMESPACE)["changed"]
