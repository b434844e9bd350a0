# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make nodes pull images, and report which node has which image."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import ApiServerError, InputError
from ..files.interruption import cleanup_if_interrupted
from ..http.retry import Retries
from ..objects.client import KubernetesClient, label_selector
from ..objects.nodes import Node, list_nodes, named_nodes
from ..objects.preheat_pods import DAEMON_SET, RUN_LABEL, keeping_daemon_set, pull_pod
from ..oci.platform import Platform
from ..oci.reference import parse_workload_reference
from ..oci.timestamp import parse_timestamp
from ..transfer.lock import read_lock
from ..transfer.progress import SILENT, Progress
from ..transfer.retry_status import RetryStatus
from ..transfer.texts import counted
from ..transport.cluster import connect
from .apply import Applier, ApplySettings
from .apply_outcome import Outcome
from .cluster_options import cluster_settings
from .numbers import read_number
from .preheat_platforms import platform_mismatch, read_platforms
from .preheat_report import PRESENT, PULLED, PreheatRow, report
from .preheat_run import PreheatRun, PullSettings, delete_pods
from .progress_options import PROGRESS_ARGUMENT_SPEC

_LEFTOVER_SECONDS = 300.0
"""Seconds after the end of a Pod's lifetime; the clocks of this host and of the API server may differ."""

PREHEAT_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "str", "default": []},
    "platforms": {"type": "dict", "default": {}},
    "lock": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "image": {"type": "str", "default": "docker.io/library/registry:3.1.2"},
    "namespace": {"type": "str", "default": "default"},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "node_selector": {"type": "dict", "default": {}},
    "tolerations": {"type": "list", "elements": "dict", "default": [{"operator": "Exists"}]},
    "parallel": {"type": "int", "default": 2},
    "parallel_nodes": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 1800},
    "keep": {"type": "bool", "default": False},
    **PROGRESS_ARGUMENT_SPEC,
}
PREHEAT_EMPTY_RESULT: Mapping[str, Any] = {"report": [], "table": []}


@dataclass(frozen=True)
class PreheatSettings:
    """The options of ``k8scr_preheat``, without the cluster.

    Attributes:
        images: The names of all images, each once.
        platforms: The platforms of each image; empty if they are not known.
        own_image: The image of the Pods that pull.
        nodes: The names of the nodes; empty for all with the labels.
    """

    images: Sequence[str]
    platforms: Mapping[str, Sequence[Platform]]
    own_image: str
    namespace: str
    nodes: Sequence[str]
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]
    parallel: int
    parallel_nodes: int
    timeout: int
    keep: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PreheatSettings:
        """Read the module's parameters, and the lock file.

        Raises:
            InputError: An option is invalid, or the lock file cannot be read.
        """
        parallel, parallel_nodes = read_number(options, "parallel"), read_number(options, "parallel_nodes")
        timeout = read_number(options, "timeout")
        names = [*options["images"]]
        if options["lock"]:
            names += [str(name) for name, _digest in read_lock(Path(options["lock"]))]
        for name in (*names, options["image"]):
            parse_workload_reference(name)
        if not names and options["state"] == "present":
            raise InputError("there is no image to pull", "Set images or lock")
        return cls(
            list(dict.fromkeys(names)),
            read_platforms(options["platforms"], names),
            options["image"],
            options["namespace"],
            options["nodes"],
            {str(key): str(value) for key, value in options["node_selector"].items()},
            options["tolerations"],
            parallel,
            parallel_nodes,
            timeout,
            options["keep"],
        )


def run_preheat(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Pull images on nodes and return the module's result.

    Returns:
        ``changed``, ``report``, ``table`` and ``diff``; if a pull failed, also ``failed`` and ``msg``.

    Raises:
        ClusterError: The API server is not available.
        ApiServerError: The API server rejects the Pods.
        InputError: An option is invalid, or no node is selected.
    """
    settings = PreheatSettings.from_options(options)
    with connect(cluster_settings(options)) as cluster:
        retries = RetryStatus(progress)
        policy = Retries(on_retry=retries.retried, on_recovery=retries.recovered)
        preheat = _Preheat(KubernetesClient(cluster, policy), settings, check_mode, progress)
        return preheat.remove() if options["state"] == "absent" else preheat.pull()


class _Preheat:
    """Pulls images on the selected nodes of a cluster."""

    def __init__(
        self, client: KubernetesClient, settings: PreheatSettings, check_mode: bool, progress: Progress
    ) -> None:
        self._client = client
        self._settings = settings
        self._check_mode = check_mode
        self._progress = progress

    def remove(self) -> dict[str, Any]:
        """Delete the DaemonSet and the Pods of all runs, and return the module's result."""
        identity = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": DAEMON_SET}}
        outcome = self._applier(present=False).delete(identity)
        leftovers = self._pods()
        if leftovers and not self._check_mode:
            delete_pods(self._client, self._settings.namespace, RUN_LABEL)
        diff = [outcome.diff] if outcome.changed else []
        return {"changed": outcome.changed or bool(leftovers), **PREHEAT_EMPTY_RESULT, "diff": diff}

    def pull(self) -> dict[str, Any]:
        """Pull the images and return the module's result."""
        nodes = self._nodes()
        unready = [node for node in nodes if node.unready]
        rows = [PreheatRow.of_unready(node, image) for node in unready for image in self._settings.images]
        has_image_volumes = self._has_image_volumes(nodes[0])
        if self._settings.keep and not has_image_volumes:
            raise InputError(
                "keep needs image volumes, which the API server does not have",
                "Set keep to false, or update the cluster to Kubernetes 1.35 or newer",
            )
        ready = [node for node in nodes if not node.unready]
        images = _largest_first(self._settings.images, nodes)
        pulls: dict[Node, list[str]] = {}
        for node in ready:
            reasons = {image: platform_mismatch(self._settings.platforms[image], node) for image in images}
            rows += [PreheatRow.of_mismatch(node, image, reason) for image, reason in reasons.items() if reason]
            pulls[node] = [image for image, reason in reasons.items() if not reason]
        if self._check_mode:
            rows += [_expected(node, image) for node, names in pulls.items() for image in names]
        else:
            self._delete_leftovers()
            rows += self._pull_on(pulls, has_image_volumes)
        result = report(rows)
        outcome = self._keep() if self._settings.keep and not result.get("failed") else None
        if outcome is None or not outcome.changed:
            return {**result, "diff": []}
        return {**result, "changed": True, "diff": [outcome.diff]}

    def _nodes(self) -> list[Node]:
        """Return the nodes that run the Pods.

        Raises:
            InputError: There are none, or a named one does not exist.
        """
        selector = label_selector(self._settings.node_selector)
        nodes = named_nodes(list_nodes(self._client, self._settings.node_selector), self._settings.nodes)
        windows = [node.name for node in nodes if node.is_windows]
        if windows:
            warn(
                f"Images are not pulled on the Windows nodes {', '.join(windows)}: they cannot run the Pods, "
                "whose image is for Linux."
            )
        selected = [node for node in nodes if node.name not in windows and not node.rejects(self._settings.tolerations)]
        if not selected:
            labels = f" with the labels {selector}" if selector else ""
            raise InputError(
                f"none of {counted(len(nodes), 'node')}{labels} runs Linux and has only taints that the Pods tolerate",
                "Check node_selector and tolerations",
            )
        return sorted(selected, key=lambda node: node.name)

    def _has_image_volumes(self, node: Node) -> bool:
        """Return whether the API server has image volumes, which a dry run shows."""
        settings, name = self._settings, f"k8scr-preheat-{secrets.token_hex(4)}"
        pod = pull_pod(name, "dry-run", node.name, settings.own_image, settings.own_image, settings.tolerations, 1)
        try:
            created = self._client.create(self._client.find_kind("v1", "Pod"), pod, settings.namespace, dry_run=True)
        except ApiServerError as error:
            if error.status != 400:
                raise
            # An admission webhook does not support dry runs. The versions of the kubelets decide.
            return True
        # An API server that does not know the field makes the volume an empty one.
        return created is None or "image" in created["spec"]["volumes"][0]

    def _pull_on(self, pulls: Mapping[Node, Sequence[str]], has_image_volumes: bool) -> list[PreheatRow]:
        settings = self._settings
        how = PullSettings(
            settings.namespace,
            settings.own_image if has_image_volumes else None,
            settings.tolerations,
            settings.parallel,
            settings.parallel_nodes,
            settings.timeout,
        )
        run = PreheatRun(self._client, how, pulls, self._progress)
        with cleanup_if_interrupted(run.clean_up):
            run.run()
        return run.rows

    def _keep(self) -> Outcome:
        """Apply the DaemonSet."""
        settings = self._settings
        definition = keeping_daemon_set(
            settings.images, settings.own_image, settings.node_selector, settings.tolerations
        )
        return self._applier(present=True).apply(definition)

    def _applier(self, present: bool) -> Applier:
        settings = ApplySettings(present, self._settings.namespace, False, False, False, 0)
        return Applier(self._client, settings, self._check_mode)

    def _pods(self) -> list[dict[str, Any]]:
        """Return the Pods of all runs in the namespace."""
        kind = self._client.find_kind("v1", "Pod")
        return self._client.list_objects(kind, self._settings.namespace, label_selector=RUN_LABEL)

    def _delete_leftovers(self) -> None:
        """Delete the Pods of runs that were killed; other runs may still be active."""
        for pod in self._pods():
            created = parse_timestamp(pod["metadata"].get("creationTimestamp")) or 0.0
            if time.time() > created + pod["spec"].get("activeDeadlineSeconds", 0) + _LEFTOVER_SECONDS:
                kind = self._client.find_kind("v1", "Pod")
                self._client.delete(kind, pod["metadata"]["name"], self._settings.namespace, dry_run=False)


def _largest_first(images: Sequence[str], nodes: Sequence[Node]) -> list[str]:
    """Return the images in the order of their pulls: by size, as far as any node knows it, after those of unknown size.

    The largest pulls then do not begin when all others have ended.
    """
    sizes = {name: size for node in nodes for name, size in node.images.items()}

    def order(name: str) -> tuple[bool, int]:
        size = sizes.get(str(parse_workload_reference(name)))
        return size is not None, -(size or 0)

    return sorted(images, key=order)


def _expected(node: Node, image: str) -> PreheatRow:
    """Return the expected result of an image in check mode."""
    is_present = str(parse_workload_reference(image)) in node.images
    return PreheatRow(node.name, image, PRESENT if is_present else PULLED).on(node)
