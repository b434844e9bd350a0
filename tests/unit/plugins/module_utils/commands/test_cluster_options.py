# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the cluster, with the names and environment variables of kubernetes.core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.doc_fragments.auth import ModuleDocFragment
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import ClusterModule
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import (
    CLUSTER_ARGUMENT_SPEC,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.kubeconfig_secrets import secrets_of
from unit.plugins.module_utils.support.arguments import patch_module_args

NAMES = {
    "kubeconfig": "KUBECONFIG",
    "context": "CONTEXT",
    "host": "HOST",
    "api_key": "API_KEY",
    "username": "USERNAME",
    "password": "PASSWORD",
    "tls_server_name": "TLS_SERVER_NAME",
    "proxy": "PROXY",
    "no_proxy": "NO_PROXY",
    "impersonate_user": "IMPERSONATE_USER",
}
ALIASES = {
    "ca_cert": "ssl_ca_cert",
    "client_cert": "cert_file",
    "client_key": "key_file",
}

Module = Callable[..., ClusterModule]


@pytest.fixture
def module() -> Module:
    """Makes a module from the options of a task."""

    def make(**options: Any) -> ClusterModule:
        with patch_module_args(options):
            return ClusterModule({})

    return make


@pytest.mark.parametrize(("option", "variable"), NAMES.items())
def test_option_is_read_from_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "from-environment")

    assert module().params[option] == "from-environment"


@pytest.mark.parametrize(("option", "variable"), NAMES.items())
def test_option_of_task_precedes_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "from-environment")

    assert module(**{option: "from-task"}).params[option] == "from-task"


@pytest.mark.parametrize(("option", "alias"), ALIASES.items())
def test_path_option_has_alias_of_kubernetes_core(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, alias: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{alias.upper()}", "/from/environment")

    assert module(**{alias: "/from/task"}).params[option] == "/from/task"
    assert module().params[option] == "/from/environment"


@pytest.mark.parametrize("variable", ["VALIDATE_CERTS", "VERIFY_SSL"])
def test_validation_of_certificates_is_disabled_by_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "no")

    assert module().params["validate_certs"] is False
    assert module(verify_ssl=True).params["validate_certs"] is True


def test_groups_in_environment_are_separated_by_commas(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_GROUPS", "devs,ops")

    assert module().params["impersonate_groups"] == ["devs", "ops"]


def test_proxy_headers_are_read_from_environment(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH", "me:secret")

    assert module().params["proxy_headers"]["proxy_basic_auth"] == "me:secret"


def test_kubeconfig_may_be_dictionary(module: Module) -> None:
    assert module(kubeconfig={"kind": "Config"}).params["kubeconfig"] == {"kind": "Config"}


def test_documentation_has_every_option_with_type_and_aliases() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]

    described = {name: (option["type"], option.get("aliases", [])) for name, option in documented.items()}
    assert described == {
        name: (option["type"], option.get("aliases", [])) for name, option in CLUSTER_ARGUMENT_SPEC.items()
    }


def test_secrets_of_kubeconfig_dictionary_are_masked(module: Module) -> None:
    user = {"token": "canary-token", "client-key-data": "canary-data"}

    made = module(kubeconfig={"users": [{"name": "me", "user": user}]}, api_key="canary-key")

    assert {"canary-token", "canary-data", "canary-key"} <= made.no_log_values


def test_secrets_of_kubeconfig_are_not_logged(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(ClusterModule, "log", lambda _module, text, **_rest: logged.append(str(text)))
    user = {"client-key-data": "canary-key", "auth-provider": {"config": {"refresh-token": "canary-token"}}}

    module(kubeconfig={"users": [{"name": "me", "user": user}]})

    assert logged
    assert "canary" not in "".join(logged)


def test_redacted_option_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(ClusterModule, "log", lambda _module, text, **_rest: logged.append(str(text)))

    with patch_module_args({"definition": "canary"}):
        ClusterModule({"definition": {"type": "raw"}}, redact={"definition": lambda _value: "hidden"})

    assert "hidden" in "".join(logged)
    assert "canary" not in "".join(logged)


@pytest.mark.parametrize("kubeconfig", ["/path/to/config", None, {"users": [{"user": {"token": ""}}]}])
def test_kubeconfig_without_secrets_masks_nothing(kubeconfig: Any) -> None:
    assert secrets_of(kubeconfig) == set()
