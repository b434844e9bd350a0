# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials that the real API server accepts, and that end while they are used."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import layout

from .conftest import Task, kubectl, wait_until

SIZE = 128 << 20
NAMESPACE = "--namespace=k8scr"


def apply(*objects: dict[str, Any]) -> None:
    kubectl(
        "apply", NAMESPACE, "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


@pytest.fixture(scope="module")
def robot() -> str:
    """A service account that may push."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "k8scr-push"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "k8scr"}],
    }
    apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}, binding)
    return "robot"


def busybox(repository: str) -> list[dict[str, str]]:
    return [{"source": f"oci:{images.ensure('busybox').layout}", "name": f"docker.io/{repository}:1"}]


def test_a_service_accounts_token_is_enough_to_push(task: Task, robot: str, repository: str) -> None:
    token = kubectl("create", "token", robot, NAMESPACE).strip()
    server = {"kubeconfig": None, "host": layout.API_URL, "ca_cert": str(layout.PKI / "ca.crt"), "api_key": token}

    result = task("k8scr_push", images=busybox(repository), **server)

    assert result["changed"], result.get("msg")
    assert token not in json.dumps(result)


def test_who_is_impersonated_is_who_needs_the_rights(task: Task, robot: str, repository: str) -> None:
    robots = f"system:serviceaccount:k8scr:{robot}"

    allowed = task("k8scr_push", images=busybox(repository), impersonate_user=robots)
    forbidden = task("k8scr_push", images=busybox(f"{repository}/2"), impersonate_user="nobody")

    assert allowed["changed"], allowed.get("msg")
    assert 'User "nobody" cannot get resource "pods/proxy"' in forbidden["msg"]


def test_a_push_outlives_its_token(task: Task, robot: str, repository: str, tmp_path: Path, moved: list[int]) -> None:
    first, second = (bound_token(robot, f"bound-{repository.rpartition('/')[2]}-{number}") for number in (1, 2))
    token = tmp_path / "token"
    token.write_text(first)
    large = images.ensure_random(SIZE, 4)
    wanted = [{"source": f"oci:{large.layout}", "name": f"docker.io/{repository}:1"}]

    def end_the_first() -> None:
        wait_until(lambda: sum(moved) > 0, "the push sends a blob")
        token.write_text(second)
        kubectl("delete", NAMESPACE, "pod", f"bound-{repository.rpartition('/')[2]}-1", "--now")

    thread = threading.Thread(target=end_the_first)
    thread.start()
    # The API server believes a token that it has seen for ten seconds more; the push takes sixteen.
    options = {"kubeconfig": str(with_plugin(tmp_path, token)), "bandwidth": "8M", "chunk_size": "2M"}
    result = task("k8scr_push", images=wanted, **options)
    thread.join()

    kubectl("delete", NAMESPACE, "pod", f"bound-{repository.rpartition('/')[2]}-2", "--now")
    assert result["changed"], result.get("msg")
    assert any("expired during a request" in retry["why"] for retry in result["retries"])
    assert first not in json.dumps(result)


def bound_token(account: str, pod: str) -> str:
    """A token that ends with a Pod."""
    spec = {
        "serviceAccountName": account,
        "schedulerName": "nobody",
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
    """A kubeconfig whose credential plugin tells what is in a file."""
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
