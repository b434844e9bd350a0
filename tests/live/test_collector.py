# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Garbage collections in registries with each kind of storage, while nodes pull and clients push."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    InputError,
    K8scrError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collection
from cluster import audit, layout, users
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.waiting import once, wait_until
from images.sizes import MIB

from .collecting import blob_bytes, delete, registry_client, storage
from .conftest import Task
from .image_tasks import push
from .layout_writer import LayoutWriter
from .pulling import pulling
from .registry_role import deploy, deployed

TIMEOUT = 180
PRUNER, PUSHER = "collecting-pruner", "collecting-pusher"
KINDS = ("emptyDir", "memory", "hostPath", "persistentVolumeClaim", "s3")
NAMESPACE = "live-collector"


def subject(name: str) -> dict[str, str]:
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def role_variables(namespace: str, **variables: Any) -> dict[str, Any]:
    return {
        "registry_namespace": namespace,
        "registry_delete": True,
        "registry_prune_subjects": [subject(PRUNER)],
        "registry_push_subjects": [subject(PUSHER)],
        **variables,
    }


@contextmanager
def registry_with_collector(namespace: str, **variables: Any) -> Iterator[None]:
    """Deploy a registry with a collector, remove it at the end of the block, and create its users."""
    with deployed(**role_variables(namespace, **variables)):
        for user in (PRUNER, PUSHER):
            users.make(user)
            users.wait_for_permission(user, namespace)
        yield


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """The namespace of a registry with a collector on the disk of its node."""
    with registry_with_collector(NAMESPACE):
        yield NAMESPACE


def kubeconfig_of(user: str) -> Path:
    return layout.USERS / f"{user}.kubeconfig"


def push_random(task: Task, folder: Path, repository: str, size: int, namespace: str, **options: Any) -> dict[str, Any]:
    """Push a new image with random content and return the result."""
    writer = LayoutWriter(folder / repository.replace("/", "-"))
    writer.add(f"docker.io/{repository}:1", layers=2, size=size)
    return task("k8scr_push", images=[writer.finish()], namespace=namespace, **options)


def collect(namespace: str) -> Collection:
    with registry_client(namespace, kubeconfig_of(PRUNER)) as (_registry, collector):
        collector.require()
        return collector.collect(TIMEOUT)


def header(namespace: str) -> str:
    """Return the state of collections as the write port reports it; empty if it cannot be read."""
    try:
        with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
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

            collection = collector.collect(TIMEOUT)

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
            wait_until(lambda: header(namespace) == "running", "the collection runs", TIMEOUT)
            kill_writing_container(namespace)

    with pulling(namespace, repository) as pulls, ThreadPoolExecutor() as threads:
        kills = threads.submit(kill_twice)
        collection = collect(namespace)
        kills.result()

    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        assert collection.after is not None
        assert collection.after >= blob_bytes(registry, repository)
    assert pulls.failures == []
    assert push_random(task, tmp_path, f"{repository}-new", MIB, namespace)["changed"]


def test_push_resumes_after_collection(
    task: Task, namespace: str, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    size = 24 * MIB
    collection = once(lambda: sum(transferred) > size // 4, lambda: collect(namespace))

    pushed = push_random(task, tmp_path, repository, size, namespace, bandwidth="4M", chunk_size="1M")

    collection.join()
    assert pushed["changed"], pushed.get("msg")
    assert pushed["retries"]
    # Only the interrupted requests were repeated.
    assert sum(transferred) < 1.5 * size * 2


def test_concurrent_requests_are_all_carried_out(namespace: str) -> None:
    with ThreadPoolExecutor() as threads:
        collections = list(threads.map(collect, [namespace] * 3))

    assert all(collection.after is not None for collection in collections)


def test_collection_is_requested_again_if_pod_was_replaced(namespace: str) -> None:
    with registry_client(namespace, kubeconfig_of(PRUNER)) as (_registry, collector), ThreadPoolExecutor() as threads:
        collecting = threads.submit(collector.collect, TIMEOUT)
        kubectl("delete", "pod", "k8scr-0", f"--namespace={namespace}", "--grace-period=0", "--force")

        assert collecting.result().seconds >= 0


def test_push_role_allows_no_deletion_and_no_collection(
    task: Task, namespace: str, repository: str, tmp_path: Path
) -> None:
    pushed = push_random(task, tmp_path, repository, MIB, namespace, kubeconfig=str(kubeconfig_of(PUSHER)))
    digest = pushed["images"][0]["digest"]
    position = audit.position()

    with registry_client(namespace, kubeconfig_of(PUSHER)) as (registry, collector):
        with pytest.raises(ApiServerError, match='cannot delete resource "pods/proxy"'):
            delete(registry, repository, digest)
        with pytest.raises(ApiServerError, match=r'cannot patch resource "configmaps"[\s\S]*Allow patch'):
            collector.collect(10)
    with registry_client(namespace, kubeconfig_of(PRUNER)) as (registry, collector):
        delete(registry, repository, digest)
        collector.collect(TIMEOUT)

    requests = requests_since(position)
    assert ("delete", "pods/proxy", 403) in requests[PUSHER]
    assert ("patch", "configmaps", 403) in requests[PUSHER]
    assert {code for verb, _resource, code in requests[PUSHER] if verb != "get"} == {403}
    assert requests[PRUNER] - {("get", "pods/proxy", 503)} == {
        ("get", "secrets", 200),
        ("get", "pods/proxy", 200),
        ("get", "pods", 200),
        ("delete", "pods/proxy", 202),
        ("patch", "configmaps", 200),
    } - ({("get", "pods", 200)} - requests[PRUNER])


def requests_since(position: int) -> dict[str, set[tuple[str, str, int]]]:
    """Return the verb, the resource and the status code of each request of the two users."""
    audit.settle()
    found: dict[str, set[tuple[str, str, int]]] = {PRUNER: set(), PUSHER: set()}
    for event in audit.events(position):
        if event["user"]["username"] in found:
            reference = event["objectRef"]
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            found[event["user"]["username"]].add((event["verb"], resource, event["responseStatus"]["code"]))
    return found


def test_registry_without_deletion_has_no_collector() -> None:
    with (
        registry_client("k8scr", layout.KUBECONFIG) as (_registry, collector),
        pytest.raises(InputError, match="registry_delete: true"),
    ):
        collector.require()


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
        second = deploy(**variables)
        assert "changed=0" in second or '"changed": true' not in second
