# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and write Kubernetes objects with the official dynamic client."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..errors import ApiServerError, ClusterError, Retry
from ..http.headers import retry_after
from ..http.retry import Retries
from ..redaction import HIDDEN, SHORTEST
from ..transport.cluster import Cluster
from ..transport.failures import translate, unauthorized
from .definitions import display_name, object_name, secret_values

try:
    from urllib3.exceptions import HTTPError
except ImportError:  # reported by cluster.connect()
    pass

FIELD_MANAGER = "k8scr"
_ATTEMPTS_OF_ALLOWED_REQUESTS = 6
"""Attempts after a 403 for a request of a kind that was allowed earlier in the task: about six seconds in total."""


class KubernetesClient:
    """Reads and writes objects of any kind. Failing requests are retried; ``retries`` replaces the default policy."""

    def __init__(self, cluster: Cluster, retries: Retries | None = None) -> None:
        from kubernetes.dynamic import DynamicClient

        self._retries = retries or Retries()
        self._server = cluster.adapter.server_name
        self._allowed: set[str] = set()
        """The verb and the kind of requests that succeeded."""
        # The library caches its discovery in a file with a predictable name in /tmp. An impossible path prevents that.
        no_cache = os.path.join(os.devnull, "discovery")
        api_client = cluster.api_client()
        self._dynamic = self._send("discover the API", lambda: DynamicClient(api_client, cache_file=no_cache))

    def limited_to(self, seconds: float) -> KubernetesClient:
        """Return a client that retries for so many seconds at most; 0 is for requests that explain another failure."""
        client = copy.copy(self)
        client._retries = replace(self._retries, seconds=min(seconds, self._retries.seconds))
        return client

    def find_kind(self, api_version: str, kind: str) -> Any | None:
        """Return the API resource of a kind, or None if the API server does not serve the kind."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError, ResourceNotUniqueError

        # Without the prefix, the library reads every API group with a version of this name.
        prefix = "apis" if "/" in api_version else "api"

        def look_up() -> Any:
            try:
                return self._dynamic.resources.get(prefix=prefix, api_version=api_version, kind=kind)
            except ResourceNotFoundError:
                # The library reports an unavailable API as one without kinds. This request is retried then.
                self._dynamic.request("get", f"/{prefix}/{api_version}")
                return self._dynamic.resources.get(prefix=prefix, api_version=api_version, kind=kind)

        try:
            with _ignored_status(404):
                return self._send(f"look up the kind {kind}", look_up)
        except ResourceNotFoundError:
            pass
        except ResourceNotUniqueError as error:
            raise ClusterError(f"{kind} of {api_version} is ambiguous: {error}") from None
        return None

    def get(self, kind: Any, name: str, namespace: str | None) -> dict[str, Any] | None:
        """Return an object, or None if it does not exist."""
        action = f"read {object_name(kind.kind, name, namespace)}"
        with _ignored_status(404):
            return self._send_object(action, lambda: self._dynamic.get(kind, name=name, namespace=namespace))
        return None

    def list_objects(self, kind: Any, namespace: str | None, **selectors: str) -> list[dict[str, Any]]:
        """Return the objects of a kind in a namespace, or in all (None), that match the selectors.

        Args:
            **selectors: ``label_selector`` and ``field_selector``, in the notation of the Kubernetes API.
        """
        found = self._send_object(
            f"list {kind.kind}", lambda: self._dynamic.get(kind, namespace=namespace, **selectors)
        )
        items = found.get("items")
        return items if isinstance(items, list) else []

    def apply(
        self, kind: Any, body: Mapping[str, Any], namespace: str | None, dry_run: bool, force: bool
    ) -> dict[str, Any]:
        """Apply an object on the server side and return it.

        Args:
            kind: The result of :meth:`find_kind`.
            namespace: The object's namespace; None for a cluster-scoped object.
            dry_run: Whether to change nothing and return the result only.
            force: Whether to take over fields of other field managers.
        """
        options = _write_options(dry_run)
        if force:
            options["force_conflicts"] = True
        text = json.dumps(body)
        return self._send_object(
            f"apply {display_name(body, namespace)}",
            lambda: self._dynamic.server_side_apply(
                kind, body=text, name=body["metadata"]["name"], namespace=namespace, **options
            ),
            secret_values(body),
        )

    def create(self, kind: Any, body: Mapping[str, Any], namespace: str | None, dry_run: bool) -> dict[str, Any] | None:
        """Create an object, see :meth:`apply`; return None if it exists.

        If it exists after a retry, an earlier attempt has created it whose response was lost.
        """
        attempts = 0

        def request() -> Any:
            nonlocal attempts
            attempts += 1
            return self._dynamic.create(kind, body=dict(body), namespace=namespace, **_write_options(dry_run))

        with _ignored_status(409):
            return self._send_object(f"create {display_name(body, namespace)}", request, secret_values(body))
        return self.get(kind, body["metadata"]["name"], namespace) if attempts > 1 else None

    def delete(self, kind: Any, name: str, namespace: str | None, dry_run: bool) -> None:
        """Delete an object and, in the background, its dependents; a missing one is not an error."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if dry_run:
            body["dryRun"] = ["All"]
        with _ignored_status(404):
            self._send_object(
                f"delete {object_name(kind.kind, name, namespace)}",
                lambda: self._dynamic.delete(kind, name=name, namespace=namespace, body=body),
            )

    def delete_all(self, kind: Any, namespace: str, label_selector: str) -> None:
        """Delete the objects in a namespace that match a selector, in one request."""
        self._send(
            f"delete {kind.kind} in namespace {namespace}",
            lambda: self._dynamic.delete(kind, namespace=namespace, label_selector=label_selector),
        )

    def last_log_line(self, namespace: str, pod: str, container: str, previous: bool) -> str:
        """Return the last line in the log of a container, or of its ``previous`` instance; empty for an empty log."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = [("container", container), ("tailLines", 1), ("previous", str(previous).lower())]
        raw = self._send(
            f"read the log of Pod {namespace}/{pod}",
            lambda: self._dynamic.request("get", path, query_params=query, serialize=False),
        )
        return bytes(raw.data).decode("utf-8", "replace").strip()[:300]

    def _send_object(self, action: str, request: Callable[[], Any], secrets: set[str] | None = None) -> dict[str, Any]:
        item: dict[str, Any] = self._send(action, lambda: request().to_dict(), secrets)
        return item

    def _send(self, action: str, request: Callable[[], Any], secrets: set[str] | None = None) -> Any:
        """Send a request; the requests of all methods can be repeated."""
        from kubernetes.client.exceptions import ApiException

        permission = " ".join(action.split()[:2])

        def attempt() -> Any:
            try:
                response = request()
            except ApiException as error:
                failure = _api_server_error(action, error, secrets or set())
                # After its start, the API server forbids all requests until it has loaded the roles.
                if permission in self._allowed and _lacks_permission(failure.status, failure.message):
                    failure = failure.replace(retry=Retry(_ATTEMPTS_OF_ALLOWED_REQUESTS))
                raise failure from None
            except HTTPError as error:
                raise translate(error, self._server) from error
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # The library reads every successful response as an object.
                raise ClusterError(
                    f"the response to the request to {action} is not a Kubernetes object",
                    f"Check its address: a proxy or a login page may have responded in place of {self._server}",
                ) from error
            self._allowed.add(permission)
            return response

        return self._retries.run(action, attempt)


def label_selector(labels: Mapping[str, str]) -> str:
    """Return the selector of objects with all of these labels."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


@contextmanager
def _ignored_status(status: int) -> Iterator[None]:
    """Ignore error responses with a status code."""
    try:
        yield
    except ApiServerError as error:
        if error.status != status:
            raise


def _write_options(dry_run: bool) -> dict[str, Any]:
    return {"field_manager": FIELD_MANAGER, **({"dry_run": "All"} if dry_run else {})}


def _lacks_permission(status: int | None, message: str) -> bool:
    """Return whether an error response is that of RBAC, and not of an admission plugin such as a quota."""
    return status == 403 and "cannot" in message


def _api_server_error(action: str, error: Any, secrets: set[str]) -> ApiServerError:
    message, conflicts = _parse_status(error)
    for secret in sorted((value for value in secrets if len(value) >= SHORTEST), key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    if error.status == 401:
        return unauthorized(message)
    advice = None
    if _lacks_permission(error.status, message):
        advice = "Grant this user a Role with the permission"
    elif error.status == 409 and conflicts:
        message = f"conflict with other field managers: {'; '.join(conflicts)}"
        advice = "Remove these fields from the definition, or take them over with force"
    elif "expected string, got" in message:
        advice = "Quote the value, because YAML reads it as a number or a boolean"
    after = retry_after(error.headers or {})
    message = f"the API server rejected the request to {action}: {message}"
    return ApiServerError(message, advice, error.status, after=after)


def _parse_status(error: Any) -> tuple[str, list[str]]:
    """Return the message of an error response, and the conflicts of an apply."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        status = None
    if not isinstance(status, dict):
        return f"{error.status} {error.reason}", []
    causes = (status.get("details") or {}).get("causes") or []
    conflicts = [
        f"{cause.get('field')} ({cause.get('message')})"
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
    message = " ".join(str(status.get("message") or f"{error.status} {error.reason}").split())
    return message.rstrip(".")[:1000], conflicts
