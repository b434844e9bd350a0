# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of a connection to a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ProxyHeaders:
    """Headers for the proxy, as :func:`urllib3.util.make_headers` takes them; None leaves one out."""

    proxy_basic_auth: str | None = field(default=None, repr=False)
    basic_auth: str | None = field(default=None, repr=False)
    user_agent: str | None = None


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster and the user to connect as.

    Each attribute is an option of the fragment ``k8scr.core.auth``; None leaves the value to the kubeconfig or to a
    default. ``kubeconfig`` is a path, the text of a kubeconfig, or a dictionary.
    """

    kubeconfig: Any = field(default=None, repr=False)
    context: str | None = None
    host: str | None = None
    api_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    validate_certs: bool | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    no_proxy: str | None = None
    proxy_headers: ProxyHeaders = ProxyHeaders()
    persist_config: bool = False
    impersonate_user: str | None = None
    impersonate_groups: tuple[str, ...] = ()

    @property
    def has_password(self) -> bool:
        """Whether a user name and its password are set."""
        return self.username is not None and self.password is not None

    @property
    def has_credential(self) -> bool:
        """Whether a credential is set that replaces those of the kubeconfig."""
        return self.api_key is not None or self.client_cert is not None or self.has_password
