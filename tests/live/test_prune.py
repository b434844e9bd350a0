# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prunes of a registry with workloads of the cluster, by users with the Role for pruning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from cluster import audit, layout, users
from cluster.kubectl import kubectl
from cluster.waiting import wait_until
from images.sizes import MIB

from .collecting import blob_bytes, registry_client
from .conftest import Task
from .layout_writer import LayoutWriter
from .pulling import pulling
from .registry_role import deployed

NAMESPACE = "live-prune"
PRUNER, BLIND = "live-pruner", "live-pruner-blind"
KINDS = ("CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet")
Prune = partial[dict[str, Any]]


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """The namespace of a registry with two users who may prune, one of whom may list workloads."""
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user} for user in (PRUNER, BLIND)]
    variables = {
        "registry_namespace": NAMESPACE,
        "registry_delete": True,
        "registry_prune_subjects": subjects,
        "registry_usage_subjects": subjects[:1],
    }
    with deployed(**variables):
        for user in (PRUNER, BLIND):
            users.make(user)
            users.wait_for_permission(user, NAMESPACE)
        wait_until(
            lambda: "yes" in kubectl("auth", "can-i", "list", "cronjobs", f"--as={PRUNER}", "--all-namespaces"),
            "the user may list workloads",
        )
        yield NAMESPACE


@pytest.fixture
def prune(task: Task, namespace: str) -> Prune:
    """Prunes as the user who may list workloads."""
    return partial(task, "k8scr_prune", namespace=namespace, kubeconfig=kubeconfig_of(PRUNER))


@pytest.fixture
def run(namespace: str) -> Iterator[Callable[[str], None]]:
    """Creates a CronJob that uses an image and does not run during the test."""

    def create(image: str) -> None:
        kubectl("create", "cronjob", "app", f"--namespace={namespace}", f"--image={image}", "--schedule=0 0 1 1 *")

    yield create
    kubectl("delete", "cronjob", "--all", f"--namespace={namespace}", "--wait=true")


def kubeconfig_of(user: str) -> str:
    return str(layout.USERS / f"{user}.kubeconfig")


def push_images(task: Task, folder: Path, namespace: str, sizes: dict[str, int]) -> dict[str, str]:
    """Push tag 1 of repositories with images of two layers of these sizes, and return their digests."""
    writer = LayoutWriter(folder)
    for repository, size in sizes.items():
        writer.add(f"docker.io/{repository}:1", layers=2, size=size)
    pushed = task("k8scr_push", images=[writer.finish()], namespace=namespace)
    return {image["repository"]: image["digest"] for image in pushed["images"]}


def tags_in(namespace: str, repository: str) -> list[str]:
    """Return the tags of a repository."""
    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        found = registry.request_with_retries("GET", f"/v2/{repository}/tags/list", "tags", (200, 404))
    return sorted(json.loads(found.content).get("tags") or [])


def test_prune_reclaims_space_while_nodes_pull(
    task: Task, prune: Prune, namespace: str, repository: str, tmp_path: Path, run: Callable[[str], None]
) -> None:
    used, kept, old = (f"{repository}-{name}" for name in ("used", "kept", "old"))
    digests = push_images(task, tmp_path / "images", namespace, {used: MIB, kept: 2 * MIB, old: 8 * MIB})
    run(f"docker.io/{used}:1")
    rules: dict[str, Any] = {"keep": [kept]}

    planned = prune(**rules, check_mode=True)
    with pulling(namespace, used) as pulls:
        done = prune(**rules)
    again = prune(**rules)

    assert planned["images"] == done["images"]
    assert [entry["image"] for entry in done["images"] if entry["image"].startswith(repository)] == [f"{old}:1"]
    reasons = {entry["image"]: entry["reasons"] for entry in done["kept"]}
    assert reasons == {f"{used}:1": [f"used by CronJob {namespace}/app"], f"{kept}:1": [f"matches {kept}"]}
    assert pulls.failures == []
    assert min(pulls.counts) > 10
    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        stored = blob_bytes(registry, used) + blob_bytes(registry, kept)
    assert done["collected"]["after"] == stored
    assert done["collected"]["before"] - stored >= done["images_space_reclaimed"] > 16 * MIB
    assert (again["changed"], again["images"]) == (False, [])
    for name in (used, kept):
        dest = f"oci:{tmp_path}/pulled-{name.rpartition('-')[2]}"
        pulled = task("k8scr_pull", images=[{"name": f"docker.io/{name}:1", "dest": dest}], namespace=namespace)
        assert pulled["images"][0]["digest"] == digests[name]


def test_image_in_use_by_digest_survives_collection(
    task: Task, prune: Prune, namespace: str, repository: str, tmp_path: Path, run: Callable[[str], None]
) -> None:
    digest = push_images(task, tmp_path / "images", namespace, {repository: MIB})[repository]
    with registry_client(namespace, layout.KUBECONFIG) as (registry, _collector):
        # Tag 1 moves to an empty index, as a push by another tool would move it.
        index = parse_manifest(
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
        )
        Repository(registry, repository).publish(index, "1")
    run(f"docker.io/{repository}@{digest}")

    result = prune()

    tag = f"k8scr-{digest[7:19]}"
    assert f"{repository}:{tag}" in result["protected"]
    assert tags_in(namespace, repository) == [tag]
    dest = f"oci:{tmp_path}/pulled"
    pulled = task(
        "k8scr_pull", images=[{"name": f"docker.io/{repository}@{digest}", "dest": dest}], namespace=namespace
    )
    assert pulled["images"][0]["digest"] == digest
    assert prune()["changed"] is False


def test_overwritten_images_are_collected(
    task: Task, prune: Prune, namespace: str, repository: str, tmp_path: Path
) -> None:
    push_images(task, tmp_path / "first", namespace, {repository: 4 * MIB})
    push_images(task, tmp_path / "second", namespace, {repository: MIB})

    result = prune(keep=["*"], keep_used=False)

    assert result["changed"] is True
    assert result["images"] == []
    assert result["collected"]["before"] - result["collected"]["after"] >= 8 * MIB


def test_prune_names_workloads_that_user_may_not_list(
    task: Task, namespace: str, repository: str, tmp_path: Path
) -> None:
    push_images(task, tmp_path / "images", namespace, {repository: MIB})

    result = task("k8scr_prune", namespace=namespace, kubeconfig=kubeconfig_of(BLIND), allow_empty=True)

    assert result["failed"]
    assert f"cannot be listed: {', '.join(KINDS)}: " in result["msg"]
    assert "registry_usage_subjects" in result["msg"]
    assert tags_in(namespace, repository) == ["1"]


def test_role_for_pruning_allows_all_requests_of_prune(
    task: Task, prune: Prune, namespace: str, repository: str, tmp_path: Path
) -> None:
    push_images(task, tmp_path / "images", namespace, {f"{repository}-old": MIB, f"{repository}-new": 2 * MIB})
    position = audit.position()

    result = prune(keep=["*-new"])

    audit.settle()
    assert "failed" not in result
    events = [event for event in audit.events(position) if event["user"]["username"] == PRUNER]
    assert {event["verb"] for event in events} == {"get", "list", "delete", "patch"}
    # The registry's software shows in its error response to an invalid list.
    probes = [event for event in events if event["requestURI"].endswith("/v2/k8scr/probe/tags/list?n=x")]
    assert {event["responseStatus"]["code"] for event in probes} == {400}
    others = [event for event in events if event not in probes]
    assert {event["responseStatus"]["code"] for event in others} <= {200, 202, 404, 503}


def test_check_mode_of_prune_writes_nothing(
    task: Task, prune: Prune, namespace: str, repository: str, tmp_path: Path
) -> None:
    push_images(task, tmp_path / "images", namespace, {f"{repository}-old": MIB, f"{repository}-new": 2 * MIB})
    position = audit.position()

    result = prune(keep=["*-new"], check_mode=True)

    audit.settle()
    assert f"-{repository}-old:1 " in result["diff"]["prepared"]
    verbs = {event["verb"] for event in audit.events(position) if event["user"]["username"] == PRUNER}
    assert verbs == {"get", "list"}
    assert tags_in(namespace, f"{repository}-old") == ["1"]


def test_registry_without_collector_is_not_pruned(task: Task, registry: str, repository: str, tmp_path: Path) -> None:
    push_images(task, tmp_path / "images", "k8scr", {repository: MIB})

    result = task("k8scr_prune", repositories=[repository], allow_empty=True)

    assert "registry_delete: true" in result["msg"]
    assert tags_in("k8scr", repository) == ["1"]
