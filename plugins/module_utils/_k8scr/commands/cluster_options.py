# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the cluster and the credentials, with the names of kubernetes.core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ansible.module_utils.basic import env_fallback

from ..transport.cluster import Cluster
from ..transport.cluster import connect as connect_cluster
from ..transport.settings import ClusterSettings, ProxyHeaders


def _option(*environment: str, **rest: Any) -> dict[str, Any]:
    names = [f"K8S_AUTH_{name}" for name in environment]
    return {**rest, "fallback": (env_fallback, names)}


CLUSTER_ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "kubeconfig": _option("KUBECONFIG", type="raw"),
    "context": _option("CONTEXT", type="str"),
    "host": _option("HOST", type="str"),
    "api_key": _option("API_KEY", type="str", no_log=True),
    "username": _option("USERNAME", type="str"),
    "password": _option("PASSWORD", type="str", no_log=True),
    "validate_certs": _option("VALIDATE_CERTS", "VERIFY_SSL", type="bool", aliases=["verify_ssl"]),
    "ca_cert": _option("CA_CERT", "SSL_CA_CERT", type="path", aliases=["ssl_ca_cert"]),
    "client_cert": _option("CLIENT_CERT", "CERT_FILE", type="path", aliases=["cert_file"]),
    "client_key": _option("CLIENT_KEY", "KEY_FILE", type="path", aliases=["key_file"], no_log=False),
    "tls_server_name": _option("TLS_SERVER_NAME", type="str"),
    "proxy": _option("PROXY", type="str"),
    "no_proxy": _option("NO_PROXY", type="str"),
    "proxy_headers": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": _option("PROXY_HEADERS_PROXY_BASIC_AUTH", type="str", no_log=True),
            "basic_auth": _option("PROXY_HEADERS_BASIC_AUTH", type="str", no_log=True),
            "user_agent": _option("PROXY_HEADERS_USER_AGENT", type="str"),
        },
    },
    "persist_config": _option("PERSIST_CONFIG", type="bool"),
    "impersonate_user": _option("IMPERSONATE_USER", type="str"),
    "impersonate_groups": _option("IMPERSONATE_GROUPS", type="list", elements="str"),
}
"""Argument spec of the fragment ``k8scr.core.auth``."""


def cluster_settings(options: Mapping[str, Any]) -> ClusterSettings:
    """Return the cluster and the user to connect as. Options may be missing; an empty value is like a missing one."""
    given = {
        field.name: options[field.name]
        for field in fields(ClusterSettings)
        if options.get(field.name) not in (None, "", [], {})
    }
    if "proxy_headers" in given:
        headers = given["proxy_headers"].items()
        given["proxy_headers"] = ProxyHeaders(**{name: value for name, value in headers if value})
    return ClusterSettings(**{**given, "impersonate_groups": tuple(map(str, given.get("impersonate_groups", ())))})


def connect(options: Mapping[str, Any], **adapter_options: Any) -> Cluster:
    """Load the configuration of a cluster. The first request opens a connection.

    Warns the user through Ansible if the certificate of the API server is not verified.

    Args:
        options: A module's parameters. Those of the fragment ``k8scr.core.auth`` are read; all may be missing.
        **adapter_options: As :class:`ApiServerAdapter` takes: ``pool_size``, ``connect_timeout``, ``idle_timeout``,
            ``minimum_rate``.

    Raises:
        ClusterError: No cluster is configured, its configuration cannot be used, or a library is missing.
    """
    return connect_cluster(cluster_settings(options), **adapter_options)
