# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small API server that stores objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from unit.plugins.module_utils.transport.servers import Request, Server, response_bytes

_KINDS = {
    "/api/v1": [
        ("ConfigMap", "configmaps", True),
        ("Event", "events", True),
        ("Namespace", "namespaces", False),
        ("Pod", "pods", True),
    ],
    "/apis/apps/v1": [("Deployment", "deployments", True)],
}
_STATUS = {"apiVersion": "v1", "kind": "Status"}


def json_response(body: dict[str, Any], status: int = 200) -> bytes:
    """Return a response after which the server closes the connection."""
    headers = {"Content-Type": "application/json", "Connection": "close"}
    return response_bytes(status, headers, json.dumps(body).encode())


def failure(code: int, message: str = "not now") -> bytes:
    """Return an error response."""
    return json_response({**_STATUS, "status": "Failure", "message": message, "code": code}, code)


@dataclass
class Fault:
    """A response in place of those to some requests.

    Attributes:
        response: The response; empty to close the connection without one.
        carried_out: Whether the request is carried out nevertheless.
        times: The number of requests.
    """

    method: str
    path: str
    response: bytes = b""
    carried_out: bool = False
    times: int = 1


class ObjectServer(Server):
    """An API server without TLS that stores objects without validating them.

    Attributes:
        objects: The objects by their paths.
        faults: Faults, in order of precedence.
        on_read: Called before an object is read, so that a test can change it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.closes_after_response = True
        self.objects: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.on_read: Callable[[dict[str, Any]], None] = lambda item: None

    def requests_for(self, method: str, fragment: str) -> list[Request]:
        """Return the received requests with a method, and with a fragment in their paths."""
        return [request for request in self.requests if request.method == method and fragment in request.target]

    def next_response(self, request: Request) -> bytes:
        """Return the response to a request, or that of a fault."""
        for fault in self.faults:
            if fault.times and fault.method == request.method and fault.path in request.target:
                fault.times -= 1
                if fault.carried_out:
                    self._respond(request)
                return fault.response
        return self._respond(request)

    def _respond(self, request: Request) -> bytes:
        target = urlsplit(request.target)
        discovered = _discovery(target.path)
        if discovered is not None:
            return json_response(discovered)
        path, is_dry_run = target.path, "dryRun" in parse_qs(target.query)
        if request.method == "POST":
            path = f"{path}/{json.loads(request.body)['metadata']['name']}"
        existing = self.objects.get(path)
        if request.method == "POST" and existing is not None:
            return failure(409, "already exists")
        if request.method in ("POST", "PATCH"):
            item = {**(existing or {}), **json.loads(request.body)}
            item["metadata"] = {"uid": "1", "namespace": _namespace(path), **item["metadata"]}
            if not is_dry_run:
                self.objects[path] = item
            return json_response(item, 200 if existing else 201)
        if existing is None:
            return failure(404, "not found")
        if request.method == "DELETE" and not is_dry_run:
            del self.objects[path]
        elif request.method == "GET":
            self.on_read(existing)
        return json_response(existing)


def _namespace(path: str) -> str | None:
    parts = path.split("/")
    return parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-2] else None


def _discovery(path: str) -> dict[str, Any] | None:
    if path == "/version":
        return {"major": "1", "minor": "37"}
    if path == "/apis":
        version = {"groupVersion": "apps/v1", "version": "v1"}
        return {
            "kind": "APIGroupList",
            "groups": [{"name": "apps", "versions": [version], "preferredVersion": version}],
        }
    if path not in _KINDS:
        return None
    verbs = ["create", "delete", "get", "list", "patch"]
    resources = [
        {"kind": kind, "name": name, "singularName": kind.lower(), "namespaced": namespaced, "verbs": verbs}
        for kind, name, namespaced in _KINDS[path]
    ]
    return {"kind": "APIResourceList", "groupVersion": path.split("/", 2)[2], "resources": resources}
