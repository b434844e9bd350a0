# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may request a garbage collection, and of which registries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, InputError
from cluster import audit, layout
from images.sizes import MIB

from .collecting import (
    COLLECTION_TIMEOUT,
    PRUNER,
    PUSHER,
    delete,
    kubeconfig_of,
    push_random,
    registry_client,
    registry_with_collector,
)
from .conftest import Task

NAMESPACE = "live-collection-rights"


@pytest.fixture
def namespace() -> Iterator[str]:
    """The namespace of a registry with a collector."""
    with registry_with_collector(NAMESPACE):
        yield NAMESPACE


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
        collector.collect(COLLECTION_TIMEOUT)

    requests = requests_since(position)
    assert ("delete", "pods/proxy", 403) in requests[PUSHER]
    assert ("patch", "configmaps", 403) in requests[PUSHER]
    assert {code for verb, _resource, code in requests[PUSHER] if verb != "get"} == {403}
    assert {("delete", "pods/proxy", 202), ("patch", "configmaps", 200)} <= requests[PRUNER]
    assert {(verb, resource) for verb, resource, _code in requests[PRUNER]} <= {
        ("get", "secrets"),
        ("get", "pods"),
        ("get", "pods/proxy"),
        ("delete", "pods/proxy"),
        ("patch", "configmaps"),
    }


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
