# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials of the API server, valid ones and ones that expire during a push."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import layout, users
from cluster.kubectl import kubectl
from cluster.waiting import wait_until

from .conftest import Task
from .image_tasks import push

SIZE = 128 << 20
NAMESPACE = "--namespace=k8scr"


def apply(*objects: dict[str, Any]) -> None:
    kubectl(
        "apply", NAMESPACE, "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


@pytest.fixture(scope="module")
def robot() -> str:
    """A service account with the permission to push."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "k8scr-push"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "k8scr"}],
    }
    apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}, binding)
    users.wait_for_permission("system:serviceaccount:k8scr:robot", "k8scr")
    return "robot"


def test_push_accepts_token_of_service_account(task: Task, robot: str, repository: str) -> None:
    token = kubectl("create", "token", robot, NAMESPACE).strip()
    server = {"kubeconfig": None, "host": layout.API_URL, "ca_cert": str(layout.PKI / "ca.crt"), "api_key": token}

    result = push(task, images.ensure("busybox"), repository, **server)

    assert result["changed"], result.get("msg")
    assert token not in json.dumps(result)


def test_push_needs_permissions_of_impersonated_user(task: Task, robot: str, repository: str) -> None:
    busybox = images.ensure("busybox")

    allowed = push(task, busybox, repository, impersonate_user=f"system:serviceaccount:k8scr:{robot}")
    forbidden = push(task, busybox, f"{repository}/2", impersonate_user="nobody")

    assert allowed["changed"], allowed.get("msg")
    assert 'User "nobody" cannot get resource "pods/proxy"' in forbidden["msg"]


def test_push_continues_after_token_expires(
    task: Task, robot: str, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    pods = [f"bound-{repository.rpartition('/')[2]}-{number}" for number in (1, 2)]
    first, second = (bound_token(robot, pod) for pod in pods)
    token = tmp_path / "token"
    token.write_text(first)
    large = images.ensure_random(SIZE, 4)

    def expire_first() -> None:
        wait_until(lambda: sum(transferred) > 0, "the push sends a blob")
        token.write_text(second)
        kubectl("delete", NAMESPACE, "pod", pods[0], "--now")

    thread = threading.Thread(target=expire_first)
    thread.start()
    # The API server caches an accepted token for ten seconds; the push takes sixteen.
    options = {"kubeconfig": str(with_plugin(tmp_path, token)), "bandwidth": "8M", "chunk_size": "2M"}
    result = push(task, large, repository, **options)
    thread.join()

    kubectl("delete", NAMESPACE, "pod", pods[1], "--now")
    assert result["changed"], result.get("msg")
    assert any("expired during a request" in retry["why"] for retry in result["retries"])
    assert first not in json.dumps(result)


def bound_token(account: str, pod: str) -> str:
    """Create a Pod, and return a token of the service account that is valid as long as the Pod exists."""
    spec = {
        "serviceAccountName": account,
        "schedulerName": "none",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "none",
                "image": "registry.invalid/none:1",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec})
    return kubectl(
        "create", "token", account, NAMESPACE, "--bound-object-kind=Pod", f"--bound-object-name={pod}"
    ).strip()


def with_plugin(folder: Path, token: Path) -> Path:
    """Return a kubeconfig with a credential plugin that reads the token from a file."""
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    script = folder / "plugin"
    text = json.dumps({**credential, "status": {"token": "TOKEN"}})
    script.write_text(f"#!/bin/sh\necho '{text}' | sed \"s/TOKEN/$(cat {token})/\"\n")
    script.chmod(0o755)
    plugin = {"apiVersion": credential["apiVersion"], "command": str(script), "interactiveMode": "Never"}
    kubeconfig = yaml.safe_load(layout.KUBECONFIG.read_text())
    kubeconfig["users"][0]["user"] = {"exec": plugin}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    return path
