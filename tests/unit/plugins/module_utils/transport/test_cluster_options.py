# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say which cluster: the names and environment variables that users of kubernetes.core know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.doc_fragments.auth import ModuleDocFragment
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import (
    CLUSTER_ARGUMENT_SPEC,
    ClusterModule,
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
    """Makes a module of its task's options."""

    def make(**options: Any) -> ClusterModule:
        with patch_module_args(options):
            return ClusterModule({})

    return make


@pytest.mark.parametrize(("option", "variable"), NAMES.items())
def test_an_option_can_be_set_in_the_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "from-environment")

    assert module().params[option] == "from-environment"


@pytest.mark.parametrize(("option", "variable"), NAMES.items())
def test_the_task_comes_before_the_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "from-environment")

    assert module(**{option: "from-task"}).params[option] == "from-task"


@pytest.mark.parametrize(("option", "alias"), ALIASES.items())
def test_a_path_has_the_alias_of_kubernetes_core(
    module: Module, monkeypatch: pytest.MonkeyPatch, option: str, alias: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{alias.upper()}", "/from/environment")

    assert module(**{alias: "/from/task"}).params[option] == "/from/task"
    assert module().params[option] == "/from/environment"


@pytest.mark.parametrize("variable", ["VALIDATE_CERTS", "VERIFY_SSL"])
def test_the_check_of_certificates_can_be_switched_off_in_the_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"K8S_AUTH_{variable}", "no")

    assert module().params["validate_certs"] is False
    assert module(verify_ssl=True).params["validate_certs"] is True


def test_groups_are_separated_by_commas_in_the_environment(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_GROUPS", "devs,ops")

    assert module().params["impersonate_groups"] == ["devs", "ops"]


def test_what_the_proxy_is_told_can_be_set_in_the_environment(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH", "me:secret")

    assert module().params["proxy_headers"]["proxy_basic_auth"] == "me:secret"


def test_a_kubeconfig_may_be_a_dictionary(module: Module) -> None:
    assert module(kubeconfig={"kind": "Config"}).params["kubeconfig"] == {"kind": "Config"}


def test_the_documentation_names_every_option_with_its_type_and_aliases() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]

    described = {name: (option["type"], option.get("aliases", [])) for name, option in documented.items()}
    assert described == {
        name: (option["type"], option.get("aliases", [])) for name, option in CLUSTER_ARGUMENT_SPEC.items()
    }


def test_the_secrets_of_a_kubeconfig_dictionary_are_masked(module: Module) -> None:
    user = {"token": "canary-token", "client-key-data": "canary-data"}

    made = module(kubeconfig={"users": [{"name": "me", "user": user}]}, api_key="canary-key")

    assert {"canary-token", "canary-data", "canary-key"} <= made.no_log_values


def test_the_secrets_of_a_kubeconfig_are_masked_before_the_options_are_logged(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(ClusterModule, "log", lambda _module, text, **_rest: logged.append(str(text)))
    user = {"client-key-data": "canary-key", "auth-provider": {"config": {"refresh-token": "canary-token"}}}

    module(kubeconfig={"users": [{"name": "me", "user": user}]})

    assert logged
    assert "canary" not in "".join(logged)


def test_what_else_must_not_be_shown_is_hidden_before_the_options_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(ClusterModule, "log", lambda _module, text, **_rest: logged.append(str(text)))

    with patch_module_args({"definition": "canary"}):
        ClusterModule({"definition": {"type": "raw"}}, redact={"definition": lambda _value: "hidden"})

    assert "hidden" in "".join(logged)
    assert "canary" not in "".join(logged)


@pytest.mark.parametrize("kubeconfig", ["/path/to/config", None, {"users": [{"user": {"token": ""}}]}])
def test_what_holds_no_secret_masks_nothing(kubeconfig: Any) -> None:
    assert secrets_of(kubeconfig) == set()
