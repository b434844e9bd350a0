# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_mirror``: configure the mirror of nodes through Pods, without SSH and Python on the nodes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import InputError, K8scrError, failure_lines
from ..files.interruption import cleanup_if_interrupted
from ..http.retry import Retries
from ..node.pod_script import NEW_NODE_SCRIPT, NODE_SCRIPT
from ..objects.client import KubernetesClient
from ..objects.node_mirror import SELECTOR, NodeMirrorObjects, is_own_namespace
from ..objects.nodes import list_nodes
from ..transfer.progress import SILENT, Progress
from ..transfer.retry_status import RetryStatus
from ..transfer.texts import counted
from ..transport.cluster import connect
from .apply import Applier, ApplySettings
from .apply_outcome import Outcome
from .apply_wait import wait_for_objects
from .cluster_options import cluster_settings
from .node_mirror_plan import NODE_FILES_ARGUMENT_SPEC, NodeSettings
from .node_visit import NodeVisitor, VisitedNode
from .numbers import read_number
from .progress_options import PROGRESS_ARGUMENT_SPEC

_PARALLEL = 8
"""Nodes that are configured at once."""
_SECRET_SIZE = 900_000
"""The maximum size of all changes in the Secret, which an API server limits to 1 MiB."""
NODE_MIRROR_ARGUMENT_SPEC: dict[str, Any] = {
    **NODE_FILES_ARGUMENT_SPEC,
    "image": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "k8scr-nodes"},
    "name": {"type": "str", "default": "node-mirror"},
    "node_selector": {"type": "dict", "default": {}},
    "wait_timeout": {"type": "int", "default": 180},
    **PROGRESS_ARGUMENT_SPEC,
}
NODE_MIRROR_RULES: dict[str, Any] = {
    "required_if": [("state", "present", ("endpoint", "upstreams"))],
    "empty_result": {"nodes": []},
}


@dataclass(frozen=True)
class _Run:
    """One run of the module."""

    settings: NodeSettings
    objects: NodeMirrorObjects
    seconds: int
    check_mode: bool
    client: KubernetesClient
    visitor: NodeVisitor
    progress: Progress
    retries: RetryStatus

    def applier(self, present: bool, keep_existing: bool = False) -> Applier:
        settings = ApplySettings(present, self.objects.namespace, False, keep_existing, True, self.seconds)
        return Applier(self.client, settings, self.check_mode)


def run_node_mirror(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Run ``k8scr_node_mirror`` and return its result.

    Returns:
        ``changed``, ``nodes``, ``restart_needed`` and ``diff``; if nodes failed, also ``failed`` and ``msg``.

    Raises:
        K8scrError: An option is invalid, or the API server denies a request.
    """
    settings = NodeSettings.from_options(options)
    selector = {str(name): str(value) for name, value in options["node_selector"].items()}
    objects = NodeMirrorObjects(
        options["namespace"],
        options["name"],
        options["image"],
        selector,
        NODE_SCRIPT,
        NEW_NODE_SCRIPT,
        list(chain.from_iterable(settings.first_observations)),
    )
    seconds = read_number(options, "wait_timeout")
    with connect(cluster_settings(options)) as cluster, tempfile.TemporaryDirectory(prefix="k8scr-") as folder:
        retries = RetryStatus(progress)
        client = KubernetesClient(cluster, Retries(on_retry=retries.retried, on_recovery=retries.recovered))
        visitor = NodeVisitor(cluster.adapter, client, objects, settings, seconds, Path(folder), check_mode)
        run = _Run(settings, objects, seconds, check_mode, client, visitor, progress, retries)
        return _configure(run) if settings.mirror.mirror is not None else _restore(run)


def _configure(run: _Run) -> dict[str, Any]:
    outcomes = [run.applier(True, keep_existing=True).apply(run.objects.namespace_object())]
    if run.check_mode and outcomes[0].changed:
        warn("Check mode cannot read the files of nodes before the namespace exists, so it reports no nodes.")
        return _result(outcomes, [], [])
    visited, failures = _visit(run)
    answers: dict[str, str] = {}
    for node in visited:
        answers.update(node.plan.answers)
    if not visited:
        return _result(outcomes, visited, failures)
    # The DaemonSet also configures nodes that fail now because they are not ready, if their files are known.
    applier = run.applier(True)
    outcomes.append(applier.apply(run.objects.secret(_within_limit(answers))))
    outcomes.append(applier.apply(run.objects.daemon_set()))
    if not run.check_mode:
        _restart_waiting_pods(run)
        if not failures:
            errors = wait_for_objects(run.client, outcomes[-1:], run.seconds, run.progress, run.retries)
            failures = [("", error) for error in errors]
    return _result(outcomes, visited, failures)


def _restore(run: _Run) -> dict[str, Any]:
    namespaces = run.client.find_kind("v1", "Namespace")
    namespace = run.client.get(namespaces, run.objects.namespace, None)
    if namespace is None:
        return _result([], [], [])
    applier = run.applier(False)
    # The Pods of the DaemonSet would configure the nodes again.
    outcomes = [applier.delete(run.objects.daemon_set()), applier.delete(run.objects.secret({}))]
    errors: list[K8scrError] = []
    if not run.check_mode:
        errors = wait_for_objects(run.client, _changed(outcomes), run.seconds, run.progress, run.retries)
    visited, failures = _visit(run)
    failures += [("", error) for error in errors]
    sets = run.client.find_kind("apps/v1", "DaemonSet")
    others = run.client.list_objects(sets, run.objects.namespace, label_selector=SELECTOR)
    is_used = any(item["metadata"]["name"] != run.objects.name for item in others)
    if not failures and is_own_namespace(namespace) and not is_used:
        outcomes.append(applier.delete(run.objects.namespace_object()))
        if not run.check_mode:
            errors = wait_for_objects(run.client, outcomes[-1:], run.seconds, run.progress, run.retries)
            failures = [("", error) for error in errors]
    return _result(outcomes, visited, failures)


def _visit(run: _Run) -> tuple[list[VisitedNode], list[tuple[str, K8scrError]]]:
    """Configure all nodes; return those that were configured, and the errors of the others."""
    names = _nodes(run)
    run.visitor.delete_pods()
    workers = ThreadPoolExecutor(_PARALLEL)

    def clean_up() -> None:
        workers.shutdown(wait=False, cancel_futures=True)
        # Without their Pods, the running visits end.
        run.visitor.delete_pods()

    with cleanup_if_interrupted(clean_up):
        results = list(workers.map(lambda name: _visit_one(run, name), names))
    workers.shutdown()
    visited = [result for result in results if isinstance(result, VisitedNode)]
    errors = [(name, result) for name, result in zip(names, results) if isinstance(result, K8scrError)]
    for text in dict.fromkeys(f"{node.name}: {warning}" for node in visited for warning in node.plan.warnings):
        warn(text)
    return visited, errors


def _visit_one(run: _Run, name: str) -> VisitedNode | K8scrError:
    try:
        visited = run.visitor.visit(name)
    except K8scrError as error:
        return error
    changed = [file for file in visited.plan.files if file["action"] != "unchanged"]
    if changed and not run.check_mode:
        run.progress.line(f"{name}: {counted(len(changed), 'file')} changed")
    return visited


def _nodes(run: _Run) -> list[str]:
    """Return the names of the nodes; warn of those that run Windows.

    Raises:
        InputError: No node has the labels.
    """
    nodes = list_nodes(run.client, run.objects.node_selector)
    windows = sorted(node.name for node in nodes if node.is_windows)
    if windows:
        warn(f"{', '.join(windows)} are not configured: the role image_policy supports nodes with Windows.")
    names = sorted(node.name for node in nodes if not node.is_windows)
    if not names:
        raise InputError("no node with Linux has the labels of node_selector", "Check node_selector")
    return names


def _within_limit(answers: Mapping[str, str]) -> dict[str, str]:
    """Return the changes that fit into a Secret, the shortest first, and warn of the others."""
    kept: dict[str, str] = {}
    size = 0
    for key, text in sorted(answers.items(), key=lambda item: (len(item[1]), item[0])):
        size += len(key) + len(text)
        if size > _SECRET_SIZE:
            warn("The nodes have too many different files. Run the role again for new nodes that are not ready.")
            break
        kept[key] = text
    return kept


def _restart_waiting_pods(run: _Run) -> None:
    """Delete the DaemonSet's Pods that have failed, so that they start with the new Secret at once."""
    pods = run.client.find_kind("v1", "Pod")
    for item in run.client.list_objects(pods, run.objects.namespace, label_selector=run.objects.new_nodes_selector):
        statuses = (item.get("status") or {}).get("initContainerStatuses") or []
        if any(status.get("restartCount") for status in statuses):
            run.client.delete(pods, item["metadata"]["name"], run.objects.namespace, False)


def _changed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.changed]


def _result(
    outcomes: Sequence[Outcome], visited: Sequence[VisitedNode], failures: Sequence[tuple[str, K8scrError]]
) -> dict[str, Any]:
    diffs = [{**diff, **_headers(node.name, diff)} for node in visited for diff in node.plan.diff]
    restarts = [node.name for node in visited if node.plan.needs_restart]
    lines = failure_lines(failures)
    if restarts:
        # The next run does not report them.
        lines.append(f"the new configuration takes effect after a restart of the runtime on {', '.join(restarts)}")
    failure = {"failed": True, "msg": "\n".join(lines)} if failures else {}
    return {
        "changed": bool(_changed(outcomes) or diffs),
        "nodes": [node.result for node in visited],
        "restart_needed": restarts,
        "diff": [*diffs, *(outcome.diff for outcome in _changed(outcomes))],
        **failure,
    }


def _headers(node: str, diff: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{node}:{diff[name]}" for name in ("before_header", "after_header")}
