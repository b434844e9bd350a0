# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say which cluster and as whom, with the names every user of kubernetes.core types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

_SECRET_KEYS = frozenset(
    (
        "token",
        "password",
        "client-key-data",
        "access-token",
        "id-token",
        "refresh-token",
        "client-secret",
    )
)


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
"""Argument spec of the cluster's options; documented in the fragment ``k8scr.core.auth``."""


class ClusterModule(AnsibleModule):
    """An Ansible module that takes :data:`CLUSTER_ARGUMENT_SPEC` beside its own options.

    Secrets inside structured options cannot be marked ``no_log`` without hiding everything around them, so they are
    dealt with here, before Ansible logs the options: those of a kubeconfig given as a dictionary are masked wherever
    they would show, and ``hide`` does what else a module needs.

    Args:
        argument_spec: The module's own options.
        hide: Is given the parameters, once, and may replace what must not be shown.
        **rest: As :class:`AnsibleModule` takes.
    """

    def __init__(
        self, argument_spec: dict[str, Any], hide: Callable[[dict[str, Any]], None] | None = None, **rest: Any
    ) -> None:
        self._hide = hide
        self._hidden = False
        super().__init__(argument_spec={**CLUSTER_ARGUMENT_SPEC, **argument_spec}, **rest)
        self._hide_secrets()

    def _log_invocation(self) -> None:
        self._hide_secrets()
        super()._log_invocation()

    def _hide_secrets(self) -> None:
        if self._hidden:
            return
        self._hidden = True
        self.no_log_values.update(secrets_of(self.params.get("kubeconfig")))
        if self._hide is not None:
            self._hide(self.params)


def secrets_of(kubeconfig: Any) -> set[str]:
    """The strings of a kubeconfig that must never be shown.

    Args:
        kubeconfig: The ``kubeconfig`` option; a path has no secrets.

    Returns:
        Tokens, passwords, private keys and the values of exec plugins' environment variables.
    """
    found: set[str] = set()
    if isinstance(kubeconfig, list):
        for item in kubeconfig:
            found |= secrets_of(item)
    elif isinstance(kubeconfig, dict):
        for key, value in kubeconfig.items():
            if key in _SECRET_KEYS and isinstance(value, str):
                found.add(value)
            elif key == "env" and isinstance(value, list):
                found |= {str(item["value"]) for item in value if isinstance(item, dict) and "value" in item}
            else:
                found |= secrets_of(value)
    return {value for value in found if value.strip()}
