# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of the images of a registry: created by k8scr_delivered_names, updated by pushes, copies and prunes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import users
from cluster.kubectl import kubectl

from .conftest import Task
from .image_tasks import push
from .layout_writer import LayoutWriter
from .registry_role import deployed, run_role
from .separate_process import result_of

pytestmark = pytest.mark.own_registries
NAMESPACE = "live-delivered"
PUSHER, PRUNER, OUTDATED = "delivered-pusher", "delivered-pruner", "delivered-outdated"


@pytest.fixture(scope="module")
def kubeconfigs() -> Iterator[dict[str, str]]:
    """The kubeconfigs of users for the registry of the tests: with the role's Roles, and with one of an older role."""
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user} for user in (PUSHER, PRUNER)]
    variables = {
        "registry_namespace": NAMESPACE,
        "registry_delete": True,
        "registry_push_subjects": subjects[:1],
        "registry_prune_subjects": subjects[1:],
    }
    with deployed(**variables):
        role = json.loads(kubectl("get", "role", "k8scr-push", f"--namespace={NAMESPACE}", "--output=json"))
        rules = [rule for rule in role["rules"] if rule["resources"] != ["configmaps"]]
        metadata = {"name": OUTDATED, "namespace": NAMESPACE}
        kubectl("apply", "--filename=-", stdin=json.dumps({**role, "metadata": metadata, "rules": rules}))
        kubectl(
            "create", "rolebinding", OUTDATED, f"--role={OUTDATED}", f"--user={OUTDATED}", f"--namespace={NAMESPACE}"
        )
        for user in (PUSHER, PRUNER, OUTDATED):
            users.wait_for_permission(user, NAMESPACE)
        yield {user: str(users.make(user)) for user in (PUSHER, PRUNER, OUTDATED)}


@pytest.fixture
def run(task: Task, kubeconfigs: dict[str, str]) -> partial[dict[str, Any]]:
    """Runs a module for the registry of the tests, whose list exists."""
    created = task("k8scr_delivered_names", namespace=NAMESPACE)
    assert not created.get("failed"), created["msg"]
    assert kubeconfigs
    return partial(task, namespace=NAMESPACE)


def listed(repository: str) -> set[str]:
    """Return the tags and digests of a repository in the list."""
    found = kubectl("get", "configmap", "k8scr-delivered", f"--namespace={NAMESPACE}", "--output=json")
    return set((json.loads(found).get("data") or {}).get(repository.replace("/", "._"), "").split())


def test_list_has_images_from_before_its_creation(task: Task, kubeconfigs: dict[str, str], repository: str) -> None:
    pushed = push(task, images.ensure("busybox"), repository, namespace=NAMESPACE, kubeconfig=kubeconfigs[PUSHER])
    task("k8scr_delivered_names", namespace=NAMESPACE, state="absent")

    planned = task("k8scr_delivered_names", namespace=NAMESPACE, check_mode=True)
    created = task("k8scr_delivered_names", namespace=NAMESPACE)
    again = task("k8scr_delivered_names", namespace=NAMESPACE)

    assert listed(repository) == {"1", pushed["images"][0]["digest"]}
    assert (planned["changed"], created["changed"], again["changed"]) == (True, True, False)
    assert planned["diff"] == created["diff"]
    assert created["config_map"] == "k8scr-delivered"


def test_role_for_pushing_allows_adding_names(
    run: partial[dict[str, Any]], kubeconfigs: dict[str, str], repository: str
) -> None:
    pushed = push(run, images.ensure("busybox"), repository, kubeconfig=kubeconfigs[PUSHER])
    again = push(run, images.ensure("busybox"), repository, kubeconfig=kubeconfigs[PUSHER])

    assert listed(repository) == {"1", pushed["images"][0]["digest"]}
    assert pushed["diff"][1]["after_header"] == "k8scr-delivered"
    assert not again["changed"]


def test_prune_removes_names_of_deleted_images(
    run: partial[dict[str, Any]], kubeconfigs: dict[str, str], repository: str, tmp_path: Path
) -> None:
    pushed = push_two(run, repository, tmp_path)

    run("k8scr_prune", kubeconfig=kubeconfigs[PRUNER], **rules(repository))

    assert listed(repository) == {"new", pushed["new"], pushed["old"]}
    assert run("k8scr_delivered_names")["changed"] is False


def test_prune_deletes_nothing_if_list_cannot_be_changed(
    run: partial[dict[str, Any]], repository: str, tmp_path: Path
) -> None:
    push_two(run, repository, tmp_path)
    patch = ("patch", "configmap", "k8scr-delivered", f"--namespace={NAMESPACE}", "--type=merge")
    kubectl(*patch, '--patch={"immutable": true}')
    try:
        result = run("k8scr_prune", **rules(repository))

        assert result["failed"]
        assert "field is immutable" in result["msg"]
        found = run("k8scr_info", repositories=[repository])
        assert {tag for image in found["images"] for tag in image["tags"]} == {"old", "new"}
    finally:
        run("k8scr_delivered_names", state="absent")


def test_concurrent_pushes_lose_no_name(run: partial[dict[str, Any]], repository: str, tmp_path: Path) -> None:
    names = [f"{repository}-{number}" for number in range(4)]
    sources = []
    for name in names:
        writer = LayoutWriter(tmp_path / name.rpartition("/")[2])
        writer.add(f"docker.io/{name}:1", layers=1, size=1000)
        sources.append(writer.finish())

    with ThreadPoolExecutor(len(names)) as workers:
        push_images = partial(result_of, "k8scr_push", namespace=NAMESPACE)
        results = list(workers.map(lambda source: push_images(images=[source]), sources))

    assert [result.get("msg") for result in results] == [None] * len(names)
    for name, result in zip(names, results):
        assert listed(name) == {"1", result["images"][0]["digest"]}
    assert run("k8scr_delivered_names")["changed"] is False


def test_push_with_outdated_role_warns(
    run: partial[dict[str, Any]], kubeconfigs: dict[str, str], repository: str
) -> None:
    result = push(run, images.ensure("busybox"), repository, kubeconfig=kubeconfigs[OUTDATED])

    assert result["changed"]
    assert "failed" not in result
    warning = json.dumps(result["warnings"])
    assert 'User \\"delivered-outdated\\" cannot get resource \\"configmaps\\"' in warning
    assert "Run the role registry again" in warning
    assert listed(repository) == set()


@pytest.fixture
def create_pod(repository: str) -> Iterator[Callable[..., str]]:
    """Creates a Pod that no node runs, with an image and an annotation as the role image_policy writes them."""
    label = f"delivered={repository.rpartition('/')[2]}"

    def create(name: str, image: str, original: str) -> str:
        labels, annotations = dict([label.split("=")]), {"original-image.k8scr.core/main": original}
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        spec = {"containers": [{"name": "main", "image": image}], "nodeSelector": {"k8scr.core/none": "true"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        kubectl("create", "--namespace=default", "--filename=-", stdin=json.dumps(pod))
        return name

    yield create
    kubectl("delete", "pods", "--namespace=default", f"--selector={label}", "--now")


def test_forged_annotation_does_not_hide_used_image(
    run: partial[dict[str, Any]], repository: str, tmp_path: Path, create_pod: Callable[..., str]
) -> None:
    push_two(run, repository, tmp_path)
    name = f"forged-{repository.rpartition('/')[2]}"
    create_pod(name, f"localhost:30501/{repository}:old", "quay.io/other/image:1")
    create_pod(f"{name}-same", f"localhost:30501/{repository}:new", f"quay.io/{repository}:new")

    found = run("k8scr_info", repositories=[repository], usage=True)
    pruned = run("k8scr_prune", repositories=[repository], collect=False)

    users = {image["name"]: [user["name"] for user in image["used_by"]] for image in found["images"]}
    assert users == {f"{repository}:old": [name], f"{repository}:new": [f"{name}-same"]}
    assert found["unused"] == []
    assert found["missing"] == []
    assert pruned["images"] == []


def test_missing_image_of_rewritten_pod_has_original_name(
    run: partial[dict[str, Any]], repository: str, create_pod: Callable[..., str]
) -> None:
    name = f"missing-{repository.rpartition('/')[2]}"
    create_pod(name, f"localhost:30501/{repository}:1", f"quay.io/{repository}:1")

    found = run("k8scr_info", repositories=[repository], usage=True)

    (missing,) = found["missing"]
    assert missing["name"] == f"quay.io/{repository}:1"
    assert missing["reason"] == f"the registry does not have {repository}:1"
    assert [user["name"] for user in missing["used_by"]] == [name]


def test_role_removes_list_with_its_registry(run: partial[dict[str, Any]]) -> None:
    assert not run("k8scr_delivered_names")["changed"]

    done = run_role("--check", registry_namespace=NAMESPACE, registry_delete=True, registry_state="absent")

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"name": "k8scr-delivered"' in done.stdout


def push_two(run: partial[dict[str, Any]], repository: str, folder: Path) -> dict[str, str]:
    """Push images with the tags ``old`` and ``new``, and return their digests by tag."""
    writer = LayoutWriter(folder / "images")
    for size, tag in enumerate(("old", "new"), start=1000):
        writer.add(f"docker.io/{repository}:{tag}", layers=1, size=size)
    pushed = run("k8scr_push", images=[writer.finish()])
    return {image["tag"]: image["digest"] for image in pushed["images"]}


def rules(repository: str) -> dict[str, Any]:
    """Return the options of a prune that deletes only the tag ``old``, without a collection."""
    return {"repositories": [repository], "keep": ["*:new"], "keep_used": False, "collect": False}
