# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster's registry, reached through the API server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..http.bandwidth import Bandwidth
from ..http.retry import Retries
from ..http.session import open_session
from ..http.slow_peer import MINIMUM_RATE
from ..transport.cluster import Cluster, connect
from ..transport.pod_proxy import BasePath, PodProxyAdapter
from ..transport.settings import ClusterSettings
from .client import ChunkSize, Registry
from .upload_state import UploadRecords
from .write_path import ReadOnlyPort, WritePath

if TYPE_CHECKING:
    import requests

    from ..transport.api_server import ApiServerAdapter

_URL = "http://registry"
_CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True)
class PodSettings:
    """The Pod of a registry, with the port and the scheme (``http`` or ``https``) that the registry serves."""

    namespace: str = "k8scr"
    name: str = "k8scr-0"
    port: int = 5000
    scheme: str = "http"


@dataclass(frozen=True)
class RegistrySettings:
    """The registry in a cluster, and how to transfer images to it and from it.

    Attributes:
        connections: Largest number of concurrent requests to the registry, and to each upstream registry.
        bandwidth: Bytes per second; None for no limit.
        chunk_size: Bytes per request; None for no limit.
        timeout: Seconds without data after which a connection counts as lost.
        minimum_rate: Bytes a second of each connection, averaged over one minute; 0 for no minimum.
        retry_timeout: Seconds to keep retrying a failing request.
    """

    cluster: ClusterSettings
    pod: PodSettings
    connections: int = 4
    bandwidth: int | None = None
    chunk_size: int | None = None
    timeout: int = 60
    minimum_rate: int = MINIMUM_RATE
    retry_timeout: int = 120


class ClusterRegistry(Registry):
    """The registry in a cluster.

    Args:
        options: The other attributes of :class:`..registry.client.Registry`.

        base_path: The base path of the registry's port; None for the root.

    Attributes:
        api_server: The adapter of the cluster's API server, through which the session reaches the registry.
    """

    def __init__(
        self,
        api_server: ApiServerAdapter,
        session: requests.Session,
        url: str,
        base_path: BasePath | None = None,
        **options: Any,
    ) -> None:
        super().__init__(session, url, **options)
        self.api_server = api_server
        self._base_path = base_path

    def is_of_role(self) -> bool:
        """Return whether this is the write port of a registry of the role ``registry``: it has a write path.

        Raises:
            ApiServerError: The API server does not return the write path.
        """
        return bool(self._base_path and self._base_path.current())


@contextmanager
def connect_registry(
    settings: RegistrySettings,
    writes: bool,
    on_retry: Callable[[str, str], None] | None = None,
    on_recovery: Callable[[str], None] | None = None,
) -> Iterator[ClusterRegistry]:
    """Open a client of the cluster's registry, without sending a request.

    Args:
        writes: Whether the module writes to the registry.
        on_retry: Called before each retry with the action that failed and the reason.
        on_recovery: Called when an action that was retried succeeds, makes progress or fails for good.

    Raises:
        ClusterError: No cluster is configured, or its configuration is not valid.
    """
    pod, timeout = settings.pod, settings.timeout
    cluster = connect(
        settings.cluster, pool_size=settings.connections, idle_timeout=timeout, minimum_rate=settings.minimum_rate
    )
    base_path = WritePath(cluster.adapter, pod.namespace, pod.name) if writes else ReadOnlyPort(pod.name)
    transport = pod_adapter(cluster, pod, base_path)
    identity = f"{cluster.adapter.base_url} {pod.namespace} {transport.target}"
    records = UploadRecords(cache_folder() / "uploads", identity)
    records.forget_expired()
    with open_session(f"{_URL}/", transport) as session:
        yield ClusterRegistry(
            cluster.adapter,
            session,
            _URL,
            base_path,
            description=f"the registry in Pod {pod.namespace}/{pod.name}",
            timeouts=(_CONNECT_TIMEOUT, timeout),
            retries=Retries(settings.retry_timeout, on_retry=on_retry, on_recovery=on_recovery),
            chunks=ChunkSize(settings.chunk_size),
            bandwidth=Bandwidth(settings.bandwidth) if settings.bandwidth else None,
            records=records,
            identity=identity,
            peers=transport.peers,
        )


def pod_adapter(cluster: Cluster, pod: PodSettings, base_path: BasePath) -> PodProxyAdapter:
    """Return the adapter that sends requests to the registry's Pod."""
    return PodProxyAdapter(cluster.adapter, pod.namespace, pod.name, pod.port, pod.scheme, base_path)


def cache_folder() -> Path:
    """Return the folder of this user's caches (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "k8scr"
