# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that the workloads of a cluster use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..errors import ApiServerError, OversizedResponseError, Retry, UnreadableResponseError
from ..oci.json_object import json_object, json_objects
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
_PAGE = 500
"""Objects in one response, as in kubectl."""
_MAXIMUM_PAGE = 8 << 20
"""Bytes of one response; 500 Pods of 10 KiB have 5 MiB. If a response is larger, fewer objects are requested."""
_SMALLER_PAGE = 4
"""Divides the number of objects of a response that was too large."""
_MOST_OBJECTS = 1_000_000
"""The largest number of objects of a kind; Kubernetes supports 150,000 Pods."""
_EXPIRED = 410
_ATTEMPTS = 5
"""Attempts at a list whose snapshot expires; etcd keeps one for five minutes by default."""


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
    for kind in WORKLOAD_KINDS:
        try:
            for item in _items(adapter, retries, kind):
                uses.update(_uses_of(kind, item))
        except ApiServerError as error:
            if error.status != 403:
                raise
            unseen.append(Unseen(kind, error.message))
    return tuple(sorted(uses, key=_order)), tuple(unseen)


def _order(use: ImageUse) -> tuple[str, ...]:
    return use.image, use.kind, use.namespace, use.name, use.digest or "", use.original or ""


def _items(adapter: ApiServerAdapter, retries: Retries, kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a kind; if the snapshot expires between two pages, all objects are yielded again."""
    attempts = retries.begin(f"list the {kind}s of the cluster")
    while True:
        try:
            yield from _pages(adapter, retries, kind)
        except ApiServerError as error:
            if error.status != _EXPIRED:
                raise
            attempts.note_progress()
            attempts.wait_or_raise(error.replace(retry=Retry(_ATTEMPTS, despite_progress=True)))
        else:
            return


def _pages(adapter: ApiServerAdapter, retries: Retries, kind: str) -> Iterator[Mapping[str, Any]]:
    name, limit, position, count = f"the {kind}s of all namespaces", _PAGE, "", 0
    while True:
        query = urlencode({"limit": limit, **({"continue": position} if position else {})})
        path = f"{WORKLOAD_KINDS[kind]}?{query}"
        try:
            request = partial(adapter.read_object, path, name, limit=_MAXIMUM_PAGE, verb="list")
            found = retries.run(f"list {name}", request)
        except OversizedResponseError:
            if limit == 1:
                raise
            limit = max(1, limit // _SMALLER_PAGE)
            continue
        if found is None:
            if position or kind == "Pod":
                # A list that ends early would hide workloads. All API servers have Pods.
                raise UnreadableResponseError(
                    f"{adapter.server_name} responded with 404 to the list of {name}",
                    "Check the address: a proxy may have responded in place of the API server",
                )
            return
        items = found.get("items") or []
        position = json_object(found.get("metadata")).get("continue") or ""
        is_list = found.get("kind") == f"{kind}List" and isinstance(items, list) and isinstance(position, str)
        count += len(items) if is_list else 0
        if not is_list or count > _MOST_OBJECTS or (position and not items):
            raise UnreadableResponseError(
                f"{adapter.server_name} did not return a valid list of {name}",
                "Check the address: a proxy may have responded in place of the API server",
            )
        yield from map(json_object, items)
        if not position:
            return


def _uses_of(kind: str, item: Mapping[str, Any]) -> Iterator[ImageUse]:
    metadata, spec = json_object(item.get("metadata")), json_object(item.get("spec"))
    namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
    owner = _controller(metadata)
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


def _controller(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the kind and the name of the workload that controls an object."""
    for reference in json_objects(metadata.get("ownerReferences")):
        kind = str(reference.get("kind"))
        if reference.get("controller") is True and kind in WORKLOAD_KINDS:
            return kind, str(reference.get("name") or "")
    return None
