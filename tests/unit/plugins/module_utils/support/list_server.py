# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small API server with lists of workloads and nodes, and functions that build workloads."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import WORKLOAD_KINDS
from unit.plugins.module_utils.support.object_server import ObjectServer, failure, json_response
from unit.plugins.module_utils.transport.servers import Request

_KINDS = {**{path: kind for kind, path in WORKLOAD_KINDS.items()}, "/api/v1/nodes": "Node"}


def workload(name: str, spec: Any, owner: tuple[str, str] | None = None, **sections: Any) -> dict[str, Any]:
    """Return an object in the namespace ``apps``, optionally controlled by an owner of a kind and a name."""
    metadata: dict[str, Any] = {"name": name, "namespace": "apps"}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    return {"metadata": metadata, "spec": spec, **sections}


def pod_spec(*images: str) -> dict[str, Any]:
    """Return the spec of a Pod with a container for each image, named ``c0``, ``c1`` and so on."""
    return {"containers": [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]}


def template(*images: str, **fields: Any) -> dict[str, Any]:
    """Return the spec of a workload with a template of Pods."""
    return {"template": {"spec": pod_spec(*images)}, **fields}


class ListServer(ObjectServer):
    """An API server with lists, in pages as the client requests them.

    Attributes:
        lists: The objects of each kind; other kinds do not exist.
        expirations: The number of requests for a further page whose snapshot has expired.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[Any]] = {kind: [] for kind in _KINDS.values()}
        self.expirations = 0

    def _respond(self, request: Request) -> bytes:
        target = urlsplit(request.target)
        kind = _KINDS.get(target.path, "")
        if kind not in self.lists:
            return super()._respond(request)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        start, size = int(query.get("continue", 0)), int(query["limit"])
        if start and self.expirations:
            self.expirations -= 1
            return failure(410, "The provided continue parameter is too old")
        items, end = self.lists[kind], start + size
        metadata = {"resourceVersion": "1", **({"continue": str(end)} if end < len(items) else {})}
        return json_response({"kind": f"{kind}List", "metadata": metadata, "items": items[start:end]})
