# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that the workloads of a cluster use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ApiServerError
from ..oci.json_object import json_object, json_objects
from .paged_list import paged_objects
from .pod_images import PodImage, images_of

if TYPE_CHECKING:
    from ..http.retry import Retries
    from ..transport.api_server import ApiServerAdapter

WORKLOAD_KINDS: Mapping[str, str] = {
    "CronJob": "/apis/batch/v1/cronjobs",
    "Job": "/apis/batch/v1/jobs",
    "Deployment": "/apis/apps/v1/deployments",
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "StatefulSet": "/apis/apps/v1/statefulsets",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "Pod": "/api/v1/pods",
}
"""The kinds of workloads and the paths of their lists. An object precedes the objects that it creates, so that each
workload that starts meanwhile is in the list of the kind that it creates."""


@dataclass(frozen=True)
class ImageUse:
    """A workload that uses an image.

    Attributes:
        image: The name of the image as the workload has it, which may be invalid.
        digest: The digest of the image that runs, as the container runtime reports it: of the manifest, of the index or
            of the config. None in templates, and before the image is pulled.
        kind: The kind of the workload. Pods of a Deployment, for example, are uses by their ReplicaSet.
        rollback: Whether the workload is a ReplicaSet without Pods, which its Deployment uses after a rollback.
        original: The name of the image before an admission policy rewrote it, for users; nodes pull ``image``.
    """

    image: str
    digest: str | None
    kind: str
    namespace: str
    name: str
    rollback: bool = False
    original: str | None = None


@dataclass(frozen=True)
class Unseen:
    """A kind of workloads that the user may not list, with the reason as the API server gives it."""

    kind: str
    reason: str


def find_image_uses(adapter: ApiServerAdapter, retries: Retries) -> tuple[tuple[ImageUse, ...], tuple[Unseen, ...]]:
    """Return the images that the workloads of all namespaces use, and the kinds that the user may not list.

    Kinds that the API server does not serve are skipped. The uses are sorted, and each occurs once.

    Args:
        adapter: The adapter of the API server.
        retries: The retry policy.

    Raises:
        ClusterError: The API server cannot be reached, or did not return a list.
        ApiServerError: It returned another error response than 403 or 404.
    """
    uses: set[ImageUse] = set()
    unseen = []
    for kind, path in WORKLOAD_KINDS.items():
        try:
            for item in paged_objects(adapter, retries, kind, path):
                uses.update(_uses_of(kind, item))
        except ApiServerError as error:
            if error.status != 403:
                raise
            unseen.append(Unseen(kind, error.message))
    return tuple(sorted(uses, key=_order)), tuple(unseen)


def _order(use: ImageUse) -> tuple[str, ...]:
    return use.image, use.kind, use.namespace, use.name, use.digest or "", use.original or ""


def _uses_of(kind: str, item: Mapping[str, Any]) -> Iterator[ImageUse]:
    metadata, spec = json_object(item.get("metadata")), json_object(item.get("spec"))
    namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
    owner = controller_of(metadata)
    if kind == "Pod":
        annotations = json_object(metadata.get("annotations"))
        for found in images_of(spec, json_object(item.get("status")), annotations):
            yield _use(found, *(owner if owner and not found.is_ephemeral else (kind, name)), namespace)
        return
    if kind == "CronJob":
        spec = json_object(json_object(spec.get("jobTemplate")).get("spec"))
    rollback = kind == "ReplicaSet" and spec.get("replicas") == 0 and owner is not None
    for found in images_of(json_object(json_object(spec.get("template")).get("spec")), {}):
        yield _use(found, kind, name, namespace, rollback)


def _use(found: PodImage, kind: str, name: str, namespace: str, rollback: bool = False) -> ImageUse:
    return ImageUse(found.image, found.digest, kind, namespace, name, rollback, found.original)


def controller_of(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the kind and the name of the workload that controls an object; None without one."""
    for reference in json_objects(metadata.get("ownerReferences")):
        kind = str(reference.get("kind"))
        if reference.get("controller") is True and kind in WORKLOAD_KINDS:
            return kind, str(reference.get("name") or "")
    return None
