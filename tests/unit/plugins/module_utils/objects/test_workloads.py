# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that workloads use: kinds, lists in pages, missing permissions, and failing requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ClusterError,
    K8scrError,
    UnreadableResponseError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects import paged_list
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import (
    ImageUse,
    Unseen,
    find_image_uses,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.list_server import ListServer, pod_spec, template, workload
from unit.plugins.module_utils.support.object_server import Fault, failure, json_response

DIGEST = f"sha256:{'5a' * 32}"
FORBIDDEN = 'deployments.apps is forbidden: User "auditor" cannot list resource "deployments"'


@pytest.fixture
def server() -> Iterator[ListServer]:
    """An API server whose lists are empty."""
    running = ListServer()
    yield running
    running.stop()


def find(server: ListServer, seconds: float = 8.0) -> tuple[tuple[ImageUse, ...], tuple[Unseen, ...]]:
    """Return the uses and the unseen kinds, with a retry policy that does not wait."""
    adapter = ApiServerAdapter(lambda: Access(Endpoint(server.url), lambda: None))
    try:
        return find_image_uses(adapter, Retries(seconds, sleep=lambda _seconds: None))
    finally:
        adapter.close()


def uses(server: ListServer) -> list[tuple[str, str, str]]:
    """Return the image, the kind and the name of all uses, which no missing permission limits."""
    found, unseen = find(server)
    assert unseen == ()
    return [(use.image, use.kind, use.name) for use in found]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"])
def test_template_of_workload_is_use(server: ListServer, kind: str) -> None:
    server.lists[kind] = [workload("web", template("web:1", "proxy:2"))]

    assert uses(server) == [("proxy:2", kind, "web"), ("web:1", kind, "web")]


def test_template_of_cron_job_is_use_between_its_runs(server: ListServer) -> None:
    server.lists["CronJob"] = [workload("report", {"jobTemplate": {"spec": template("report:1")}})]

    assert uses(server) == [("report:1", "CronJob", "report")]


def test_all_containers_and_image_volumes_of_pod_are_uses(server: ListServer) -> None:
    spec = {
        "initContainers": [{"name": "init", "image": "init:1"}],
        "containers": [{"name": "main", "image": "main:1"}],
        "ephemeralContainers": [{"name": "debug", "image": "debug:1"}],
        "volumes": [{"name": "model", "image": {"reference": "model:1"}}, {"name": "cache", "emptyDir": {}}],
    }
    server.lists["Pod"] = [workload("web", spec)]

    assert [image for image, _kind, _name in uses(server)] == ["debug:1", "init:1", "main:1", "model:1"]


def test_static_pod_is_use_by_pod(server: ListServer) -> None:
    server.lists["Pod"] = [workload("etcd-node-1", pod_spec("etcd:3"), owner=("Node", "node-1"))]

    assert uses(server) == [("etcd:3", "Pod", "etcd-node-1")]


def test_pods_of_controller_are_one_use_by_controller(server: ListServer) -> None:
    owner = ("DaemonSet", "agent")
    server.lists["Pod"] = [workload(f"agent-{number}", pod_spec("agent:1"), owner) for number in range(1200)]

    assert uses(server) == [("agent:1", "DaemonSet", "agent")]


def test_ephemeral_container_of_controlled_pod_is_use_by_pod(server: ListServer) -> None:
    spec = {**pod_spec("web:1"), "ephemeralContainers": [{"name": "debug", "image": "debug:1"}]}
    server.lists["Pod"] = [workload("web-x", spec, owner=("ReplicaSet", "web"))]

    assert uses(server) == [("debug:1", "Pod", "web-x"), ("web:1", "ReplicaSet", "web")]


@pytest.mark.parametrize("owner", [7, {"kind": [], "controller": True}, {"kind": {}, "controller": True}])
def test_invalid_owner_of_pod_is_ignored(server: ListServer, owner: Any) -> None:
    pod = workload("web", pod_spec("web:1"))
    pod["metadata"]["ownerReferences"] = [owner]
    server.lists["Pod"] = [pod]

    assert uses(server) == [("web:1", "Pod", "web")]


def test_replica_set_without_pods_is_target_of_rollback(server: ListServer) -> None:
    owner = ("Deployment", "web")
    server.lists["ReplicaSet"] = [
        workload("web-1", template("web:1", replicas=0), owner),
        workload("web-2", template("web:2", replicas=3), owner),
        workload("alone", template("web:3", replicas=0)),
    ]

    found, _unseen = find(server)

    assert {use.image: use.rollback for use in found} == {"web:1": True, "web:2": False, "web:3": False}


def test_running_digest_is_added_to_use(server: ListServer) -> None:
    status = {"containerStatuses": [{"name": "c0", "imageID": f"docker.io/library/web@{DIGEST}"}]}
    server.lists["Pod"] = [workload("web", pod_spec("web:1"), status=status)]

    assert [use.digest for use in find(server)[0]] == [DIGEST]


def test_lists_are_read_in_pages(server: ListServer) -> None:
    server.lists["Pod"] = [workload(f"p{number}", pod_spec(f"app:{number}")) for number in range(1001)]

    assert len(uses(server)) == 1001
    assert [r.target.partition("?")[2] for r in server.requests_for("GET", "/pods")] == [
        "limit=500",
        "limit=500&continue=500",
        "limit=500&continue=1000",
    ]


def test_expired_list_is_read_again(server: ListServer) -> None:
    server.lists["Pod"] = [workload(f"p{number}", pod_spec(f"app:{number}")) for number in range(501)]
    server.expirations = 2

    assert len(uses(server)) == 501


def test_list_that_always_expires_is_error(server: ListServer) -> None:
    server.lists["Pod"] = [workload(f"p{number}", pod_spec("app:1")) for number in range(501)]
    server.expirations = 1000

    with pytest.raises(ApiServerError, match="the Pods of the cluster: The provided continue parameter is too old"):
        find(server)

    assert len(server.requests_for("GET", "continue=")) == 5


def test_large_list_is_read_in_smaller_pages(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_list, "_MAXIMUM_PAGE", 20_000)
    server.lists["Pod"] = [workload(f"p{number}", pod_spec(f"app:{number}")) for number in range(600)]

    assert len(uses(server)) == 600
    assert "limit=125" in server.requests_for("GET", "/pods")[-1].target


def test_object_larger_than_limit_is_error(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_list, "_MAXIMUM_PAGE", 20_000)
    server.lists["Pod"] = [workload("large", pod_spec("app:1" * 10_000))]

    with pytest.raises(ClusterError, match="exceeds 20000 bytes"):
        find(server)


def test_forbidden_kind_is_unseen(server: ListServer) -> None:
    server.lists["Pod"] = [workload("web", pod_spec("web:1"))]
    server.faults = [Fault("GET", "/deployments", failure(403, FORBIDDEN))]

    found, unseen = find(server)

    assert [use.image for use in found] == ["web:1"]
    assert [kind.kind for kind in unseen] == ["Deployment"]
    assert FORBIDDEN in unseen[0].reason
    assert len(server.requests_for("GET", "/deployments")) == 1


def test_kind_that_cluster_does_not_have_is_skipped(server: ListServer) -> None:
    del server.lists["CronJob"]
    server.lists["Pod"] = [workload("web", pod_spec("web:1"))]

    assert uses(server) == [("web:1", "Pod", "web")]


def test_list_of_pods_that_does_not_exist_is_error(server: ListServer) -> None:
    del server.lists["Pod"]
    with pytest.raises(UnreadableResponseError, match="responded with 404 to the list of the Pods"):
        find(server)


def test_list_that_ends_with_missing_page_is_error(server: ListServer) -> None:
    server.lists["CronJob"] = [workload(f"c{number}", {}) for number in range(501)]
    server.faults.append(Fault("GET", "continue=", failure(404, "not found"), times=1))
    with pytest.raises(UnreadableResponseError, match="responded with 404 to the list of the CronJobs"):
        find(server)


def test_interrupted_request_is_retried(server: ListServer) -> None:
    server.lists["Pod"] = [workload(f"p{number}", pod_spec(f"app:{number}")) for number in range(501)]
    server.faults = [Fault("GET", "continue=500"), Fault("GET", "continue=500", failure(503))]

    assert len(uses(server)) == 501
    assert len(server.requests_for("GET", "/pods?limit=500")) == 4


def test_error_response_is_no_missing_permission(server: ListServer) -> None:
    server.faults = [Fault("GET", "/jobs", failure(400, "bad request"))]

    with pytest.raises(ApiServerError, match="does not return the Jobs of the cluster: bad request"):
        find(server)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "Status", "items": []},
        {"kind": "PodList", "metadata": {}, "items": {"0": {}}},
        {"kind": "PodList", "metadata": {}, "items": 7},
        {"kind": "PodList", "metadata": {"continue": 7}, "items": []},
        {"kind": "PodList", "metadata": {"continue": "endless"}, "items": []},
    ],
    ids=["empty", "other kind", "object", "number", "token is a number", "page without objects"],
)
def test_response_that_is_no_list_is_error(server: ListServer, body: dict[str, Any]) -> None:
    server.faults = [Fault("GET", "/pods", json_response(body))]

    with pytest.raises(K8scrError, match="did not return a valid list of the Pods of the cluster"):
        find(server)


def test_endless_list_is_error(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_list, "_MOST_OBJECTS", 20)
    page = {"kind": "PodList", "metadata": {"continue": "1"}, "items": [workload("web", pod_spec("web:1"))]}
    server.faults = [Fault("GET", "/pods", json_response(page), times=1000)]

    with pytest.raises(K8scrError, match="did not return a valid list"):
        find(server)

    assert len(server.requests_for("GET", "/pods")) == 21


def test_empty_list_without_items_has_no_uses(server: ListServer) -> None:
    server.faults = [Fault("GET", "/pods", json_response({"kind": "PodList", "metadata": {}, "items": None}))]

    assert uses(server) == []


def test_owners_are_listed_before_workloads_they_create(server: ListServer) -> None:
    find(server)

    order = [request.target.partition("?")[0].rpartition("/")[2] for request in server.requests]
    assert order.index("cronjobs") < order.index("jobs") < order.index("pods") == len(order) - 1
    assert order.index("deployments") < order.index("replicasets")


def test_use_of_rewritten_pod_has_original_name(server: ListServer) -> None:
    pod = workload("web", pod_spec("localhost:30501/library/web:1"), owner=("ReplicaSet", "web-1"))
    pod["metadata"]["annotations"] = {"original-image.k8scr.core/c0": "web:1"}
    server.lists["Pod"] = [pod]

    ((found,), _unseen) = find(server)

    assert (found.image, found.original, found.name) == ("localhost:30501/library/web:1", "web:1", "web-1")


@pytest.mark.parametrize("annotations", [7, [], {"original-image.k8scr.core/c0": {}}])
def test_invalid_annotations_of_pod_are_ignored(server: ListServer, annotations: Any) -> None:
    pod = workload("web", pod_spec("web:1"))
    pod["metadata"]["annotations"] = annotations
    server.lists["Pod"] = [pod]

    assert uses(server) == [("web:1", "Pod", "web")]
