# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that nodes need before they can pull from the registry in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.node_critical import (
    CriticalImage,
    find_critical_images,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.list_server import ListServer
from unit.plugins.module_utils.support.object_server import Fault, failure

DIGEST = f"sha256:{'5a' * 32}"
PROXY = ("DaemonSet", "kube-proxy")


@pytest.fixture
def server() -> Iterator[ListServer]:
    """An API server with four nodes, one of them with another architecture."""
    running = ListServer()
    architectures = {"one": "amd64", "two": "amd64", "three": "amd64", "four": "arm64"}
    running.lists["Node"] = [
        {"metadata": {"name": name}, "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": architecture}}}
        for name, architecture in architectures.items()
    ]
    yield running
    running.stop()


def pod(
    image: str,
    owner: tuple[str, str] | None = PROXY,
    node: str = "one",
    namespace: str = "kube-system",
    name: str = "kube-proxy-x",
    image_id: str = DIGEST,
    phase: str = "Running",
    **spec: Any,
) -> dict[str, Any]:
    """Return a Pod with one container."""
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    statuses = [{"name": "main", "imageID": image_id}]
    return {
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": image}], **spec},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def find(server: ListServer) -> tuple[CriticalImage, ...]:
    """Return the images, with the registry in Pod k8scr-0 of the namespace k8scr."""
    adapter = ApiServerAdapter(lambda: Access(Endpoint(server.url), lambda: None))
    try:
        return find_critical_images(adapter, Retries(8.0, sleep=lambda _seconds: None), "k8scr", "k8scr-0")
    finally:
        adapter.close()


def names(server: ListServer, *pods: dict[str, Any]) -> list[str]:
    """Return the names of the images of Pods that nodes need; each Pod also runs on a second node."""
    server.lists["Pod"] = [
        {**each, "spec": {**each["spec"], "nodeName": node}} for each in pods for node in ("one", "two")
    ]
    return [image.name for image in find(server)]


def test_image_of_daemon_set_has_platforms_and_workloads(server: ListServer) -> None:
    server.lists["Pod"] = [pod("example.com/proxy:1", node=node) for node in ("one", "two", "four")]

    assert find(server) == (
        CriticalImage("example.com/proxy:1", ("linux/amd64", "linux/arm64"), ("DaemonSet kube-system/kube-proxy",)),
    )


@pytest.mark.parametrize(
    "needed",
    [
        pod("a:1", ("ReplicaSet", "coredns-5d")),
        pod("a:1", ("DaemonSet", "cni"), namespace="flannel", hostNetwork=True),
        pod("a:1", ("DaemonSet", "cni"), namespace="calico", priorityClassName="system-node-critical"),
        pod("a:1", ("StatefulSet", "k8scr"), namespace="k8scr", name="k8scr-1"),
        pod("a:1", None, namespace="k8scr", name="k8scr-0"),
    ],
    ids=["kube-system", "host-network", "node-critical", "replica", "classic"],
)
def test_pod_is_needed_by_nodes(server: ListServer, needed: dict[str, Any]) -> None:
    assert names(server, needed) == ["docker.io/library/a:1"]


@pytest.mark.parametrize(
    "other",
    [
        pod("a:1", ("DaemonSet", "logs"), namespace="apps"),
        pod("a:1", ("ReplicaSet", "web"), namespace="apps", hostNetwork=True),
        pod("a:1", ("StatefulSet", "other"), namespace="k8scr"),
        pod("a:1", ("Node", "one")),
        pod("a:1", None),
        pod("a:1", ("Job", "install")),
        pod("a:1", phase="Succeeded"),
        pod("a:1", image_id=""),
        pod("A:1"),
        pod("a:1", ephemeralContainers=[{"name": "debug", "image": "b:1"}], containers=[]),
    ],
    ids=["daemon", "network", "namespace", "static", "bare", "job", "ended", "not-pulled", "invalid", "ephemeral"],
)
def test_pod_is_not_needed_by_nodes(server: ListServer, other: dict[str, Any]) -> None:
    assert names(server, other) == []


def test_daemon_set_on_fewer_than_half_of_nodes_of_platform_is_skipped(server: ListServer) -> None:
    server.lists["Pod"] = [pod("gpu:1", ("DaemonSet", "gpu"), node="one"), pod("arm:1", ("DaemonSet", "arm"), "four")]

    assert [(image.name, image.platforms) for image in find(server)] == [("docker.io/library/arm:1", ("linux/arm64",))]


def test_daemon_set_during_update_has_both_images(server: ListServer) -> None:
    server.lists["Pod"] = [pod("proxy:1", node="one"), pod("proxy:2", node="two")]

    assert [image.name for image in find(server)] == ["docker.io/library/proxy:1", "docker.io/library/proxy:2"]


def test_name_with_tag_and_digest_has_digest_as_in_containerd(server: ListServer) -> None:
    assert names(server, pod(f"example.com/a:1@{DIGEST}")) == [f"example.com/a@{DIGEST}"]


def test_pod_on_deleted_node_is_ignored(server: ListServer) -> None:
    server.lists["Pod"] = [pod("proxy:1", node="gone"), pod("proxy:1", node="")]

    assert find(server) == ()


def test_missing_permission_to_list_nodes_is_error(server: ListServer) -> None:
    server.faults.append(
        Fault("GET", "/nodes", failure(403, 'nodes is forbidden: User "auditor" cannot list resource "nodes"'))
    )

    with pytest.raises(ApiServerError, match='User "auditor" cannot list resource "nodes"'):
        find(server)
