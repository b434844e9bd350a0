# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.nodes import Node, named_nodes

CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def node(spec: dict[str, Any] | None = None, **status: Any) -> Node:
    return Node.from_object({"metadata": {"name": "node-1"}, "spec": spec or {}, "status": status})


@pytest.mark.parametrize(("version", "expected"), [("v1.34.9", False), ("v1.35.0+k3s1", True), ("v2.0.0", True)])
def test_node_has_image_volumes_from_kubelet_1_35(version: str, expected: bool) -> None:
    assert node(nodeInfo={"kubeletVersion": version}).has_image_volumes is expected


@pytest.mark.parametrize("version", ["", "devel", "v1"])
def test_node_has_no_image_volumes_if_version_is_unknown(version: str) -> None:
    assert not node(nodeInfo={"kubeletVersion": version}).has_image_volumes


def test_node_reports_message_of_condition_if_not_ready() -> None:
    conditions = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]

    assert node(conditions=conditions).unready == "Kubelet stopped posting node status"


def test_node_is_not_ready_without_conditions() -> None:
    assert node().unready == "its kubelet has not reported yet"


def test_node_has_sizes_of_images_by_all_names() -> None:
    images = [{"names": ["a@sha256:1", "a:1"], "sizeBytes": 5}, {"names": None}]

    assert node(images=images).images == {"a@sha256:1": 5, "a:1": 5}


@pytest.mark.parametrize(
    ("taint", "tolerations", "expected"),
    [
        (CONTROL_PLANE, [], True),
        (CONTROL_PLANE, [{"operator": "Exists"}], False),
        (CONTROL_PLANE, [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}], False),
        (CONTROL_PLANE, [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoExecute"}], True),
        ({"key": "gpu", "value": "a100", "effect": "NoSchedule"}, [{"key": "gpu", "value": "a100"}], False),
        ({"key": "gpu", "value": "a100", "effect": "NoSchedule"}, [{"key": "gpu", "value": "h100"}], True),
        ({"key": "gpu", "effect": "PreferNoSchedule"}, [], False),
        ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, [], False),
    ],
)
def test_node_rejects_pods_that_do_not_tolerate_its_taint(
    taint: dict[str, str], tolerations: list[dict[str, str]], expected: bool
) -> None:
    assert node({"taints": [taint]}).rejects(tolerations) is expected


def test_named_nodes_are_all_nodes_without_names() -> None:
    assert [each.name for each in named_nodes([node()], [])] == ["node-1"]


def test_named_nodes_reject_names_of_other_nodes() -> None:
    with pytest.raises(InputError, match="the cluster has no node node-2, node-3 with the labels in node_selector"):
        named_nodes([node()], ["node-3", "node-1", "node-2"])
