# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until a registry responds through the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ApiServerError, ClusterError, K8scrError, RegistryError
from ..http.retry import Retries
from ..objects.client import KubernetesClient
from ..objects.diagnostics import Diagnostics
from ..registry.cluster import pod_adapter
from ..registry.write_path import WritePath
from ..transport.cluster import Cluster, connect
from ..transport.pod_proxy import PodProxyAdapter
from .cluster_options import cluster_settings
from .numbers import read_number
from .polling import INTERVAL, Poll
from .registry_settings import REGISTRY_POD_ARGUMENT_SPEC, pod_settings

try:
    import requests
except ImportError:  # reported by the module
    pass

_MISSING_FOR = 5.0
"""Seconds that the Pod may be missing, for example while it moves to another node, before its name counts as wrong."""
_CONNECT_TIMEOUT = 10.0

WAIT_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "wait_timeout": {"type": "int", "default": 180},
}


def run_wait(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Poll a registry's version until it responds, and return the module's result. In check mode, return at once.

    Returns:
        ``changed``, which is false, and ``elapsed``, in seconds.

    Raises:
        ClusterError: The registry is not available in time; the message contains the cluster's reasons.
        ApiServerError: The API server denies access to the Pod.
        InputError: An option is invalid.
    """
    settings, registry = cluster_settings(options), pod_settings(options)
    poll = Poll(read_number(options, "wait_timeout"))
    if check_mode:
        return {"changed": False}
    namespace, pod = registry.namespace, registry.name
    with connect(settings) as cluster:
        # The port may be the read-only port or the write port.
        transport = pod_adapter(cluster, registry, WritePath(cluster.adapter, namespace, pod, ahead=False))
        while True:
            error = _request_version(transport, max(poll.seconds - poll.elapsed, INTERVAL))
            if error is None:
                return {"changed": False, "elapsed": round(poll.elapsed, 1)}
            is_missing = isinstance(error, ApiServerError) and error.status == 404
            if not error.transient or (is_missing and poll.elapsed > _MISSING_FOR):
                raise error
            if poll.expired:
                reasons = _reasons(cluster, namespace, pod)
                explanation = f". The cluster reports: {reasons}" if reasons else ""
                raise ClusterError(
                    f"the registry in Pod {namespace}/{pod} did not become available through the API server within "
                    f"{poll.seconds} s: {error.message}{explanation}",
                    error.advice,
                )
            poll.pause()


def _request_version(transport: PodProxyAdapter, timeout: float) -> K8scrError | None:
    """Request the registry's version (OCI distribution specification, "Endpoints"), and return the error, if any."""
    request = requests.Request("GET", "http://registry/v2/").prepare()
    try:
        with transport.send(request, timeout=(_CONNECT_TIMEOUT, timeout)) as response:
            if response.status_code < 400:
                return None
            return RegistryError(
                f"the registry in Pod {transport.namespace}/{transport.pod} responded with {response.status_code}: "
                f"{' '.join(response.text.split()):.300}",
                status=response.status_code,
            )
    except K8scrError as error:
        return error


def _reasons(cluster: Cluster, namespace: str, pod: str) -> str:
    try:
        client = KubernetesClient(cluster, Retries(0.0))
        item = client.get(client.find_kind("v1", "Pod"), pod, namespace)
    except K8scrError:
        return ""
    return Diagnostics(client).reasons({**item, "kind": "Pod"}) if item else f"there is no Pod {pod}"
