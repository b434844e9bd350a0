# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change the files of a node through a Pod that exists only meanwhile."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ClusterError, DestinationError
from ..node.pod_copy import parse_records, records_key
from ..objects.client import KubernetesClient
from ..objects.diagnostics import Diagnostics
from ..objects.node_mirror import CONTAINER, NodeMirrorObjects
from ..transport.api_server import ApiServerAdapter
from ..transport.pod_exec import Container, run_in_container
from .node_mirror_plan import NodePlan, NodeSettings, observe, plan_node

_INTERVAL = 0.5
"""Seconds between two requests for the state of a Pod."""
_SCRIPT_SECONDS = 60.0
"""Seconds that the script may take without output."""
_MAXIMUM_OUTPUT = 64 << 20
_COMMAND = ("chroot", "/host", "sh", "-c", 'eval "$K8SCR_SCRIPT"', "k8scr")
_NOT_FOUND = (126, 127)
"""The statuses of a shell and of chroot for programs that cannot be run."""


@dataclass(frozen=True)
class VisitedNode:
    """A node whose files were changed; in check mode the planned changes.

    Attributes:
        backups: The backups on the node.
    """

    name: str
    plan: NodePlan
    backups: list[str]

    @property
    def result(self) -> dict[str, Any]:
        """The entry in the module's result."""
        return {"name": self.name, "files": self.plan.files, "backups": self.backups}


@dataclass(frozen=True)
class NodeVisitor:
    """Changes the files of nodes. Several threads may use it.

    Attributes:
        seconds: The time for a Pod to start.
        folder: A folder for copies of files, which only this user can read.
    """

    adapter: ApiServerAdapter
    client: KubernetesClient
    objects: NodeMirrorObjects
    settings: NodeSettings
    seconds: int
    folder: Path
    check_mode: bool

    def visit(self, node: str) -> VisitedNode:
        """Change the files of a node.

        Raises:
            K8scrError: The Pod does not start, or the files cannot be read or changed.
        """
        pods = self.client.find_kind("v1", "Pod")
        pod = f"{self.objects.name}-{secrets.token_hex(5)}"
        self.client.create(pods, self.objects.visit_pod(pod, node), self.objects.namespace, False)
        try:
            self._wait(pod)
            return self._change(node, pod)
        finally:
            self.client.delete(pods, pod, self.objects.namespace, False)

    def delete_pods(self) -> None:
        """Delete the Pods of interrupted runs."""
        pods = self.client.find_kind("v1", "Pod")
        selector = self.objects.visit_selector
        for item in self.client.list_objects(pods, self.objects.namespace, label_selector=selector):
            self.client.delete(pods, item["metadata"]["name"], self.objects.namespace, False)

    def _change(self, node: str, pod: str) -> VisitedNode:
        def script(arguments: Sequence[str], data: bytes) -> bytes:
            return self._run(pod, arguments, data)

        folder = self.folder / hashlib.sha256(node.encode()).hexdigest()
        folder.mkdir(mode=0o700)
        plan = plan_node(self.settings, script, folder)
        backups: list[str] = []
        if plan.answer and not self.check_mode:
            content = plan.answer.encode()
            backups = [record.name for record in parse_records(script(["apply", str(len(content))], content))]
            if records_key(observe(script, plan.observations)) != plan.key:
                raise DestinationError("another process has just changed files of the node", "Run again")
        return VisitedNode(node, plan, backups)

    def _run(self, pod: str, arguments: Sequence[str], data: bytes) -> bytes:
        container = Container(self.objects.namespace, pod, CONTAINER)
        command = [*_COMMAND, *arguments]
        ended = run_in_container(self.adapter, container, command, data, timeout=_SCRIPT_SECONDS, limit=_MAXIMUM_OUTPUT)
        if ended.status == 0:
            return ended.output
        reason = ended.errors.strip()[-500:] or f"status {ended.status}"
        advice = None
        if ended.status in _NOT_FOUND:
            advice = "Use an image with chroot, on nodes with a shell; for others, use the role image_policy"
        raise DestinationError(f"its files cannot be read or changed: {reason}", advice)

    def _wait(self, pod: str) -> None:
        """Wait until the container runs.

        Raises:
            ClusterError: It does not run in time, with the reasons of the cluster.
        """
        deadline = time.monotonic() + self.seconds
        path = f"/api/v1/namespaces/{self.objects.namespace}/pods/{pod}"
        while True:
            item = self.adapter.read_object(path, f"the Pod {pod} in namespace {self.objects.namespace}") or {}
            status = item.get("status") or {}
            states = [each.get("state") or {} for each in status.get("containerStatuses") or []]
            if any("running" in state for state in states):
                return
            is_over = not item or status.get("phase") in ("Failed", "Succeeded")
            if is_over or time.monotonic() > deadline:
                reasons = Diagnostics(self.client).reasons({**item, "kind": "Pod"}) if item else "it was deleted"
                raise ClusterError(f"the Pod {pod} does not run: {reasons or status.get('message') or 'no reason'}")
            time.sleep(_INTERVAL)
