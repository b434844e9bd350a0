# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to a cluster: a requests adapter and the official client of its API."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ansible.module_utils.common.warnings import warn

from ..errors import ClusterError
from .api_server import ApiServerAdapter
from .credentials import import_kubernetes, load
from .settings import ClusterSettings

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_MAXIMUM_LIST = 64 << 20
"""Bytes of the largest response to the official client: a list of 60,000 objects of 1 KiB."""


class Cluster:
    """A connection to a cluster as one user. As a context manager, it closes its connections at the end.

    Attributes:
        adapter: The requests adapter for the API server.
    """

    def __init__(self, adapter: ApiServerAdapter) -> None:
        self.adapter = adapter
        self._api_client: ApiClient | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error: object) -> None:
        self.adapter.close()

    def api_client(self) -> ApiClient:
        """Return the official client, which uses the connections and credentials of :attr:`adapter`.

        Raises:
            ClusterError: The kubernetes library is missing or is a version that does not work.
        """
        if self._api_client is None:
            import_kubernetes()
            from kubernetes.client import ApiClient, Configuration

            configuration = Configuration()
            configuration.host = self.adapter.base_url
            configuration.proxy = None
            self._api_client = ApiClient(configuration)
            self._api_client.rest_client.pool_manager = _PoolManager(self.adapter)
        return self._api_client


def connect(settings: ClusterSettings, **adapter_options: Any) -> Cluster:
    """Load the configuration of a cluster. The first request opens a connection.

    Warns the user through Ansible if the certificate of the API server is not verified.

    Args:
        **adapter_options: ``pool_size``, ``connect_timeout``, ``idle_timeout`` and ``minimum_rate`` of
            :class:`ApiServerAdapter`.

    Raises:
        ClusterError: No cluster is configured, its configuration cannot be used, or a library is missing.
    """
    if find_spec("requests") is None:
        raise ClusterError("the Python library requests is not installed", "Install requests")
    adapter = ApiServerAdapter(lambda: load(settings), **adapter_options)
    if not adapter.verifies:
        warn(
            f"The certificate of {adapter.server_name} is not checked: "
            "an attacker on the network can read and change all data."
        )
    return Cluster(adapter)


class _PoolManager:
    """Sends the requests of the official client through the adapter, which adds credentials, TLS and proxy."""

    def __init__(self, adapter: ApiServerAdapter) -> None:
        self._adapter = adapter

    def request(self, method: str, url: str, fields: Sequence[tuple[str, Any]] | None = None, **options: Any) -> Any:
        query = urlencode(fields or ())
        address = f"{url}?{query}" if query else url
        raw = self._adapter.open(method, address, options.get("headers"), options.get("body"), options.get("timeout"))
        return self._adapter.loaded(raw, _MAXIMUM_LIST)

    def clear(self) -> None:
        """Do nothing: the adapter closes the connections."""
