# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into a cluster: from a module's options to a requests adapter and an official API client."""

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


class Cluster:
    """One cluster, reached as one user; as a context manager, until its connections are closed.

    Attributes:
        adapter: The requests adapter bound to the API server.
    """

    def __init__(self, adapter: ApiServerAdapter) -> None:
        self.adapter = adapter
        self._api_client: ApiClient | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error: object) -> None:
        self.adapter.close()

    def api_client(self) -> ApiClient:
        """The official client, over the same connections and credentials as :attr:`adapter`.

        Raises:
            ClusterError: The kubernetes library is missing or is one of the broken versions.
        """
        if self._api_client is None:
            self._api_client = _official_client(self.adapter)
        return self._api_client


def connect(settings: ClusterSettings, **adapter_options: Any) -> Cluster:
    """Load the configuration of a cluster. The first request opens a connection.

    Warns the user, by Ansible's means, when the server's certificate is not to be checked.

    Args:
        settings: The cluster and the user.
        **adapter_options: As :class:`ApiServerAdapter` takes: ``pool_size``, ``connect_timeout``,
            ``silence_timeout``.

    Raises:
        ClusterError: No cluster is configured, its configuration cannot be used, or a library is missing.
    """
    if find_spec("requests") is None:
        raise ClusterError("the Python library requests is not installed", "Install requests")
    adapter = ApiServerAdapter(lambda: load(settings), **adapter_options)
    if not adapter.verifies:
        warn(f"The certificate of {adapter.server_name} is not checked: anyone between can read and change everything.")
    return Cluster(adapter)


def _official_client(adapter: ApiServerAdapter) -> ApiClient:
    import_kubernetes()
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    configuration.host = adapter.base_url
    configuration.proxy = None
    client = ApiClient(configuration)
    client.rest_client.pool_manager = _ThroughAdapter(adapter)
    return client


class _ThroughAdapter:
    """Where the official client sends its requests: the adapter adds credentials, TLS and proxy to them."""

    def __init__(self, adapter: ApiServerAdapter) -> None:
        self._adapter = adapter

    def request(self, method: str, url: str, fields: Sequence[tuple[str, Any]] | None = None, **options: Any) -> Any:
        query = urlencode(fields or ())
        address = f"{url}?{query}" if query else url
        return self._adapter.open(method, address, options.get("headers"), options.get("body"), options.get("timeout"))

    def clear(self) -> None:
        """The connections are the adapter's."""
