# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Garbage collections in registries with each kind of storage, while nodes pull and clients push."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    K8scrError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collection
from cluster import layout
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.waiting import wait_until
from images.sizes import MIB

from .collecting import (
    COLLECTION_TIMEOUT,
    PRUNER,
    blob_bytes,
    delete,
    kubeconfig_of,
    push_random,
    registry_client,
    registry_with_collector,
    role_variables,
    storage,
    subject,
)
from .conftest import Task
from .image_tasks import push
from .pulling import pulling
from .registry_role import deploy, deployed

pytestmark = pytest.mark.own_registries
KINDS = ("emptyDir", "memory", "hostPath", "persistentVolumeClaim", "s3")
NAMESPACE = "live-collector"


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """The namespace of a registry with a collector on the disk of its node."""
    with registry_with_collector(NAMESPACE):
        yield NAMESPACE


def collect(namespace: str) -> Collection:
    with registry_client(namespace, kubeconfig_of(PRUNER)) as (_registry, collector):
        collector.require()
        return collector.collect(COLLECTION_TIMEOUT)


def header(registry: Registry) -> str:
    """Return the state of collections as the write port reports it; empty if it cannot be read."""
    try:
        return registry.exchange("GET", "/v2/").headers.get("K8scr-Collection", "")
    except K8scrError:
        return ""


def kill_writing_container(namespace: str) -> None:
    """Kill the processes of the container for writing, as a lack of memory would."""
    pod = json.loads(kubectl("get", "pod", "k8scr-0", f"--namespace={namespace}", "--output=json"))
    (node,) = (node for node in layout.NODES if node.name == pod["spec"]["nodeName"])
    (status,) = (status for status in pod["status"]["containerStatuses"] if status["name"] == "registry")
    ctr(node, "tasks", "kill", "--signal", "SIGKILL", status["containerID"].partition("//")[2])


@pytest.mark.parametrize(("kind", "replicas"), [*((kind, 1) for kind in KINDS), ("s3", 2), ("hostPath", 2)])
def test_collection_frees_space_while_nodes_pull(
    task: Task, repository: str, tmp_path: Path, kind: str, replicas: int
) -> None:
    namespace, folder = f"{NAMESPACE}-{kind.lower()}-{replicas}", tmp_path / "storage"
    folder.mkdir()
    with (
        storage(kind, folder, namespace) as variables,
        registry_with_collector(namespace, registry_replicas=replicas, **variables),
    ):
        push_random(task, tmp_path, repository, MIB, namespace)
        pushed = push_random(task, tmp_path, f"{repository}-old", 8 * MIB, namespace)
        with (
            registry_client(namespace, kubeconfig_of(PRUNER)) as (registry, collector),
            pulling(namespace, repository) as pulls,
        ):
            kept = blob_bytes(registry, repository)
            delete(registry, f"{repository}-old", pushed["images"][0]["digest"])

            collection = collector.collect(COLLECTION_TIMEOUT)

        if kind == "s3":
            assert collection.before is collection.after is None
            stored = sum(path.stat().st_size for path in folder.rglob("blobs/**/data"))
            assert stored == kept
        else:
            assert collection.after == kept
            assert collection.before is not None
            assert collection.before > kept + 8 * MIB
        assert pulls.failures == []
        assert min(pulls.counts) > 10
        assert push_random(task, tmp_path, f"{repository}-new", MIB, namespace)["changed"]


def test_nodes_pull_during_kills_of_collecting_container(
    task: Task, namespace: str, repository: str, tmp_path: Path
) -> None:
    push_random(task, tmp_path, repository, MIB, namespace)

    def kill_twice() -> None:
        for _time in range(2):
            wait_until(lambda: header(observer) == "running", "the collection runs", COLLECTION_TIMEOUT)
            kill_writing_container(namespace)

    with (
        registry_client(namespace, layout.KUBECONFIG) as (observer, _collector),
        registry_client(namespace, kubeconfig_of(PRUNER)) as (_registry, collector),
        pulling(namespace, repository) as pulls,
        ThreadPoolExecutor() as threads,
    ):
        kills = threads.submit(kill_twice)
        collection = collector.collect(COLLECTION_TIMEOUT)
        kills.result()

    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        assert collection.after is not None
        assert collection.after >= blob_bytes(registry, repository)
    assert pulls.failures == []
    assert push_random(task, tmp_path, f"{repository}-new", MIB, namespace)["changed"]


def test_concurrent_requests_are_all_carried_out(namespace: str) -> None:
    with ExitStack() as clients, ThreadPoolExecutor() as threads:
        collectors = [
            clients.enter_context(registry_client(namespace, kubeconfig_of(PRUNER)))[1] for _number in range(3)
        ]
        collections = list(threads.map(lambda collector: collector.collect(COLLECTION_TIMEOUT), collectors))

    assert all(collection.after is not None for collection in collections)


def test_collection_is_requested_again_if_pod_was_replaced(namespace: str) -> None:
    with registry_client(namespace, kubeconfig_of(PRUNER)) as (_registry, collector), ThreadPoolExecutor() as threads:
        collecting = threads.submit(collector.collect, COLLECTION_TIMEOUT)
        kubectl("delete", "pod", "k8scr-0", f"--namespace={namespace}", "--grace-period=0", "--force")

        assert collecting.result().seconds >= 0


def test_collection_names_unreadable_manifest(task: Task, namespace: str, repository: str, tmp_path: Path) -> None:
    pushed = push_random(task, tmp_path, repository, MIB, namespace)
    digest = pushed["images"][0]["digest"]
    folder = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}"
    kubectl(
        "exec", "k8scr-0", f"--namespace={namespace}", "--container=registry", "--", "truncate", "-s0", f"{folder}/data"
    )

    with pytest.raises(RegistryError, match=digest):
        collect(namespace)

    assert push_random(task, tmp_path, f"{repository}-new", MIB, namespace)["changed"]
    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        delete(registry, repository, digest)
    assert collect(namespace).after is not None


def test_role_keeps_images_if_deletion_is_enabled(task: Task, repository: str, tmp_path: Path) -> None:
    namespace = f"{NAMESPACE}-enabled"
    variables = role_variables(namespace)
    with deployed(**{**variables, "registry_delete": False}):
        pushed = push_random(task, tmp_path, repository, MIB, namespace)

        deploy(**variables)

        again = push(task, f"oci:{tmp_path}/{repository.replace('/', '-')}", repository, namespace=namespace)
        assert again["images"][0]["digest"] == pushed["images"][0]["digest"]
        assert not again["changed"]
        assert "CHANGED" not in deploy(**variables)


def may_list(resource: str, namespace: str) -> bool:
    """Return whether the user for pruning may list objects of all namespaces."""
    output = kubectl("auth", "can-i", "--list", f"--as={PRUNER}", f"--namespace={namespace}")
    return any(line.split()[0] == resource and "list" in line for line in output.splitlines())


def test_role_grants_and_removes_permission_to_list_workloads() -> None:
    namespace = f"{NAMESPACE}-usage"
    variables = role_variables(namespace)
    with deployed(**variables):
        assert not may_list("deployments.apps", "default")
        deploy(**variables, registry_usage_subjects=[subject(PRUNER)])
        for resource in ("pods", "deployments.apps", "cronjobs.batch"):
            wait_until(lambda: may_list(resource, "default"), f"the user may list {resource}")  # noqa: B023

        deploy(**variables)

        assert f"k8scr.core:{namespace}" not in kubectl("get", "clusterroles,clusterrolebindings", "--output=name")
    with deployed(**variables, registry_usage_subjects=[subject(PRUNER)]):
        assert f"k8scr.core:{namespace}" in kubectl("get", "clusterroles,clusterrolebindings", "--output=name")
    assert f"k8scr.core:{namespace}" not in kubectl("get", "clusterroles,clusterrolebindings", "--output=name")
