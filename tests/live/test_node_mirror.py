# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that the role node_mirror configures through Pods."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from cluster import images, layout
from cluster.kubectl import kubectl
from cluster.waiting import wait_until
from unit.plugins.module_utils.support.host import FakeFiles

from .conftest import Task
from .containerd_copies import containerd_copies

ENDPOINT = "http://10.96.10.20:5001"
ADMINISTRATORS = '# Do not touch.\nserver = "https://admin.example.com"\n'


@pytest.fixture(scope="module")
def run_id() -> str:
    """A name for the hosts, folders and objects of this run."""
    return f"live-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def namespace(run_id: str) -> Iterator[str]:
    """A namespace that allows Pods with folders of their node."""
    kubectl("create", "namespace", run_id)
    kubectl("label", "namespace", run_id, "pod-security.kubernetes.io/enforce=privileged")
    yield run_id
    kubectl("delete", "namespace", run_id, "--wait=false")


@pytest.fixture(autouse=True)
def config(run_id: str) -> Iterator[str]:
    """The path on each node of a copy of its containerd's configuration."""
    with containerd_copies(run_id) as path:
        yield path


@pytest.fixture
def hosts(run_id: str) -> Iterator[list[str]]:
    """Two hosts of images; the files for them are removed after the test."""
    names = [f"{run_id}.example.net", f"admin-{run_id}.example.net"]
    yield names
    for node in layout.NODES:
        for name in names:
            shutil.rmtree(node.certs_d / name, ignore_errors=True)


@pytest.fixture
def configure(task: Task, namespace: str, config: str, hosts: list[str]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs k8scr_node_mirror for both nodes; the nodes are restored after the test."""

    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        defaults = {
            "runtime": "containerd",
            "endpoint": ENDPOINT,
            "upstreams": hosts,
            "image": images.REGISTRY,
            "namespace": namespace,
            "config": config,
            "program": str(layout.BIN / "containerd"),
        }
        return task("k8scr_node_mirror", check_mode, **{**defaults, **options})

    yield run
    result = run(state="absent")
    assert not result.get("failed"), result["msg"]


def files(hosts: list[str]) -> list[dict[str, str]]:
    """Return the files for hosts on each node, without backups."""
    found = []
    for node in layout.NODES:
        names = [node.certs_d / host / "hosts.toml" for host in hosts]
        found.append({str(file.relative_to(node.certs_d)): file.read_text() for file in names if file.exists()})
    return found


def write_file_of_administrator(number: int, host: str) -> Path:
    """Write an administrator's file for a host on one node."""
    file = layout.NODES[number].certs_d / host / "hosts.toml"
    file.parent.mkdir()
    file.write_text(ADMINISTRATORS)
    return file


def run_role(folder: Path, **variables: Any) -> None:
    """Run the role on localhost."""
    role = {"name": "k8scr.core.node_mirror"}
    tasks = [{"ansible.builtin.include_role": role, "vars": variables}]
    playbook = folder / "mirror.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    command = ["ansible-playbook", str(playbook)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_role_writes_same_files_as_on_node_and_removes_them(
    tmp_path: Path, run_id: str, config: str, hosts: list[str]
) -> None:
    write_file_of_administrator(0, hosts[1])
    before = files(hosts)
    mirror = Mirror.from_endpoint(ENDPOINT, qualify=False, fallback=False, dial_timeout="2s")
    expected = []
    for number, existing in enumerate(before):
        certs_d = tmp_path / str(number)
        for name, text in existing.items():
            (certs_d / name).parent.mkdir(parents=True)
            (certs_d / name).write_text(text)
        apply_changes(plan_mirror("containerd", certs_d, hosts, mirror)[0], FakeFiles(), backup=False)
        expected.append({f"{host}/hosts.toml": (certs_d / host / "hosts.toml").read_text() for host in hosts})
    variables = {
        "node_mirror_via": "daemonset",
        "node_mirror_endpoint": ENDPOINT,
        "node_mirror_upstreams": hosts,
        "node_mirror_fallback": False,
        "node_mirror_containerd": str(layout.BIN / "containerd"),
        "node_mirror_containerd_config": config,
        "node_mirror_image": images.REGISTRY,
        "node_mirror_namespace": f"{run_id}-own",
    }

    run_role(tmp_path, **variables)
    written = files(hosts)
    run_role(tmp_path, **variables, node_mirror_state="absent")

    assert written == expected
    assert files(hosts) == before
    assert f"{run_id}-own" not in kubectl("get", "namespaces", "--output=name")


def test_second_task_changes_nothing(configure: Callable[..., dict[str, Any]], hosts: list[str]) -> None:
    write_file_of_administrator(1, hosts[1])
    first = configure()

    second = configure()

    actions = [{file["action"] for file in node["files"]} for node in first["nodes"]]
    assert actions == [{"created"}, {"created", "updated"}]
    assert [len(node["backups"]) for node in first["nodes"]] == [0, 1]
    assert not second["changed"], second["diff"]
    assert {file["action"] for node in second["nodes"] for file in node["files"]} == {"unchanged"}


def test_check_mode_reports_files_of_each_node_and_changes_nothing(
    configure: Callable[..., dict[str, Any]], namespace: str, hosts: list[str]
) -> None:
    write_file_of_administrator(1, hosts[1])
    before = files(hosts)

    result = configure(check_mode=True)

    assert [node["name"] for node in result["nodes"]] == [node.name for node in layout.NODES]
    assert [sorted(file["action"] for file in node["files"]) for node in result["nodes"]] == [
        ["created", "created"],
        ["created", "updated"],
    ]
    headers = [diff["before_header"] for diff in result["diff"]]
    assert f"node-2:{layout.NODES[1].certs_d}/{hosts[1]}/hosts.toml" in headers
    assert files(hosts) == before
    assert kubectl("get", "pods,secrets,daemonsets", f"--namespace={namespace}", "--output=name") == ""


def test_new_node_configures_itself(configure: Callable[..., dict[str, Any]], namespace: str, hosts: list[str]) -> None:
    configure()
    configured = files(hosts)
    for host in hosts:
        shutil.rmtree(layout.NODES[1].certs_d / host)

    kubectl("delete", "pods", f"--namespace={namespace}", "--field-selector=spec.nodeName=node-2", "--wait=false")
    kubectl("rollout", "status", "daemonset/node-mirror", f"--namespace={namespace}", "--timeout=60s")

    wait_until(lambda: files(hosts) == configured, "the new node has the files")


def test_pod_of_node_with_unknown_files_waits_for_next_task(
    configure: Callable[..., dict[str, Any]], namespace: str, hosts: list[str]
) -> None:
    configure(upstreams=hosts[:1])
    write_file_of_administrator(1, hosts[1])
    on_node = "--field-selector=spec.nodeName=node-2"
    kubectl("delete", "pods", f"--namespace={namespace}", on_node, "--wait=false")

    def message() -> str:
        path = "jsonpath={.items[*].status.initContainerStatuses[*].lastState.terminated.message}"
        return kubectl("get", "pods", f"--namespace={namespace}", on_node, f"--output={path}")

    wait_until(lambda: "Run the role node_mirror again" in message(), "the Pod has the message")

    result = configure(upstreams=hosts[:1])

    assert not result.get("failed"), result["msg"]
    kubectl("rollout", "status", "daemonset/node-mirror", f"--namespace={namespace}", "--timeout=60s")


def test_task_configures_other_nodes_and_new_ones_if_one_node_fails(
    configure: Callable[..., dict[str, Any]], namespace: str, hosts: list[str]
) -> None:
    invalid = write_file_of_administrator(1, hosts[1])
    invalid.write_text("invalid\n")

    result = configure()
    for host in hosts:
        shutil.rmtree(layout.NODES[0].certs_d / host)
    on_node = "--field-selector=spec.nodeName=node-1"
    kubectl("delete", "pods", f"--namespace={namespace}", on_node, "--wait=false")

    assert result["failed"]
    assert f"node-2: {invalid.parent.parent}" in result["msg"]
    assert [node["name"] for node in result["nodes"]] == ["node-1"]
    wait_until(lambda: [len(found) for found in files(hosts)] == [2, 1], "the new node has the files")
    assert invalid.read_text() == "invalid\n"


def test_task_names_nodes_whose_pods_do_not_run(configure: Callable[..., dict[str, Any]], hosts: list[str]) -> None:
    result = configure(image="missing.example.net/image:1", wait_timeout=2)

    assert result["failed"]
    assert "node-1: the Pod node-mirror-" in result["msg"]
    assert "node-2: the Pod node-mirror-" in result["msg"]
    assert "missing.example.net/image:1" in result["msg"]
    assert files(hosts) == [{}, {}]
