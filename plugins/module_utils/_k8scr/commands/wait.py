# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until a registry responds through the API server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ClusterError, ErrorResponseError, FrontProxyError, K8scrError, PodUnreachableError, Retry
from ..http.retry import Retries
from ..objects.client import KubernetesClient
from ..objects.diagnostics import Diagnostics
from ..objects.readiness import count_of
from ..oci.decimal import parse_decimal
from ..registry.cluster import PodSettings, pod_adapter
from ..registry.error_responses import error_of
from ..registry.response import receive
from ..registry.write_path import WritePath
from ..transfer.progress import SILENT, Progress, elapsed
from ..transfer.texts import seconds_text
from ..transport.cluster import Cluster, connect
from ..transport.pod_proxy import PodProxyAdapter
from .cluster_options import cluster_settings
from .numbers import read_number
from .registry_settings import REGISTRY_POD_ARGUMENT_SPEC, pod_settings

try:
    import requests
except ImportError:  # reported by the module
    pass

_INTERVAL = 1.0
"""The maximum seconds between two requests."""
_ATTEMPTS_WITHOUT_POD = 8
"""Attempts while the Pod is missing, over about five seconds: it may move to another node, or its name is wrong.

The same applies to an ingress in front of the API server that does not know the API server.
"""
_CONNECT_TIMEOUT = 10.0

WAIT_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "wait_timeout": {"type": "int", "default": 180},
}


def run_wait(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Request a registry's version until it responds, and return the module's result. In check mode, return at once.

    Returns:
        ``changed``, which is false, and ``elapsed``, in seconds.

    Raises:
        ClusterError: The registry is not available in time; the message contains the cluster's reasons.
        ApiServerError: The API server denies access to the Pod.
        InputError: An option is invalid.
    """
    settings, registry = cluster_settings(options), pod_settings(options)
    seconds = read_number(options, "wait_timeout")
    if check_mode:
        return {"changed": False}
    begin = time.monotonic()
    what = f"the registry in Pod {registry.namespace}/{registry.name}"
    status = _WaitStatus(what)
    with connect(settings) as cluster, progress.status(status.text):
        _wait(cluster, registry, seconds, status)
    if status.reason:
        progress.line(f"{what} responds ({seconds_text(time.monotonic() - begin)})")
    return {"changed": False, "elapsed": round(time.monotonic() - begin, 1)}


class _WaitStatus:
    """What the module waits for, and the last error.

    Attributes:
        reason: The last error; ``None`` before the first.
    """

    def __init__(self, what: str) -> None:
        self.reason: str | None = None
        self._text = elapsed(f"waiting for {what} since {time.strftime('%H:%M:%S')}")

    def failed(self, _action: str, reason: str) -> None:
        """Receive the error of a request."""
        self.reason = reason

    def text(self) -> str | None:
        """Return the current status."""
        return f"{self._text()}: {self.reason}" if self.reason else self._text()


def _wait(cluster: Cluster, registry: PodSettings, seconds: int, status: _WaitStatus) -> None:
    """Wait until a registry responds."""
    namespace, pod = registry.namespace, registry.name
    deadline = time.monotonic() + seconds

    def remaining() -> float:
        return max(deadline - time.monotonic(), 0.0)

    # The port may be the read-only port or the write port.
    transport = pod_adapter(cluster, registry, WritePath(cluster.adapter, namespace, pod, ahead=False))
    while True:
        # A wait has no wrong address: the registry and the API server may not be running yet.
        retries = Retries(remaining(), on_retry=status.failed, has_response=True, longest_wait=_INTERVAL)
        try:
            retries.run(
                f"wait for the registry in Pod {namespace}/{pod}",
                lambda: _request_version(transport, max(remaining(), _INTERVAL)),
            )
        except K8scrError as error:
            if error.retry is None:
                raise
            if error.retry.attempts:
                is_missing = isinstance(error, PodUnreachableError)
                if not is_missing or not _will_exist(cluster, namespace, pod):
                    raise
                if remaining():
                    status.failed("", error.message)
                    continue
            reasons = _reasons(cluster, namespace, pod)
            explanation = f". The cluster reports: {reasons}" if reasons else ""
            raise ClusterError(
                f"the registry in Pod {namespace}/{pod} did not become available through the API server within "
                f"{seconds} s: {error.message}{explanation}",
                error.advice,
            ) from error
        return


def _request_version(transport: PodProxyAdapter, timeout: float) -> None:
    """Request the registry's version (OCI distribution specification, "Endpoints")."""
    request = requests.Request("GET", "http://registry/v2/").prepare()
    try:
        registry = f"the registry in Pod {transport.namespace}/{transport.pod}"
        response = receive(transport.send(request, stream=True, timeout=(_CONNECT_TIMEOUT, timeout)), registry)
        if response.status_code >= 400:
            raise error_of(response, "its version cannot be read", registry)
    except ErrorResponseError as error:
        if error.retry is None:
            raise
        # While a registry or an API server starts, it may return an internal error for longer than a running one.
        # Without a limit, a wrong address is reported only at the end of the time.
        is_missing = isinstance(error, (PodUnreachableError, FrontProxyError)) and error.status == 404
        attempts = _ATTEMPTS_WITHOUT_POD if is_missing else None
        raise error.replace(retry=Retry(attempts, error.retry.after)) from error


def _will_exist(cluster: Cluster, namespace: str, pod: str) -> bool:
    """Return whether a StatefulSet is about to create a missing Pod; False if the user may not read StatefulSets."""
    name, _hyphen, ordinal = pod.rpartition("-")
    number = parse_decimal(ordinal)
    if not name or number is None:
        return False
    path = f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/statefulsets/{quote(name, safe='')}"
    try:
        found = cluster.adapter.read_object(path, f"the StatefulSet {name} in namespace {namespace}")
    except K8scrError as error:
        return error.transient
    spec = (found or {}).get("spec") or {}
    first = count_of(spec.get("ordinals") or {}, "start")
    return first <= number < first + count_of(spec, "replicas")


def _reasons(cluster: Cluster, namespace: str, pod: str) -> str:
    try:
        client = KubernetesClient(cluster, Retries(0.0))
        for api_version, kind, name in (("v1", "Pod", pod), ("apps/v1", "StatefulSet", pod.rpartition("-")[0])):
            item = client.get(client.find_kind(api_version, kind), name, namespace) if name else None
            if item:
                return Diagnostics(client).reasons({**item, "kind": kind})
    except K8scrError:
        return ""
    return f"there is no Pod {pod}"
