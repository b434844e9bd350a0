# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The official dynamic client, with failures that say what was refused and what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ApiServerError, ClusterError, ConnectionLostError, K8scrError
from ..http.retry import Retries, retry_after
from ..redaction import HIDDEN
from ..transport.api_server import translate
from ..transport.cluster import Cluster
from .definitions import describe, secret_values

try:
    from urllib3.exceptions import HTTPError
except ImportError:  # reported by cluster.connect()
    pass

FIELD_MANAGER = "k8scr"
_NOT_CARRIED_OUT = (429, 503, 504)
"""Status codes of requests that the API server usually did not carry out."""


class ObjectClient:
    """Reads and writes objects of any kind.

    Failing requests are retried.

    Args:
        cluster: The cluster.
        retries: The retry policy.
    """

    def __init__(self, cluster: Cluster, retries: Retries | None = None) -> None:
        from kubernetes.dynamic import DynamicClient

        self._retries = retries or Retries()
        self._server = cluster.adapter.server_name
        # The library keeps what it discovers in a file of guessable name in /tmp; a path that cannot be stops that.
        nowhere = os.path.join(os.devnull, "discovery")
        api_client = cluster.api_client()
        self._dynamic = self._ask("speak to the cluster", lambda: DynamicClient(api_client, cache_file=nowhere))

    def kind(self, api_version: str, kind: str) -> Any | None:
        """Find how the API server serves a kind; None when it does not know it."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError, ResourceNotUniqueError

        # Without the prefix the library reads every API group that has a version of that name.
        prefix = "apis" if "/" in api_version else "api"
        try:
            return self._ask(
                f"look up the kind {kind}",
                lambda: self._dynamic.resources.get(prefix=prefix, api_version=api_version, kind=kind),
            )
        except ResourceNotFoundError:
            return None
        except ResourceNotUniqueError as error:
            raise ClusterError(f"{kind} of {api_version} is ambiguous: {error}") from None

    def get(self, kind: Any, name: str, namespace: str | None) -> dict[str, Any] | None:
        """Read one object; None when it is not there."""
        try:
            return self._fetch(
                f"read {_path(kind, name, namespace)}",
                lambda: self._dynamic.get(kind, name=name, namespace=namespace),
            )
        except ApiServerError as error:
            if error.status == 404:
                return None
            raise

    def find(self, kind: Any, namespace: str | None, **selectors: str) -> list[dict[str, Any]]:
        """List objects.

        Args:
            kind: What :meth:`kind` returned.
            namespace: The namespace, or None for all.
            **selectors: ``label_selector`` and ``field_selector``.
        """
        found = self._fetch(f"list {kind.kind}", lambda: self._dynamic.get(kind, namespace=namespace, **selectors))
        items = found.get("items")
        return items if isinstance(items, list) else []

    def apply(
        self, kind: Any, body: Mapping[str, Any], namespace: str | None, dry_run: bool, force: bool
    ) -> dict[str, Any]:
        """Server-side apply one object.

        Args:
            kind: What :meth:`kind` returned.
            body: The object.
            namespace: Its namespace; None where it has none.
            dry_run: Whether the server shall only say what would be.
            force: Whether to take over fields that others manage.

        Returns:
            The object as it is, or would be.
        """
        options: dict[str, Any] = {"field_manager": FIELD_MANAGER}
        if dry_run:
            options["dry_run"] = "All"
        if force:
            options["force_conflicts"] = True
        text = json.dumps(body)
        return self._fetch(
            f"apply {describe(body, namespace)}",
            lambda: self._dynamic.server_side_apply(
                kind, body=text, name=body["metadata"]["name"], namespace=namespace, **options
            ),
            secret_values(body),
        )

    def create(self, kind: Any, body: Mapping[str, Any], namespace: str | None, dry_run: bool) -> dict[str, Any] | None:
        """Create one object, as :meth:`apply`; None if it exists.

        A request that may have been carried out is not retried, because the retry would find the object.
        """
        options: dict[str, Any] = {"field_manager": FIELD_MANAGER}
        if dry_run:
            options["dry_run"] = "All"
        try:
            return self._fetch(
                f"create {describe(body, namespace)}",
                lambda: self._dynamic.create(kind, body=dict(body), namespace=namespace, **options),
                secret_values(body),
                repeatable=False,
            )
        except ApiServerError as error:
            if error.status == 409:
                return None
            raise

    def delete(self, kind: Any, name: str, namespace: str | None, dry_run: bool) -> None:
        """Delete one object and, behind it, what belongs to it; one that is not there is no error."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if dry_run:
            body["dryRun"] = ["All"]
        try:
            self._fetch(
                f"delete {_path(kind, name, namespace)}",
                lambda: self._dynamic.delete(kind, name=name, namespace=namespace, body=body),
            )
        except ApiServerError as error:
            if error.status != 404:
                raise

    def log(self, namespace: str, pod: str, container: str, previous: bool) -> str:
        """The last line that a container wrote; empty when it wrote none."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = [("container", container), ("tailLines", 1), ("previous", str(previous).lower())]
        raw = self._ask(
            f"read the log of Pod {namespace}/{pod}",
            lambda: self._dynamic.request("get", path, query_params=query, serialize=False),
        )
        return bytes(raw.data).decode("utf-8", "replace").strip()[:300]

    def _fetch(
        self, doing: str, request: Callable[[], Any], secrets: set[str] | None = None, repeatable: bool = True
    ) -> dict[str, Any]:
        response = self._ask(doing, request, secrets, repeatable)
        return response.to_dict() if hasattr(response, "to_dict") else {}

    def _ask(
        self, doing: str, request: Callable[[], Any], secrets: set[str] | None = None, repeatable: bool = True
    ) -> Any:
        from kubernetes.client.exceptions import ApiException

        attempts = self._retries.begin(doing)
        while True:
            failure: K8scrError
            try:
                response = request()
            except ApiException as error:
                attempts.note_response()
                failure = _refused(doing, error, secrets or set())
                may_be_done = error.status not in _NOT_CARRIED_OUT
            except HTTPError as error:
                failure, may_be_done = translate(error, self._server), True
            except K8scrError as error:
                failure, may_be_done = error, isinstance(error, ConnectionLostError)
            else:
                attempts.note_progress()
                return response
            if may_be_done and not repeatable:
                raise failure
            attempts.wait_or_raise(failure)


def _path(kind: Any, name: str, namespace: str | None) -> str:
    return f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"


def _refused(doing: str, error: Any, secrets: set[str]) -> ApiServerError:
    message, causes = _status(error)
    # A value of a few characters would be found in any word.
    for secret in sorted((value for value in secrets if len(value) > 3), key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    advice = None
    if error.status == 401:
        message = "the credentials are missing, wrong or have ended"
        advice = "Renew the credentials that the kubeconfig or api_key gives"
    elif error.status == 403 and "cannot" in message:
        advice = "Give this user a Role that allows it"
    elif error.status == 409 and causes:
        message = "others manage fields of it: " + "; ".join(causes)
        advice = "Leave these fields to them, or take them over with force"
    after = retry_after(error.headers or {})
    return ApiServerError(f"the API server refused to {doing}: {message}", advice, error.status, after=after)


def _status(error: Any) -> tuple[str, list[str]]:
    """What the API server said: its message, and the conflicts of an apply."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return f"{error.status} {error.reason}", []
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
