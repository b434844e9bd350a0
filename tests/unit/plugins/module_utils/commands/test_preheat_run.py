# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import preheat_run
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.preheat_run import PreheatRun, PullSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.nodes import Node
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import SILENT
from unit.plugins.module_utils.support.preheat_cluster import SCHEDULED, Cluster, Status, succeeded

SETTINGS = PullSettings("default", "registry:3", (), 2, 10, 100)


def waiting(reason: str, message: str) -> Status:
    state = {"waiting": {"reason": reason, "message": message}}
    return lambda _seconds: {"phase": "Pending", "conditions": [SCHEDULED], "containerStatuses": [{"state": state}]}


def node(name: str = "node-1", is_cordoned: bool = False, has_image_volumes: bool = True) -> Node:
    return Node(name, "linux/amd64", is_cordoned, "", has_image_volumes, (), {})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, whose clock is that of the module."""
    cluster = Cluster()
    monkeypatch.setattr(preheat_run, "time", cluster.clock())
    yield cluster
    assert not cluster.pods


def run_on(client: Any, *images: str, nodes: Sequence[Node] = (), settings: PullSettings = SETTINGS) -> PreheatRun:
    return PreheatRun(client, settings, dict.fromkeys(nodes or [node()], images), SILENT)


def pull(
    cluster: Cluster, *images: str, nodes: Sequence[Node] = (), settings: PullSettings = SETTINGS
) -> list[tuple[str, str, str, float, str]]:
    run = run_on(cluster, *images, nodes=nodes, settings=settings)
    run.run()
    return [(row.node, row.image, row.result, row.seconds, row.reason) for row in run.rows]


def test_run_reports_seconds_of_kubelet(cluster: Cluster) -> None:
    assert pull(cluster, "a") == [("node-1", "a", "pulled", 2.0, "")]


def test_run_reports_existing_image(cluster: Cluster) -> None:
    cluster.events["a"] = 'Container image "a" already present on machine'

    assert pull(cluster, "a") == [("node-1", "a", "present", 0.0, "")]


def test_run_measures_seconds_if_event_is_missing(cluster: Cluster) -> None:
    assert pull(cluster, "b") == [("node-1", "b", "pulled", 3.0, "")]


def test_run_names_cordoned_node(cluster: Cluster) -> None:
    assert pull(cluster, "a", nodes=[node(is_cordoned=True)])[0][4] == "the node is cordoned"


def test_run_pulls_limited_number_of_images_at_once_on_a_node(cluster: Cluster) -> None:
    pull(cluster, *(f"image{number}" for number in range(5)))

    assert cluster.most["node-1"] == 2


def test_run_pulls_on_limited_number_of_nodes_at_once(cluster: Cluster) -> None:
    settings = PullSettings("default", "registry:3", (), 1, 2, 100)
    nodes = [node(f"node-{number}") for number in range(5)]

    pull(cluster, "a", "b", nodes=nodes, settings=settings)

    assert cluster.most[""] == 2
    assert cluster.created[:4] == [("node-0", "a"), ("node-1", "a"), ("node-0", "b"), ("node-1", "b")]


def test_run_uses_container_of_image_on_nodes_without_image_volumes(cluster: Cluster) -> None:
    assert pull(cluster, "a", nodes=[node(has_image_volumes=False)]) == [("node-1", "a", "pulled", 3.0, "")]

    assert cluster.commands == [["/k8scr.core/not-a-program"]]


def test_run_fails_permanent_failure_at_once(cluster: Cluster) -> None:
    cluster.statuses["b"] = waiting("ErrImagePull", "b: not found")

    assert pull(cluster, "b", "a") == [
        ("node-1", "b", "failed", 0.0, "the registry does not have the image: b: not found"),
        ("node-1", "a", "pulled", 2.0, ""),
    ]


def test_run_lets_kubelet_retry_temporary_failure(cluster: Cluster) -> None:
    failing = waiting("ErrImagePull", "connection refused")
    cluster.statuses["a"] = lambda seconds: succeeded(seconds) if seconds > 30 else failing(seconds)

    assert pull(cluster, "a") == [("node-1", "a", "pulled", 2.0, "")]


def test_run_fails_temporary_failure_after_three_attempts(cluster: Cluster) -> None:
    starting = waiting("ContainerCreating", "")
    failing = waiting("ErrImagePull", "connection refused")
    # Some kubelets report a new attempt as a new container.
    cluster.statuses["a"] = lambda seconds: starting(seconds) if seconds % 10 == 9 else failing(seconds)

    assert pull(cluster, "a") == [
        ("node-1", "a", "failed", 35.0, "the node does not reach the registry: connection refused")
    ]


def test_run_fails_unschedulable_pod_with_reason_of_scheduler(cluster: Cluster) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "Too many pods"}
    cluster.statuses["a"] = lambda _seconds: {"conditions": [condition]}

    assert pull(cluster, "a") == [
        ("node-1", "a", "failed", 30.0, "the Pod cannot be scheduled to the node: Too many pods")
    ]


def test_run_fails_pull_that_does_not_end_in_time(cluster: Cluster) -> None:
    cluster.statuses["b"] = waiting("ContainerCreating", "")

    reason = pull(cluster, "b")[0][4]

    assert reason == "the pull did not end within 100 s; the last message of the kubelet: none"


def test_run_fails_all_images_of_node_that_is_no_longer_ready(cluster: Cluster) -> None:
    cluster.statuses.update(dict.fromkeys("bcd", waiting("ContainerCreating", "")))
    cluster.unready.add("node-1")
    reason = "the node is not ready: its kubelet has not reported yet"

    rows = pull(cluster, "b", "c", "d")

    assert rows == [
        ("node-1", "b", "failed", 30.0, reason),
        ("node-1", "c", "failed", 30.0, reason),
        ("node-1", "d", "failed", 0.0, reason),
    ]


def test_run_fails_pod_that_another_client_deleted(cluster: Cluster) -> None:
    cluster.lost.add("a")

    reason = pull(cluster, "a")[0][4]

    assert reason.endswith("-1 was deleted before the image was pulled")


def test_run_continues_after_api_server_rejected_a_pod(cluster: Cluster) -> None:
    cluster.errors["b"] = ApiServerError("the API server rejected Pod b: exceeded quota", status=403)

    assert [row[1:3] for row in pull(cluster, "b", "a")] == [("b", "failed"), ("a", "pulled")]


def test_run_deletes_pod_whose_creation_failed_after_api_server_stored_it(cluster: Cluster) -> None:
    cluster.errors["a"] = ApiServerError("the API server rejected the request to read Pod a: forbidden", status=403)
    cluster.unanswered.add("a")

    assert [row[1:3] for row in pull(cluster, "a")] == [("a", "failed")]


def test_run_deletes_its_pods_after_interruption(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    clock = SimpleNamespace(monotonic=lambda: cluster.now, sleep=interrupt)
    monkeypatch.setattr(preheat_run, "time", clock)
    run = run_on(cluster, "a")

    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert cluster.pods
    run.clean_up()

    assert not cluster.pods
