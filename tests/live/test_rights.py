# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what: users with the role's Roles and no other rights, and what the audit log saw of them."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, components, layout, users

from .conftest import Task, kubectl
from .host_registries import NAMESPACE, host_registry
from .layout_writer import MEBIBYTE, LayoutWriter


@pytest.fixture(scope="module")
def pusher() -> Path:
    """A user who may push and nothing else."""
    return _user("pusher", "k8scr-push")


@pytest.fixture(scope="module")
def puller() -> Path:
    """A user who may pull and nothing else."""
    return _user("puller", "k8scr-pull")


@pytest.fixture(scope="module")
def pruner() -> Path:
    """A user who may prune and nothing else."""
    return _user("pruner", "k8scr-prune")


@pytest.fixture(scope="module")
def proxy_user() -> Path:
    """A user with the permission for pods/proxy of the write port alone, who cannot even look at the Pod."""
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
    return users.make(name)


def push_options(kubeconfig: Path, repository: str) -> dict[str, Any]:
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": f"docker.io/{repository}:1"}
    return {"kubeconfig": str(kubeconfig), "images": [source]}


def verbs_since(position: int, user: str) -> set[str]:
    audit.settle()
    return {event["verb"] for event in audit.proxy_events(position) if event["user"]["username"] == user}


def test_whoever_has_the_role_for_pushing_may_push(task: Task, pusher: Path, repository: str) -> None:
    result = task("k8scr_push", **push_options(pusher, repository))

    assert result["changed"], result.get("msg")


def test_push_to_foreign_registry_needs_nothing_but_pods_proxy(task: Task, repository: str, tmp_path: Path) -> None:
    # Its Pod is named as one of a StatefulSet, so the module looks for a Secret, which this user may not read.
    with host_registry("distribution-3", tmp_path / "registry", "foreign-0") as foreign:
        user = _user("proxy-user", _proxy_role(NAMESPACE, f"foreign-0:{foreign.port}"), NAMESPACE)

        result = task("k8scr_push", **{**push_options(user, repository), **foreign.options})

    assert result["changed"], result.get("msg")


@pytest.mark.parametrize("check_mode", [False, True])
def test_push_names_secret_that_user_may_not_read(
    task: Task, proxy_user: Path, repository: str, check_mode: bool
) -> None:
    result = task("k8scr_push", check_mode=check_mode, **push_options(proxy_user, repository))

    assert result["failed"]
    assert not result["changed"]
    assert 'User "proxy-user" cannot get resource "secrets"' in result["msg"]
    assert "allow get on the Secret k8scr-write in namespace k8scr" in result["msg"]


def test_pull_from_write_port_names_read_only_port(
    task: Task, proxy_user: Path, repository: str, tmp_path: Path
) -> None:
    wanted = {"name": f"docker.io/{repository}:1", "dest": f"oci:{tmp_path}/layout"}

    result = task("k8scr_pull", kubeconfig=str(proxy_user), registry_port=5000, images=[wanted])

    assert "To pull, use the registry's read-only port (registry_port, 5001" in result["msg"]


def test_a_push_needs_four_verbs_and_is_in_the_audit_log(
    task: Task, pusher: Path, repository: str, tmp_path: Path
) -> None:
    unheard_of = LayoutWriter(tmp_path / "layout")
    unheard_of.add(f"docker.io/{repository}:1", layers=1, size=3 * MEBIBYTE + secrets.randbelow(MEBIBYTE))
    position = audit.position()

    task("k8scr_push", kubeconfig=str(pusher), images=[unheard_of.finish()])

    assert verbs_since(position, "pusher") == {"get", "create", "update", "patch"}


def test_check_mode_only_reads(task: Task, pusher: Path, repository: str) -> None:
    position = audit.position()

    task("k8scr_push", check_mode=True, **push_options(pusher, repository))

    assert verbs_since(position, "pusher") == {"get"}


def test_image_that_is_there_costs_one_request_beside_that_for_write_path(
    task: Task, pusher: Path, repository: str
) -> None:
    task("k8scr_push", **push_options(pusher, repository))
    audit.settle()
    position = audit.position()

    result = task("k8scr_push", **push_options(pusher, repository))

    audit.settle()
    assert not result["changed"]
    requests = [event for event in audit.events(position) if event["user"]["username"] == "pusher"]
    assert [event["objectRef"]["resource"] for event in requests] == ["secrets", "pods"]


def test_whoever_may_pull_may_not_push_and_is_told_what_is_missing(task: Task, puller: Path, repository: str) -> None:
    result = task("k8scr_push", **push_options(puller, repository))

    assert result["failed"]
    assert not result["changed"]
    assert 'User "puller" cannot get resource "pods/proxy"' in result["msg"]
    assert "k8scr-0:5000" in result["msg"]


@pytest.mark.parametrize("user", ["puller", "pruner"])
def test_only_role_for_pushing_allows_creation(request: pytest.FixtureRequest, user: str) -> None:
    request.getfixturevalue(user)
    for port in (5000, 5001):
        for verb in ("create", "update", "patch"):
            assert not _may(user, verb, "pods/proxy", f"k8scr-0:{port}"), (verb, port)


def test_role_for_pulling_allows_nothing_but_get_on_read_only_port(puller: Path) -> None:
    assert _may("puller", "get", "pods/proxy", "k8scr-0:5001")
    assert not _may("puller", "get", "pods/proxy", "k8scr-0:5000")
    assert not _may("puller", "get", "secrets", "k8scr-write")


def test_roles_for_writing_allow_reading_write_path_and_no_other_secret(pusher: Path, pruner: Path) -> None:
    for user in ("pusher", "pruner"):
        assert _may(user, "get", "secrets", "k8scr-write")
        assert not _may(user, "get", "secrets", "k8scr")
        assert not _may(user, "list", "secrets", "")


def _may(user: str, verb: str, resource: str, name: str) -> bool:
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", "--namespace=k8scr", "auth", "can-i"]
    command += [verb, f"{resource.partition('/')[0]}{f'/{name}' if name else ''}", f"--as={user}"]
    command += [f"--subresource={resource.partition('/')[2]}"] if "/" in resource else []
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"


def test_whoever_may_pull_pulls_by_reading_alone(task: Task, puller: Path, repository: str, tmp_path: Path) -> None:
    task("k8scr_push", images=push_options(puller, repository)["images"])
    position = audit.position()

    image = {"name": f"docker.io/{repository}:1", "dest": f"oci:{tmp_path}/layout"}
    result = task("k8scr_pull", kubeconfig=str(puller), images=[image])

    assert result["changed"], result.get("msg")
    assert verbs_since(position, "puller") == {"get"}


def test_a_stranger_is_told_which_right_is_missing(task: Task, repository: str) -> None:
    result = task("k8scr_push", **push_options(users.make("stranger"), repository))

    assert 'User "stranger" cannot get resource "pods/proxy"' in result["msg"]


def test_no_other_pod_is_within_reach_of_the_role(task: Task, pusher: Path, repository: str) -> None:
    result = task("k8scr_push", registry="k8scr-1", **push_options(pusher, repository))

    assert "forbid" in result["msg"]


def test_the_nodes_port_takes_no_pushes(task: Task, repository: str) -> None:
    options = push_options(Path(), repository)

    result = task("k8scr_push", images=options["images"], registry_port=5001)

    assert result["failed"]
    assert "does not serve below its write path at this port" in result["msg"]
    assert "Use its write port (registry_port, 5000" in result["msg"]


def test_nothing_in_the_cluster_pushes_through_the_service(repository: str) -> None:
    service = kubectl("get", "service", "k8scr", "--namespace=k8scr", "--output=jsonpath={.spec.clusterIP}")
    layout_folder, reference = str(images.ensure("busybox").layout), f"{service}:5001/{repository}:1"
    command = components.inside("node-1", str(layout.BIN / "crane"), "push", "--insecure", layout_folder, reference)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode
    assert "405" in done.stderr or "read-only" in done.stderr
