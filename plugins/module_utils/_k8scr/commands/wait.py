# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until a registry answers through the API server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..errors import ApiServerError, ClusterError, K8scrError, RegistryError
from ..objects.client import KubernetesClient
from ..objects.diagnostics import Diagnostics
from ..registry.cluster import pod_adapter
from ..registry.write_path import WritePath
from ..transport.cluster import Cluster, connect
from ..transport.pod_proxy import PodProxyAdapter

try:
    import requests
except ImportError:  # reported by the module
    pass

_POLL = 1.0
_MISSING_FOR = 5.0
"""Seconds that a Pod may be missing, as while it moves to another node; a wrong name never gets there."""
_CONNECT_TIMEOUT = 10.0


def run_wait(options: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a registry for its version until it answers, and return the module's result.

    Args:
        options: The parameters of ``k8scr_wait``.

    Returns:
        ``changed``, which is false, and ``elapsed``, in seconds.

    Raises:
        ClusterError: It does not answer in time; the message holds the cluster's reasons.
        ApiServerError: The API server refuses the way to it.
    """
    namespace, pod = options["namespace"], options["registry"]
    begin = time.monotonic()
    deadline = begin + options["wait_timeout"]
    with connect(options) as cluster:
        # The port may be the one for pulls or the one for pushes.
        road = pod_adapter(cluster, options, WritePath(cluster.adapter, namespace, pod, ahead=False))
        while True:
            problem = _ask(road, max(deadline - time.monotonic(), _POLL))
            if problem is None:
                return {"changed": False, "elapsed": round(time.monotonic() - begin, 1)}
            is_missing = isinstance(problem, ApiServerError) and problem.status == 404
            if not problem.transient or (is_missing and time.monotonic() - begin > _MISSING_FOR):
                raise problem
            if time.monotonic() >= deadline:
                why = _why(cluster, namespace, pod)
                said = f". The cluster says: {why}" if why else ""
                raise ClusterError(
                    f"the registry in Pod {namespace}/{pod} did not answer through the API server within "
                    f"{options['wait_timeout']} s: {problem.message}{said}",
                    problem.advice,
                )
            time.sleep(_POLL)


def _ask(road: PodProxyAdapter, patience: float) -> K8scrError | None:
    """Ask for the registry's version (OCI distribution specification, "Endpoints"); what is wrong with the answer."""
    question = requests.Request("GET", "http://registry/v2/").prepare()
    try:
        with road.send(question, timeout=(_CONNECT_TIMEOUT, patience)) as response:
            if response.status_code < 400:
                return None
            return RegistryError(
                f"it answered {response.status_code}: {' '.join(response.text.split()):.300}",
                status=response.status_code,
            )
    except K8scrError as error:
        return error


def _why(cluster: Cluster, namespace: str, pod: str) -> str:
    try:
        client = KubernetesClient(cluster)
        item = client.get(client.find_kind("v1", "Pod"), pod, namespace)
    except K8scrError:
        return ""
    return Diagnostics(client).reasons({**item, "kind": "Pod"}) if item else f"there is no Pod {pod}"
