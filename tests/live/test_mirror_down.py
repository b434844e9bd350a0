# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes whose mirror is down: pulls from the upstream registry, and a reboot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import images
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from cluster import cluster, components, layout, nodes
from cluster.kubectl import kubectl
from cluster.waiting import wait_until
from unit.plugins.module_utils.support.host import FakeFiles

from .conftest import Task
from .image_tasks import push_entry

DIAL_TIMEOUT = 1
"""Seconds."""
BLACK_HOLE = "10.77.0.1:5999"


def _registry_address() -> str:
    return kubectl("get", "service", "k8scr", "--namespace=k8scr", "--output=jsonpath={.spec.clusterIP}") + ":5001"


def _push(task: Task, repository: str, name: str) -> None:
    result = task("k8scr_push", images=[push_entry(images.ensure("busybox"), repository, name=name)])
    assert not result.get("failed"), result["msg"]


@contextmanager
def _mirror(node: layout.Node, upstreams: Sequence[str], mirror: Mirror, exclude: Sequence[str] = ()) -> Iterator[None]:
    """Configure a mirror on a node as k8scr_mirror does, and restore the files at the end of the block."""
    before = {file: file.read_bytes() for file in node.certs_d.glob("*/hosts.toml")}
    try:
        changes, _warnings = plan_mirror("containerd", node.certs_d, upstreams, mirror, exclude)
        apply_changes(changes, FakeFiles(), backup=False)
        yield
    finally:
        changes, _warnings = plan_mirror("containerd", node.certs_d, (), None)
        apply_changes(changes, FakeFiles(), backup=False)
        for file, content in before.items():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)


def _run(name: str, image: str, node: layout.Node) -> None:
    overrides = json.dumps({"spec": {"nodeName": node.name}})
    command = ("--command", "--", "true")
    kubectl("run", name, f"--image={image}", "--restart=Never", f"--overrides={overrides}", *command)


def _events(pod: str, reason: str) -> str:
    """Return the messages of a Pod's events with a reason."""
    selector = f"--field-selector=involvedObject.name={pod},reason={reason}"
    return kubectl("get", "events", selector, "--output=jsonpath={.items[*].message}")


@contextmanager
def _running(name: str, image: str, node: layout.Node) -> Iterator[None]:
    """Run a Pod with an image on a node and wait for its end; delete it at the end of the block."""
    try:
        _run(name, image, node)
        kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        yield
    finally:
        kubectl("delete", "pod", name, "--now", "--ignore-not-found")


def _pull_seconds(pod: str) -> float:
    """Return how long the pull of a Pod's image took, as the kubelet reports it."""
    found = re.search(r" in (?:(\d+)m)?([\d.]+)(ms|s) ", _events(pod, "Pulled"))
    assert found
    minutes, seconds, unit = found.groups()
    return 60 * float(minutes or 0) + float(seconds) / (1000 if unit == "ms" else 1)


@pytest.fixture
def black_hole() -> Iterator[layout.Node]:
    """A node that gets no response from the address ``BLACK_HOLE``."""
    node = layout.NODES[0]
    host, _colon, port = BLACK_HOLE.rpartition(":")
    rule = ("INPUT", "-p", "tcp", "-s", host, "--sport", port, "-j", "DROP")
    command = components.inside(node.name, "iptables", "--wait")
    subprocess.run([*command, "--insert", *rule], check=True)
    try:
        yield node
    finally:
        subprocess.run([*command, "--delete", *rule], check=True)


def test_pull_waits_only_dial_timeout_for_black_holed_mirror(
    task: Task, repository: str, black_hole: layout.Node
) -> None:
    name = repository.rpartition("/")[2]
    host = f"{name}.example.net"
    _push(task, repository, f"{host}/{repository}:1")
    upstream = black_hole.certs_d / host / "hosts.toml"
    upstream.parent.mkdir()
    upstream.write_text(f'server = "http://{_registry_address()}"\n')
    mirror = Mirror("http", BLACK_HOLE, qualify=False, fallback=True, dial_timeout=f"{DIAL_TIMEOUT}s")

    try:
        with _mirror(black_hole, [host], mirror), _running(name, f"{host}/{repository}:1", black_hole):
            seconds = _pull_seconds(name)
    finally:
        upstream.unlink()
        upstream.parent.rmdir()

    # The pull has up to four requests, fewer if the node has the blobs. By default, each waits 30 seconds.
    assert DIAL_TIMEOUT <= seconds < 30


def test_excluded_registry_is_not_pulled_from_mirror_of_all_registries(task: Task, repository: str) -> None:
    name = repository.rpartition("/")[2]
    host = f"{name}.example.net"
    _push(task, repository, f"{host}/{repository}:1")
    mirror = Mirror("http", _registry_address(), qualify=False, fallback=False)

    with _mirror(layout.NODES[0], ["*"], mirror, [host]):
        try:
            _run(name, f"{host}/{repository}:1", layout.NODES[0])
            wait_until(lambda: f"lookup {host}" in _events(name, "Failed"), "the node requests the excluded registry")
        finally:
            kubectl("delete", "pod", name, "--now")


def test_rebooted_node_and_registry_become_ready_although_all_images_come_from_the_registry(
    task: Task, repository: str
) -> None:
    pod = json.loads(kubectl("get", "pod", "k8scr-0", "--namespace=k8scr", "--output=json"))
    node = next(node for node in layout.NODES if node.name == pod["spec"]["nodeName"])
    mirror = Mirror("http", _registry_address(), qualify=False, fallback=False, dial_timeout=f"{DIAL_TIMEOUT}s")
    name = repository.rpartition("/")[2]
    image = f"{name}.example.net/{repository}:1"

    with _mirror(node, ["*"], mirror):
        stopped = time.time()
        cluster.stop(node.name, signal.SIGKILL)
        cluster.start(node.name)
        wait_until(partial(_is_back, node, stopped), f"{node.name} and the registry are Ready")
        wait_until(partial(nodes.can_reach_services, node), f"{node.name} reaches Services")
        _push(task, repository, image)
        with _running(name, image, node):
            pass


def _is_back(node: layout.Node, stopped: float) -> bool:
    """Return whether the node and the containers of the registry are Ready and started after a time."""
    lease = json.loads(kubectl("get", "lease", node.name, "--namespace=kube-node-lease", "--output=json"))
    pod: dict[str, Any] = json.loads(kubectl("get", "pod", "k8scr-0", "--namespace=k8scr", "--output=json"))
    containers = pod["status"]["containerStatuses"]
    started = [each["state"].get("running", {}).get("startedAt", "1970-01-01T00:00:00Z") for each in containers]
    ready = nodes.is_ready(node) and all(each["ready"] for each in containers)
    times = [lease["spec"]["renewTime"], *started]
    return ready and all(datetime.fromisoformat(each).timestamp() > stopped - 1 for each in times)
