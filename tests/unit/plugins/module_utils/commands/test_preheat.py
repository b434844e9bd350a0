# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import preheat, preheat_run
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, InputError
from unit.plugins.module_utils.support.preheat_cluster import Cluster

DEFAULTS = {name: option.get("default") for name, option in preheat.PREHEAT_ARGUMENT_SPEC.items()}


def node(name: str = "node-1", system: str = "linux", **parts: Any) -> dict[str, Any]:
    information = {"operatingSystem": system, "architecture": "amd64", "kubeletVersion": "v1.37.2"}
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"nodeInfo": information, "conditions": conditions, **parts.pop("status", {})}
    return {"metadata": {"name": name}, "spec": parts, "status": status}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with one node."""
    cluster = Cluster()
    cluster.nodes.append(node())
    monkeypatch.setattr(preheat, "connect", lambda _settings: nullcontext())
    monkeypatch.setattr(preheat, "KubernetesClient", lambda *_arguments: cluster)
    for module in (preheat, preheat_run):
        monkeypatch.setattr(module, "time", cluster.clock())
    yield cluster
    assert not cluster.pods


def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
    return preheat.run_preheat({**DEFAULTS, "images": ["a"], **options}, check_mode)


def rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["node"], row["image"], row["result"]) for row in result["report"]]


def test_preheat_pulls_images_of_lock_file_and_of_option_once(cluster: Cluster, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(json.dumps({"docker.io/library/b:1": f"sha256:{'0' * 64}"}))

    run(images=["a", "docker.io/library/b:1", "a"], lock=str(lock))

    assert [image for _node, image in cluster.created] == ["a", "docker.io/library/b:1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"images": []}, "there is no image to pull"), ({"images": ["team/API"]}, "'team/API' is not a valid image name")],
)
def test_preheat_rejects_invalid_images(cluster: Cluster, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**options)


def test_preheat_pulls_largest_image_first_after_unknown_ones(cluster: Cluster) -> None:
    images = [
        {"names": ["docker.io/library/a:1"], "sizeBytes": 1},
        {"names": ["docker.io/library/b:1"], "sizeBytes": 2},
    ]
    cluster.nodes.append(node("node-2", status={"images": images}))

    run(images=["a:1", "b:1", "c:1"], parallel_nodes=1)

    assert [image for _node, image in cluster.created[:3]] == ["c:1", "b:1", "a:1"]


def test_preheat_fails_images_of_node_that_is_not_ready_and_pulls_on_others(cluster: Cluster) -> None:
    conditions = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
    cluster.nodes.append(node("node-2", status={"conditions": conditions}))

    result = run()

    assert rows(result) == [("node-1", "a", "pulled"), ("node-2", "a", "failed")]
    assert result["report"][1]["reason"] == "the node is not ready: Kubelet stopped posting node status"


def test_preheat_fails_image_without_platform_of_node_and_creates_no_pod_for_it(cluster: Cluster) -> None:
    cluster.nodes[0]["status"]["nodeInfo"]["architecture"] = "arm64"
    cluster.nodes.append(node("node-2", unschedulable=True))

    result = run(images=["a", "b"], platforms={"docker.io/library/a:latest": ["linux/arm64/v8", "linux/s390x"]})

    assert cluster.created == [("node-1", "a"), ("node-1", "b"), ("node-2", "b")]
    assert rows(result)[2] == ("node-2", "a", "failed")
    reason = "the image has linux/arm64/v8, linux/s390x, the node is linux/amd64; the node is cordoned"
    assert result["report"][2]["reason"] == reason
    assert reason in result["msg"]


def test_preheat_in_check_mode_fails_image_without_platform_of_node(cluster: Cluster) -> None:
    result = run(check_mode=True, platforms={"a": ["linux/arm64"]})

    assert rows(result) == [("node-1", "a", "failed")]
    assert result["failed"]


@pytest.mark.parametrize("platforms", [{"a": []}, {"other": ["linux/arm64"]}, {"a": ["linux/arm64", "linux/amd64"]}])
def test_preheat_pulls_image_whose_platform_matches_or_is_not_known(
    cluster: Cluster, platforms: dict[str, list[str]]
) -> None:
    assert rows(run(platforms=platforms)) == [("node-1", "a", "pulled")]


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        ({"a": "linux/arm64"}, "the platforms of a are not a list"),
        ({"a": ["arm64"]}, "'arm64' is not a platform"),
        ({"team/API": ["linux/arm64"]}, "'team/API' is not a valid image name"),
    ],
)
def test_preheat_rejects_invalid_platforms(cluster: Cluster, platforms: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(platforms=platforms)


def test_preheat_warns_of_windows_nodes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(preheat, "warn", warnings.append)
    cluster.nodes.append(node("node-2", "windows"))

    assert rows(run()) == [("node-1", "a", "pulled")]
    assert "Windows nodes node-2" in warnings[0]


def test_preheat_rejects_selection_without_nodes(cluster: Cluster) -> None:
    cluster.nodes[0]["spec"]["taints"] = [{"key": "gpu", "effect": "NoSchedule"}]

    with pytest.raises(InputError, match="none of 1 node with the labels a=1 runs Linux and has only taints"):
        run(node_selector={"a": 1}, tolerations=[])


def test_preheat_uses_containers_if_api_server_has_no_image_volumes(cluster: Cluster) -> None:
    cluster.has_image_volumes = False

    assert rows(run()) == [("node-1", "a", "pulled")]
    assert cluster.commands == [["/k8scr.core/not-a-program"]]


def test_preheat_uses_volumes_if_webhook_rejects_dry_runs(cluster: Cluster) -> None:
    cluster.dry_run_error = ApiServerError("admission webhook does not support dry run", status=400)

    run()

    assert cluster.commands == [["/bin/true"]]


def test_preheat_fails_if_api_server_rejects_its_pods(cluster: Cluster) -> None:
    cluster.dry_run_error = ApiServerError("violates PodSecurity", status=403)

    with pytest.raises(ApiServerError, match="violates PodSecurity"):
        run()


def test_preheat_rejects_keep_without_image_volumes(cluster: Cluster) -> None:
    cluster.has_image_volumes = False

    with pytest.raises(InputError, match="keep needs image volumes"):
        run(keep=True)


def test_preheat_in_check_mode_reports_images_that_nodes_list(cluster: Cluster) -> None:
    cluster.nodes[0]["status"]["images"] = [{"names": ["docker.io/library/a:latest"], "sizeBytes": 1}]

    result = run(check_mode=True, images=["a", "b"])

    assert rows(result) == [("node-1", "a", "present"), ("node-1", "b", "pulled")]
    assert result["changed"]
    assert not cluster.created
