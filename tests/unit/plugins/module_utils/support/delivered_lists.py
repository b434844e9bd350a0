# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server with a registry's list of delivered names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import PodSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.delivered_names import DeliveredNames
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.delivered_images import DeliveredImages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.transport.servers import Request

from .object_server import ObjectServer, failure, json_response

FOLDER = "/api/v1/namespaces/k8scr/configmaps"
PATH = f"{FOLDER}/k8scr-delivered"
LABELS = {"app.kubernetes.io/name": "registry", "app.kubernetes.io/instance": "k8scr"}


class NamesServer(ObjectServer):
    """An API server that merges patches, and rejects those for another version of an object.

    Attributes:
        before_patch: Called before a patch, so that a test can change the object first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before_patch: Callable[[], None] = lambda: None

    def store(self, data: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None) -> None:
        """Store the list, by default with the labels of the registry."""
        metadata = {
            "name": "k8scr-delivered",
            "labels": dict(LABELS if labels is None else labels),
            "resourceVersion": "1",
        }
        self.objects[PATH] = {"metadata": metadata, **({"data": dict(data)} if data is not None else {})}

    @property
    def data(self) -> dict[str, str]:
        """The data of the list."""
        found: dict[str, str] = self.objects[PATH].get("data", {})
        return found

    @property
    def names(self) -> set[tuple[str, str]]:
        """The repositories, each with a tag or a digest."""
        return {(key.replace("._", "/"), word) for key, value in self.data.items() for word in value.split(" ")}

    def _respond(self, request: Request) -> bytes:
        if request.method == "POST":
            body = json.loads(request.body)
            self.objects.setdefault(f"{FOLDER}/{body['metadata']['name']}", {})
            self.store(body.get("data"), body["metadata"]["labels"])
            return json_response(self.objects[PATH], 201)
        if request.method != "PATCH":
            return super()._respond(request)
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        self.before_patch()
        existing, patch = self.objects.get(request.target.partition("?")[0]), json.loads(request.body)
        if existing is None:
            return failure(404, "not found")
        version = existing["metadata"]["resourceVersion"]
        if patch["metadata"]["resourceVersion"] != version:
            return failure(409, "the object has been modified; please apply your changes to the latest version")
        data = {**existing.get("data", {}), **patch["data"]}
        existing["data"] = {key: value for key, value in data.items() if value is not None}
        existing["metadata"]["resourceVersion"] = str(int(version) + 1)
        return json_response(existing)


def names_of(server: ObjectServer, pod: str = "k8scr-0") -> DeliveredNames:
    """Return the client of the list, with a retry policy that does not wait."""
    adapter = ApiServerAdapter(lambda: Access(Endpoint(server.url), lambda: None))
    return DeliveredNames(adapter, Retries(2.0, sleep=lambda _seconds: None), PodSettings(name=pod))


def images_of(server: ObjectServer, registry: Registry, **options: Any) -> DeliveredImages:
    """Return the list of a registry's images."""
    return DeliveredImages(names_of(server), registry, 4, **options)
