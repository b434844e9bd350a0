# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``usage`` of k8scr_info: workloads on the cluster, running images, and users who may not list a kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, layout, users
from cluster.kubectl import kubectl
from cluster.pods import wait_until_ready
from cluster.waiting import wait_until

from .conftest import Task
from .image_tasks import push_entry
from .mirrored_host import mirrored

KINDS = ("pods", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs")


@pytest.fixture
def host(repository: str) -> Iterator[str]:
    """A host whose images the nodes pull from the registry."""
    name = f"{repository.rpartition('/')[2]}.example.net"
    with mirrored(name):
        yield name


@pytest.fixture
def push(task: Task, repository: str, host: str) -> Callable[..., str]:
    """Pushes a small image to a repository below that of the test, and returns its name for workloads."""

    def run(part: str, tag: str = "1", source: str = "busybox") -> str:
        name = f"{host}/{repository}/{part}:{tag}"
        result = task("k8scr_push", images=[push_entry(images.ensure(source), repository, name=name)])
        assert not result.get("failed"), result["msg"]
        return name

    return run


@pytest.fixture
def workload(repository: str) -> Iterator[str]:
    """The name of workloads in the namespace ``default``; they are deleted after the test."""
    name = f"usage-{repository.rpartition('/')[2]}"
    yield name
    for node in layout.NODES:
        (node.static_pods / f"{name}.json").unlink(missing_ok=True)
    kubectl("delete", "deployments,cronjobs,pods", f"--selector=usage={name}", "--now", "--wait=false")


def definition(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> str:
    """Return the manifest of a workload."""
    metadata = {"name": name, "namespace": "default", "labels": {"usage": name}}
    return json.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})


def pod_spec(image: str, **fields: Any) -> dict[str, Any]:
    """Return the spec of a Pod that runs until it is deleted."""
    container = {"name": "main", "image": image, "command": ["sleep", "86400"], **fields.pop("container", {})}
    return {"containers": [container], "terminationGracePeriodSeconds": 0, **fields}


def template(name: str, image: str) -> dict[str, Any]:
    """Return a template of Pods with the label of their workload."""
    return {"metadata": {"labels": {"usage": name}}, "spec": pod_spec(image)}


def info(task: Task, repository: str, **options: Any) -> dict[str, Any]:
    """Return the result of k8scr_info for the repositories of the test."""
    result = task("k8scr_info", repositories=[f"{repository}/*"], usage=True, **options)
    assert not result.get("failed"), result["msg"]
    assert not result["changed"]
    return result


def users_of(result: dict[str, Any], workload: str) -> dict[str, set[tuple[str, bool]]]:
    """Return the kinds of the test's workloads that use each image, by the last part of the image's name.

    Other Pods of the cluster may run the same content under names that the registry does not have.
    """
    return {
        image["name"].rpartition("/")[2]: {
            (user["kind"], user["rollback"]) for user in image["used_by"] if user["name"].startswith(workload)
        }
        for image in result["images"]
    }


def test_info_names_workloads_of_deployment_and_its_rollback(
    task: Task, repository: str, workload: str, push: Callable[..., str]
) -> None:
    old, new = push("deployment", "1"), push("deployment", "2", "multi")
    spec = {"replicas": 1, "selector": {"matchLabels": {"usage": workload}}, "template": template(workload, old)}
    kubectl("apply", "--filename=-", stdin=definition("apps/v1", "Deployment", workload, spec))
    kubectl("rollout", "status", f"deployment/{workload}", "--timeout=60s")
    kubectl("set", "image", f"deployment/{workload}", f"main={new}")
    kubectl("scale", f"deployment/{workload}", "--replicas=0")
    wait_until(
        lambda: "sleep" not in kubectl("get", "pods", f"--selector=usage={workload}", "--output=json"),
        "the Pods of the Deployment are deleted",
    )

    found = users_of(info(task, repository), workload)

    assert found["deployment:1"] == {("ReplicaSet", True)}
    assert found["deployment:2"] >= {("Deployment", False)}


def test_info_names_cron_job_between_its_runs(
    task: Task, repository: str, workload: str, push: Callable[..., str]
) -> None:
    job = {"template": {"spec": {**pod_spec(push("cron-job")), "restartPolicy": "Never"}}}
    spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": job}}
    kubectl("apply", "--filename=-", stdin=definition("batch/v1", "CronJob", workload, spec))

    assert users_of(info(task, repository), workload) == {"cron-job:1": {("CronJob", False)}}


def test_info_names_pod_with_image_volume(task: Task, repository: str, workload: str, push: Callable[..., str]) -> None:
    volume = {"name": "model", "image": {"reference": push("volume", source="multi"), "pullPolicy": "Always"}}
    container = {"volumeMounts": [{"name": "model", "mountPath": "/model"}]}
    spec = pod_spec(push("main"), volumes=[volume], container=container)
    kubectl("apply", "--filename=-", stdin=definition("v1", "Pod", workload, spec))
    wait_until_ready(workload)

    assert users_of(info(task, repository), workload) == {
        "main:1": {("Pod", False)},
        "volume:1": {("Pod", False)},
    }


def test_info_names_static_pod(task: Task, repository: str, workload: str, push: Callable[..., str]) -> None:
    node = layout.NODES[0]
    manifest = definition("v1", "Pod", workload, pod_spec(push("static")))
    (node.static_pods / f"{workload}.json").write_text(manifest)
    mirror = f"{workload}-{node.name}"
    wait_until(lambda: mirror in kubectl("get", "pods", "--output=name"), "kubelet shows its static Pod")

    (image,) = info(task, repository)["images"]

    assert {"kind": "Pod", "namespace": "default", "name": mirror, "rollback": False} in image["used_by"]


def test_info_lists_running_image_whose_tag_was_moved(
    task: Task, repository: str, workload: str, push: Callable[..., str]
) -> None:
    name = push("moved")
    kubectl("apply", "--filename=-", stdin=definition("v1", "Pod", workload, pod_spec(name)))
    wait_until_ready(workload)
    push("moved", source="multi")

    result = info(task, repository)

    digest = images.ensure("busybox").digest
    assert users_of(result, workload) == {
        "moved:1": {("Pod", False)},
        f"moved@{digest}": {("Pod", False)},
    }
    assert result["unused"] == []


def test_info_returns_missing_and_unused_images(
    task: Task, repository: str, workload: str, push: Callable[..., str]
) -> None:
    unused = push("unused", source="layers")
    missing = unused.replace("unused:1", "missing:1")
    kubectl("apply", "--filename=-", stdin=definition("v1", "Pod", workload, pod_spec(missing)))

    result = info(task, repository)

    assert [entry["repository"] for entry in result["unused"]] == [f"{repository}/unused"]
    (entry,) = result["missing"]
    assert (entry["name"], entry["repository"]) == (missing, f"{repository}/missing")
    assert [user["name"] for user in entry["used_by"]] == [workload]
    assert result["unseen"] == []


@pytest.fixture
def auditor() -> Iterator[Path]:
    """A user who may pull, and list all kinds of workloads but CronJobs."""
    kinds = ",".join(kind for kind in KINDS if kind != "cronjobs")
    role = ("clusterrole", "auditor", "--verb=list", f"--resource={kinds}")
    bindings = (
        ("clusterrolebinding", "auditor", "--clusterrole=auditor", "--user=auditor"),
        ("rolebinding", "auditor", "--role=k8scr-pull", "--user=auditor", "--namespace=k8scr"),
    )
    for arguments in (role, *bindings):
        text = kubectl("create", *arguments, "--dry-run=client", "--output=yaml")
        kubectl("apply", "--filename=-", stdin=text)
    users.wait_for_permission("auditor", "k8scr")
    wait_until(
        lambda: "daemonsets.apps" in kubectl("auth", "can-i", "--list", "--as=auditor"),
        "the auditor may list workloads",
    )
    yield users.make("auditor")
    kubectl("delete", "clusterrole/auditor", "clusterrolebinding/auditor")
    kubectl("delete", "rolebinding/auditor", "--namespace=k8scr")


def test_info_claims_no_image_unused_if_user_may_not_list_a_kind(
    task: Task, repository: str, workload: str, push: Callable[..., str], auditor: Path
) -> None:
    push("unused")
    kubectl("apply", "--filename=-", stdin=definition("v1", "Pod", workload, pod_spec(push("used"))))

    result = info(task, repository, kubeconfig=str(auditor))

    assert users_of(result, workload) == {"used:1": {("Pod", False)}, "unused:1": set()}
    assert result["unused"] == []
    assert [entry["kind"] for entry in result["unseen"]] == ["CronJob"]
    assert 'User "auditor" cannot list resource "cronjobs"' in result["unseen"][0]["reason"]


def test_info_needs_only_get_on_proxy_and_list_on_workloads(
    task: Task, repository: str, push: Callable[..., str], auditor: Path
) -> None:
    push("unused")
    position = audit.position()

    info(task, repository, kubeconfig=str(auditor))

    audit.settle()
    requests = [event for event in audit.events(position) if event["user"]["username"] == "auditor"]
    assert {(event["verb"], event["objectRef"]["resource"]) for event in requests} == {
        ("get", "pods"),
        *(("list", kind) for kind in KINDS),
    }
