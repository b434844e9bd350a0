# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of k8scr_node_mirror without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import node_mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import CLUSTER_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_mirror import NODE_MIRROR_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_mirror_plan import NodePlan
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_visit import VisitedNode
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.node_mirror import NodeMirrorObjects
from unit.plugins.module_utils.support.settings import module_options


class Applied:
    """Records the kinds of applied objects."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def apply(self, definition: Mapping[str, Any]) -> Any:
        self.kinds.append(definition["kind"])
        return SimpleNamespace(changed=False)


def run(monkeypatch: pytest.MonkeyPatch, failing: set[str]) -> tuple[dict[str, Any], list[str]]:
    """Run the module for two nodes; return its result and the kinds of the applied objects."""
    applied = Applied()

    def visit(name: str) -> VisitedNode:
        if name in failing:
            raise ClusterError("the Pod does not run")
        return VisitedNode(name, NodePlan([], [], "", [], "", [], name == "node-1", {}), [])

    client = MagicMock()
    client.list_objects.side_effect = lambda kind, *_rest, **_options: (
        [{"metadata": {"name": name}} for name in ("node-1", "node-2")] if kind == "Node" else []
    )
    client.find_kind.side_effect = lambda _version, kind: kind
    monkeypatch.setattr(node_mirror, "connect", lambda _settings: nullcontext(MagicMock()))
    monkeypatch.setattr(node_mirror, "KubernetesClient", lambda *_arguments: client)
    monkeypatch.setattr(node_mirror, "NodeVisitor", lambda *_arguments: MagicMock(visit=visit))
    monkeypatch.setattr(node_mirror, "Applier", lambda *_arguments: applied)
    monkeypatch.setattr(node_mirror, "wait_for_objects", lambda *_arguments: [])
    spec = {**CLUSTER_ARGUMENT_SPEC, **NODE_MIRROR_ARGUMENT_SPEC}
    options = module_options(spec, endpoint="http://10.96.10.20:5001", upstreams=["docker.io"], image="registry:3")
    return node_mirror.run_node_mirror(options, check_mode=False), applied.kinds


def test_run_creates_daemon_set_if_one_node_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result, kinds = run(monkeypatch, {"node-2"})

    assert result["msg"].splitlines() == [
        "node-2: the Pod does not run",
        "the new configuration takes effect after a restart of the runtime on node-1",
    ]
    assert [node["name"] for node in result["nodes"]] == ["node-1"]
    assert kinds == ["Namespace", "Secret", "DaemonSet"]


def test_run_creates_no_daemon_set_if_all_nodes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    result, kinds = run(monkeypatch, {"node-1", "node-2"})

    assert result["failed"]
    assert kinds == ["Namespace"]


def test_pods_do_not_pull_existing_image_with_tag_latest() -> None:
    objects = NodeMirrorObjects("k8scr-nodes", "node-mirror", "registry:latest", {}, "", "", [])
    spec = objects.daemon_set()["spec"]["template"]["spec"]

    containers = [*spec["initContainers"], *spec["containers"], *objects.visit_pod("a", "node-1")["spec"]["containers"]]

    assert {container["imagePullPolicy"] for container in containers} == {"IfNotPresent"}
