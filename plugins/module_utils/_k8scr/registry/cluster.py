# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster's registry, reached through the API server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..http.bandwidth import Bandwidth
from ..http.retry import Retries
from ..http.session import open_session
from ..transport.base_path import BasePath
from ..transport.cluster import Cluster, connect
from ..transport.pod_proxy import PodProxyAdapter
from .chunk_size import ChunkSize
from .client import Registry
from .upload_state import UploadRecords
from .write_path import ReadOnlyPort, WritePath

REGISTRY_POD_ARGUMENT_SPEC: dict[str, Any] = {
    "namespace": {"type": "str", "default": "k8scr"},
    "registry": {"type": "str", "default": "k8scr-0"},
    "registry_port": {"type": "int", "default": 5000},
    "registry_scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
}
READ_ONLY_PORT = 5001
"""The default port of the role ``registry`` for pulls."""
REGISTRY_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "qualify": {"type": "bool", "default": False},
    "connections": {"type": "int", "default": 4},
    "bandwidth": {"type": "bytes"},
    "chunk_size": {"type": "bytes"},
    "timeout": {"type": "int", "default": 60},
    "retry_timeout": {"type": "int", "default": 120},
    "fail_fast": {"type": "bool", "default": False},
}

_URL = "http://registry"
_CONNECT_TIMEOUT = 10.0


@contextmanager
def connect_registry(options: Mapping[str, Any], writes: bool) -> Iterator[Registry]:
    """Open a client of the cluster's registry, without sending a request.

    Args:
        options: A module's parameters with :data:`REGISTRY_ARGUMENT_SPEC`.
        writes: Whether the module writes to the registry.

    Raises:
        ClusterError: No cluster is configured, or its configuration is not valid.
    """
    pod, namespace = options["registry"], options["namespace"]
    cluster = connect(options, pool_size=options["connections"], silence_timeout=float(options["timeout"]))
    base_path = WritePath(cluster.adapter, namespace, pod) if writes else ReadOnlyPort(pod)
    transport = pod_adapter(cluster, options, base_path)
    identity = f"{cluster.adapter.base_url} {namespace} {transport.target}"
    records = UploadRecords(cache_folder() / "uploads", identity)
    records.forget_expired()
    with open_session(f"{_URL}/", transport) as session:
        yield Registry(
            session,
            _URL,
            f"the registry in Pod {namespace}/{pod}",
            (_CONNECT_TIMEOUT, float(options["timeout"])),
            Retries(float(options["retry_timeout"])),
            ChunkSize(options["chunk_size"]),
            Bandwidth(options["bandwidth"]) if options["bandwidth"] else None,
            records,
            identity,
        )


def pod_adapter(cluster: Cluster, options: Mapping[str, Any], base_path: BasePath) -> PodProxyAdapter:
    """Return the adapter that sends requests to the registry's Pod.

    Args:
        cluster: The connection to the cluster.
        options: A module's parameters with :data:`REGISTRY_POD_ARGUMENT_SPEC`.
        base_path: The path that the registry serves below.
    """
    namespace, pod = options["namespace"], options["registry"]
    return PodProxyAdapter(
        cluster.adapter, namespace, pod, options["registry_port"], options["registry_scheme"], base_path
    )


def cache_folder() -> Path:
    """Return the folder of this user's caches (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "k8scr"
