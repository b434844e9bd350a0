# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that nodes need before they can pull from the registry in the cluster.

These are the images of the registry itself, of the network, of the Service proxy, and of the storage and the DNS server
that the registry may use.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..oci.json_object import json_object
from ..oci.reference import parse_workload_reference
from .nodes import Node
from .paged_list import paged_objects
from .pod_images import images_of
from .workloads import WORKLOAD_KINDS, controller_of

if TYPE_CHECKING:
    from ..http.retry import Retries
    from ..transport.api_server import ApiServerAdapter

_NODES = "/api/v1/nodes"
_SYSTEM_NAMESPACE = "kube-system"
_NODE_CRITICAL = "system-node-critical"
"""The priority class of Pods that every node needs (Kubernetes, "Guaranteed Scheduling For Critical Add-On Pods")."""
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class CriticalImage:
    """An image that nodes need.

    Attributes:
        name: Its name in containerd: the full name, with a digest or else a tag.
        platforms: The platforms of the nodes that need it, sorted.
        workloads: The workloads that use it, as ``KIND NAMESPACE/NAME``, sorted.
    """

    name: str
    platforms: tuple[str, ...]
    workloads: tuple[str, ...]


@dataclass(frozen=True)
class _Use:
    """An image on a platform, used by a workload."""

    name: str
    platform: str
    workload: str


def find_critical_images(
    adapter: ApiServerAdapter, retries: Retries, namespace: str, registry: str
) -> tuple[CriticalImage, ...]:
    """Return the images that nodes need before they can pull from a registry in the cluster, sorted by name.

    Only images that run on a node are returned. Static Pods and Jobs are skipped. So is a DaemonSet with Pods on fewer
    than half of the nodes of a platform, for example one for the drivers of GPUs.

    Args:
        adapter: The adapter of the API server.
        retries: The retry policy.
        namespace: The namespace of the registry.
        registry: The Pod of the registry.

    Raises:
        ClusterError: The API server cannot be reached, or did not return a list.
        ApiServerError: It returned an error response, for example because the user may not list Pods or Nodes.
    """
    nodes = map(Node.from_object, paged_objects(adapter, retries, "Node", _NODES))
    platforms = {node.name: node.platform for node in nodes}
    pods = paged_objects(adapter, retries, "Pod", WORKLOAD_KINDS["Pod"])
    return _group(_select(pods, platforms, (namespace, registry)))


def _select(pods: Iterable[Mapping[str, Any]], nodes: Mapping[str, str], registry: tuple[str, str]) -> Iterator[_Use]:
    """Yield the uses of images that every node of a platform needs."""
    counts = Counter(nodes.values())
    uses: set[_Use] = set()
    hosts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pod in pods:
        spec = json_object(pod.get("spec"))
        node = str(spec.get("nodeName") or "")
        workload = _needed_workload(pod, registry)
        if workload is None or node not in nodes:
            continue
        platform = nodes[node]
        hosts[workload, platform].add(node)
        for image in images_of(spec, json_object(pod.get("status"))):
            name = _runtime_name(image.image)
            if name and image.digest and not image.is_ephemeral:
                uses.add(_Use(name, platform, workload))
    for use in uses:
        if (
            not use.workload.startswith("DaemonSet ")
            or 2 * len(hosts[use.workload, use.platform]) >= counts[use.platform]
        ):
            yield use


def _needed_workload(pod: Mapping[str, Any], registry: tuple[str, str]) -> str | None:
    """Return the workload of a Pod that nodes need, as ``KIND NAMESPACE/NAME``; None for another Pod."""
    metadata, spec = json_object(pod.get("metadata")), json_object(pod.get("spec"))
    namespace, name = str(metadata.get("namespace")), str(metadata.get("name"))
    if json_object(pod.get("status")).get("phase") in _ENDED:
        return None
    kind, owner = controller_of(metadata) or ("", "")
    if _is_registry(registry, namespace, name, kind, owner):
        return f"{kind or 'Pod'} {namespace}/{owner or name}"
    is_daemon = kind == "DaemonSet" and spec.get("hostNetwork") is True
    is_critical = namespace == _SYSTEM_NAMESPACE or spec.get("priorityClassName") == _NODE_CRITICAL or is_daemon
    return f"{kind} {namespace}/{owner}" if is_critical and kind not in ("", "Job") else None


def _is_registry(registry: tuple[str, str], namespace: str, name: str, kind: str, owner: str) -> bool:
    """Whether a Pod is that of the registry, or another replica of its StatefulSet."""
    is_replica = kind == "StatefulSet" and owner == registry[1].rpartition("-")[0]
    return namespace == registry[0] and (name == registry[1] or is_replica)


def _runtime_name(text: str) -> str | None:
    """Return the name that containerd gives an image of a Pod; None if the name is invalid.

    It drops the tag of a name with a digest (containerd, ``ParseDockerRef``).
    """
    try:
        name = parse_workload_reference(text)
    except InputError:
        return None
    return str(replace(name, tag=None) if name.digest else name)


def _group(uses: Iterable[_Use]) -> tuple[CriticalImage, ...]:
    images: dict[str, list[_Use]] = defaultdict(list)
    for use in uses:
        images[use.name].append(use)
    return tuple(
        CriticalImage(
            name,
            tuple(sorted({use.platform for use in images[name]})),
            tuple(sorted({use.workload for use in images[name]})),
        )
        for name in sorted(images)
    )
