# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The permissions of users with one of the registry's Roles only, and their requests in the audit log."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, components, layout, users
from cluster.kubectl import kubectl
from images.sizes import MIB

from .conftest import Task
from .host_registries import NAMESPACE, host_registry
from .image_tasks import pull, push
from .layout_writer import LayoutWriter


@pytest.fixture(scope="module")
def pusher() -> Path:
    """A user with only the permission to push."""
    return _user("pusher", "k8scr-push")


@pytest.fixture(scope="module")
def puller() -> Path:
    """A user with only the permission to pull."""
    return _user("puller", "k8scr-pull")


@pytest.fixture(scope="module")
def pruner() -> Path:
    """A user with only the permission to prune."""
    return _user("pruner", "k8scr-prune")


@pytest.fixture(scope="module")
def proxy_user() -> Path:
    """A user with the permission for pods/proxy of the write port only; not even `get` on the Pod is allowed."""
    return _user("proxy-user", _proxy_role("k8scr", "k8scr-0:5000"))


def _proxy_role(namespace: str, resource_name: str) -> str:
    role = kubectl(
        "create", "role", "proxy-user", "--verb=get,create,update,patch", "--resource=pods/proxy",
        f"--resource-name={resource_name}", f"--namespace={namespace}", "--dry-run=client", "--output=yaml",
    )  # fmt: skip
    kubectl("apply", "--filename=-", stdin=role)
    return "proxy-user"


def _user(name: str, role: str, namespace: str = "k8scr") -> Path:
    binding = kubectl(
        "create", "rolebinding", name, f"--role={role}", f"--user={name}", f"--namespace={namespace}",
        "--dry-run=client", "--output=yaml",
    )  # fmt: skip
    kubectl("apply", "--filename=-", stdin=binding)
    users.wait_for_permission(name, namespace)
    return users.make(name)


def push_busybox(task: Task, kubeconfig: Path, repository: str, **options: Any) -> dict[str, Any]:
    """Push a small image as a user, with further options of the module, and return the result."""
    return push(task, images.ensure("busybox"), repository, kubeconfig=str(kubeconfig), **options)


def verbs_since(position: int, user: str) -> set[str]:
    """Return the verbs of a user's requests to pods/proxy since a position in the audit log."""
    audit.settle()
    return {event["verb"] for event in audit.proxy_events(position) if event["user"]["username"] == user}


def test_push_role_allows_push(task: Task, pusher: Path, repository: str) -> None:
    result = push_busybox(task, pusher, repository)

    assert result["changed"], result.get("msg")


def test_push_to_third_party_registry_needs_only_pods_proxy(task: Task, repository: str, tmp_path: Path) -> None:
    # The Pod's name is that of a StatefulSet's Pod, so the module looks for a Secret, which this user cannot read.
    with host_registry("distribution-3", tmp_path / "registry", "third-party-0") as registry:
        user = _user("proxy-user", _proxy_role(NAMESPACE, f"third-party-0:{registry.port}"), NAMESPACE)

        result = push_busybox(task, user, repository, **registry.options)

    assert result["changed"], result.get("msg")


@pytest.mark.parametrize("check_mode", [False, True])
def test_push_names_unreadable_secret(task: Task, proxy_user: Path, repository: str, check_mode: bool) -> None:
    result = push_busybox(task, proxy_user, repository, check_mode=check_mode)

    assert result["failed"]
    assert not result["changed"]
    assert 'User "proxy-user" cannot get resource "secrets"' in result["msg"]
    assert "allow get on the Secret k8scr-write in namespace k8scr" in result["msg"]


def test_pull_from_write_port_names_read_only_port(
    task: Task, proxy_user: Path, repository: str, tmp_path: Path
) -> None:
    dest = f"oci:{tmp_path}/layout"

    result = pull(task, repository, dest, kubeconfig=str(proxy_user), registry_port=5000)

    assert "To pull, use the registry's read-only port (registry_port, 5001" in result["msg"]


def test_push_of_new_image_uses_four_verbs(task: Task, pusher: Path, repository: str, tmp_path: Path) -> None:
    new = LayoutWriter(tmp_path / "layout")
    new.add(f"docker.io/{repository}:1", layers=1, size=3 * MIB + secrets.randbelow(MIB))
    position = audit.position()

    task("k8scr_push", kubeconfig=str(pusher), images=[new.finish()])

    assert verbs_since(position, "pusher") == {"get", "create", "update", "patch"}


def test_push_in_check_mode_uses_only_get(task: Task, pusher: Path, repository: str) -> None:
    position = audit.position()

    push_busybox(task, pusher, repository, check_mode=True)

    assert verbs_since(position, "pusher") == {"get"}


def test_info_as_puller_uses_only_get(task: Task, puller: Path, repository: str) -> None:
    push(task, images.ensure("busybox"), repository)
    position = audit.position()

    result = task("k8scr_info", kubeconfig=str(puller), repositories=["live/*"], verify="content", referrers=True)

    assert f"{repository}:1" in [image["name"] for image in result["images"]]
    assert verbs_since(position, "puller") == {"get"}


def test_push_of_existing_image_reads_write_path_image_and_list_of_names(
    task: Task, pusher: Path, repository: str
) -> None:
    push_busybox(task, pusher, repository)
    audit.settle()
    position = audit.position()

    result = push_busybox(task, pusher, repository)

    audit.settle()
    assert not result["changed"]
    requests = [event for event in audit.events(position) if event["user"]["username"] == "pusher"]
    assert [event["objectRef"]["resource"] for event in requests] == ["secrets", "pods", "configmaps"]


def test_push_names_missing_permission_of_user_with_pull_role(task: Task, puller: Path, repository: str) -> None:
    result = push_busybox(task, puller, repository)

    assert result["failed"]
    assert not result["changed"]
    assert 'User "puller" cannot get resource "pods/proxy"' in result["msg"]
    assert "k8scr-0:5000" in result["msg"]


@pytest.mark.parametrize("user", ["puller", "pruner"])
def test_pull_and_prune_roles_allow_no_creation(request: pytest.FixtureRequest, user: str) -> None:
    request.getfixturevalue(user)
    for port in (5000, 5001):
        for verb in ("create", "update", "patch"):
            assert not _can_i(user, verb, "pods/proxy", f"k8scr-0:{port}"), (verb, port)


def test_pull_role_allows_only_get_on_read_only_port(puller: Path) -> None:
    assert _can_i("puller", "get", "pods/proxy", "k8scr-0:5001")
    assert not _can_i("puller", "get", "pods/proxy", "k8scr-0:5000")
    assert not _can_i("puller", "get", "secrets", "k8scr-write")


def test_push_and_prune_roles_allow_reading_write_path_and_no_other_secret(pusher: Path, pruner: Path) -> None:
    for user in ("pusher", "pruner"):
        assert _can_i(user, "get", "secrets", "k8scr-write")
        assert not _can_i(user, "get", "secrets", "k8scr")
        assert not _can_i(user, "list", "secrets", "")


def _can_i(user: str, verb: str, resource: str, name: str) -> bool:
    """Return whether `kubectl auth can-i` reports a permission of a user."""
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", "--namespace=k8scr", "auth", "can-i"]
    command += [verb, f"{resource.partition('/')[0]}{f'/{name}' if name else ''}", f"--as={user}"]
    command += [f"--subresource={resource.partition('/')[2]}"] if "/" in resource else []
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"


def test_pull_uses_only_get(task: Task, puller: Path, repository: str, tmp_path: Path) -> None:
    push(task, images.ensure("busybox"), repository)
    position = audit.position()

    result = pull(task, repository, f"oci:{tmp_path}/layout", kubeconfig=str(puller))

    assert result["changed"], result.get("msg")
    assert verbs_since(position, "puller") == {"get"}


def test_push_names_missing_permission_of_user_without_role(task: Task, repository: str) -> None:
    result = push_busybox(task, users.make("stranger"), repository)

    assert 'User "stranger" cannot get resource "pods/proxy"' in result["msg"]


def test_push_role_allows_no_deletion(task: Task, pusher: Path, repository: str) -> None:
    push_busybox(task, pusher, repository)

    result = task("k8scr_image", name=f"docker.io/{repository}:1", state="absent", kubeconfig=str(pusher))

    assert 'User "pusher" cannot delete resource "pods/proxy"' in result["msg"]
    assert "the Role NAME-prune of the role registry, such as k8scr-prune, allows it" in result["msg"]


def test_push_role_allows_copy(task: Task, pusher: Path, repository: str) -> None:
    push_busybox(task, pusher, repository)
    names = {"name": f"docker.io/{repository}/copy:1", "from": f"docker.io/{repository}:1"}

    result = task("k8scr_image", kubeconfig=str(pusher), **names)

    assert result["changed"], result.get("msg")


def test_prune_role_allows_deletion(task: Task, pruner: Path, repository: str) -> None:
    push(task, images.ensure("busybox"), repository)
    position = audit.position()

    result = task("k8scr_image", name=f"docker.io/{repository}:1", state="absent", kubeconfig=str(pruner))

    # The registry of these tests rejects the deletion, which the API server allows.
    assert "set registry_delete: true" in result["msg"]
    assert verbs_since(position, "pruner") == {"get", "delete"}


def test_push_role_allows_no_push_to_other_pod(task: Task, pusher: Path, repository: str) -> None:
    result = push_busybox(task, pusher, repository, registry="k8scr-1")

    assert "forbid" in result["msg"]


def test_push_to_read_only_port_names_write_port(task: Task, repository: str) -> None:
    result = push(task, images.ensure("busybox"), repository, registry_port=5001)

    assert result["failed"]
    assert "does not serve below its write path at this port" in result["msg"]
    assert "Use its write port (registry_port, 5000" in result["msg"]


def test_service_rejects_push_from_node(repository: str) -> None:
    service = kubectl("get", "service", "k8scr", "--namespace=k8scr", "--output=jsonpath={.spec.clusterIP}")
    layout_folder, reference = str(images.ensure("busybox").layout), f"{service}:5001/{repository}:1"
    command = components.inside("node-1", str(layout.BIN / "crane"), "push", "--insecure", layout_folder, reference)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode
    assert "405" in done.stderr or "read-only" in done.stderr
