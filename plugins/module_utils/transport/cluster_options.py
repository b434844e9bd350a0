# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say which cluster and as whom, with the names every user of kubernetes.core types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from .redaction import HIDDEN, credentials_of, redacted, redacted_kubeconfig, secrets_of

_SHORTEST_MASKED = 6
"""Characters. Ansible masks a secret wherever it occurs in a result: shorter ones would mask half of the result."""
_SHORTEST_MASKED_OF_PLUGINS = 20
"""The same for arguments and environment variables of credential plugins, most of which are ordinary words."""


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

    Ansible hides an option that is marked ``no_log``, but not before it has validated all options, and not the secrets
    inside a structured option. This class hides both wherever Ansible logs or returns the options, also where their
    validation fails, and it hides the values of unknown options: a misspelt one may hold a secret.

    Args:
        argument_spec: The module's own options.
        redactions: For each option that may hold secrets, what returns its value without them.
        **rest: As :class:`AnsibleModule` takes.
    """

    def __init__(
        self,
        argument_spec: dict[str, Any],
        redactions: Mapping[str, Callable[[Any], Any]] | None = None,
        **rest: Any,
    ) -> None:
        self.params: dict[str, Any] = {}
        self._redactions = {"kubeconfig": redacted_kubeconfig, **(redactions or {})}
        super().__init__(argument_spec={**CLUSTER_ARGUMENT_SPEC, **argument_spec}, **rest)

    def _log_invocation(self) -> None:
        parameters, self.params = self.params, self._redacted_parameters()
        try:
            super()._log_invocation()
        finally:
            self.params = parameters

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        # The module ends here: nobody reads the parameters after this.
        self.params = self._redacted_parameters()
        super()._return_formatted(kwargs)

    def _redacted_parameters(self) -> dict[str, Any]:
        kubeconfig = self.params.get("kubeconfig")
        self.no_log_values.update(secret for secret in credentials_of(kubeconfig) if len(secret) >= _SHORTEST_MASKED)
        self.no_log_values.update(s for s in secrets_of(kubeconfig) if len(s) >= _SHORTEST_MASKED_OF_PLUGINS)
        known = {each for name, option in self.argument_spec.items() for each in (name, *option.get("aliases", ()))}
        secret_names = _secret_names(self.argument_spec)
        shown: dict[str, Any] = {}
        for name, value in self.params.items():
            if name in self._redactions:
                shown[name] = self._redactions[name](value)
            elif name in known:
                shown[name] = redacted({name: value}, secret_names)[name]
            else:
                shown[name] = HIDDEN
        return shown


def _secret_names(argument_spec: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the names and aliases of all options that are marked ``no_log``, inside of others too."""
    found = set()
    for name, option in argument_spec.items():
        if option.get("no_log"):
            found |= {name, *option.get("aliases", ())}
        found |= _secret_names(option.get("options") or {})
    return found
