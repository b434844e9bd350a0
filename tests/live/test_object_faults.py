# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_apply while the API server restarts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.client import KubernetesClient
from cluster import cluster
from cluster.kubectl import kubectl
from cluster.waiting import once

from .conftest import Task

NAMESPACE = "apply-restart"
COUNT = 150
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    *(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"object-{number}", "namespace": NAMESPACE}}
        for number in range(COUNT)
    ),
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The actions that change objects, in order, repeated requests included."""
    actions: list[str] = []
    send = KubernetesClient._send

    def record(self: KubernetesClient, action: str, *arguments: Any, **options: Any) -> Any:
        if action.startswith(("apply", "create", "delete")):
            actions.append(action)
        return send(self, action, *arguments, **options)

    monkeypatch.setattr(KubernetesClient, "_send", record)
    return actions


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the API server and delete the namespace after the test."""
    yield
    cluster.up()
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def restart_api_server() -> None:
    cluster.stop("kube-apiserver", signal.SIGKILL)
    cluster.start("kube-apiserver")


@pytest.mark.parametrize("keep_existing", [False, True])
def test_apply_survives_api_server_restart(task: Task, sent: list[str], keep_existing: bool) -> None:
    fault = once(lambda: len(sent) > COUNT // 3, restart_api_server)

    result = task("k8scr_apply", definition=OBJECTS, keep_existing=keep_existing)

    fault.join()
    assert not result.get("failed"), result.get("msg")
    assert {entry["action"] for entry in result["objects"]} == {"created"}
    assert len(kubectl("get", "configmaps", f"--namespace={NAMESPACE}", "--output=name").split()) >= COUNT


def test_absent_survives_api_server_restart(task: Task, sent: list[str]) -> None:
    task("k8scr_apply", definition=OBJECTS)
    sent.clear()
    fault = once(lambda: len(sent) > COUNT // 3, restart_api_server)

    result = task("k8scr_apply", definition=OBJECTS, state="absent")

    fault.join()
    assert not result.get("failed"), result.get("msg")
    assert {entry["action"] for entry in result["objects"]} == {"deleted"}
