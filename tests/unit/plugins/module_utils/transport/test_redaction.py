# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets in the options of modules are in nothing that a module prints, whatever is wrong with the options."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils.transport.cluster_options import ClusterModule
from ansible_collections.k8scr.core.plugins.module_utils.transport.redaction import (
    is_kubeconfig_text,
    redacted_kubeconfig,
    secrets_of,
)
from unit.plugins.module_utils.support.arguments import patch_module_args

MODULES = "ansible_collections.k8scr.core.plugins.modules"
CANARY = "canary-0123456789-abcdefghij"
NUMBER = 948362715482
USER = {"users": [{"name": "me", "user": {"token": CANARY, "password": NUMBER}}]}
PLUGIN = {"users": [{"name": "me", "user": {"exec": {"command": "login", "args": ["--token", CANARY]}}}]}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": CANARY}}
IMAGES = {"images": ["oci:/nowhere"]}
UPSTREAM = {"host": "registry.example.com", "username": "me", "password": CANARY}
SECRETS: dict[str, tuple[str, dict[str, Any]]] = {
    "kubeconfig with a token and a number": ("k8scr_push", {**IMAGES, "kubeconfig": USER}),
    "kubeconfig with arguments of a plugin": ("k8scr_pull", {**IMAGES, "kubeconfig": PLUGIN}),
    "kubeconfig as text": ("k8scr_push", {**IMAGES, "kubeconfig": yaml.safe_dump(USER)}),
    "kubeconfig as JSON": ("k8scr_wait", {"kubeconfig": json.dumps(USER)}),
    "kubeconfig in a list": ("k8scr_wait", {"kubeconfig": [USER]}),
    "kubeconfig as damaged text": ("k8scr_wait", {"kubeconfig": f"users: [{{token: {CANARY}\n"}),
    "kubeconfig in base64": ("k8scr_wait", {"kubeconfig": CANARY * 50}),
    "Secret": ("k8scr_apply", {"definition": SECRET}),
    "Secret as text": ("k8scr_apply", {"definition": yaml.safe_dump(SECRET)}),
    "Secret as damaged text": ("k8scr_apply", {"definition": f"kind: Secret\nstringData: {{a: {CANARY}"}),
    "token": ("k8scr_carry", {"state": "saved", "host": "https://127.0.0.1:1", "api_key": CANARY}),
    "password": ("k8scr_wait", {"host": "https://127.0.0.1:1", "username": "me", "password": CANARY}),
    "password of the proxy": ("k8scr_wait", {"proxy_headers": {"proxy_basic_auth": f"me:{CANARY}"}}),
    "password of an upstream": ("k8scr_push", {**IMAGES, "upstreams": [UPSTREAM]}),
    "password of an upstream that is no list": ("k8scr_push", {**IMAGES, "upstreams": UPSTREAM}),
}
FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a misspelt option": {"wait_timout": 3},
    "a value of the wrong type": {"namespace": {"a": "b"}, "registry_port": "soon", "wait_timeout": "soon"},
    "a misspelt option with a secret": {"kubeconfg": USER, "definitions": SECRET, "token": CANARY},
}

Print = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Print:
    """Runs a module that fails, and returns what it printed and what it logged."""
    logged: list[str] = []
    monkeypatch.setattr(ClusterModule, "log", lambda _module, text, **_rest: logged.append(str(text)))

    def run(name: str, **options: Any) -> str:
        arguments = {"_ansible_inject_invocation": True, "wait_timeout": 1, **options}
        if name in ("k8scr_push", "k8scr_pull", "k8scr_carry"):
            arguments.pop("wait_timeout")
        with patch_module_args(arguments), pytest.raises(SystemExit):
            import_module(f"{MODULES}.{name}").main()
        return capsys.readouterr().out + "".join(logged)

    return run


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("secret", SECRETS)
def test_module_prints_no_secret_of_its_options(printed: Print, secret: str, fault: str) -> None:
    module, options = SECRETS[secret]

    said = printed(module, **options, **FAULTS[fault])

    assert json.loads(said[said.index('{"') :].splitlines()[0])["invocation"]["module_args"]
    assert CANARY not in said
    assert str(NUMBER) not in said


def test_module_prints_no_secret_of_kubeconfig_in_environment(printed: Print, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", yaml.safe_dump(USER))

    assert CANARY not in printed("k8scr_wait")
    assert CANARY not in printed("k8scr_wait", wait_timout=1)


def test_module_returns_options_that_are_no_secrets_as_they_are(printed: Print) -> None:
    said = printed("k8scr_wait", kubeconfig="/nowhere/config", context="production", registry="store-0")

    arguments = json.loads(said[said.index('{"') :].splitlines()[0])["invocation"]["module_args"]
    assert (arguments["kubeconfig"], arguments["context"], arguments["registry"]) == (
        "/nowhere/config",
        "production",
        "store-0",
    )


def test_short_argument_of_plugin_does_not_mask_words_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterModule, "log", lambda *_arguments, **_rest: None)
    user = {
        "exec": {"command": "login", "args": ["--cluster-name", "production"], "env": [{"name": "A", "value": "a"}]}
    }

    with patch_module_args({"kubeconfig": {"users": [{"name": "me", "user": user}]}}):
        module = ClusterModule({})

    assert module.no_log_values.isdisjoint({"production", "a", "--cluster-name"})


def test_secrets_of_kubeconfig_include_numbers_and_arguments_of_plugins() -> None:
    assert secrets_of([USER, PLUGIN]) == {CANARY, str(NUMBER), "--token"}


@pytest.mark.parametrize(
    ("value", "is_text"),
    [
        ("apiVersion: v1\nkind: Config\n", True),
        ("apiVersion: v1", True),
        ('{"kind": "Config"}', True),
        ("/etc/kubernetes/admin.conf", False),
        ("~/.kube/config:/etc/kubernetes/admin.conf", False),
        ("", False),
        (None, False),
        ({"kind": "Config"}, False),
    ],
)
def test_text_of_kubeconfig_is_told_from_path(value: Any, is_text: bool) -> None:
    assert is_kubeconfig_text(value) is is_text


def test_empty_fields_of_kubeconfig_are_shown_as_they_are() -> None:
    user = {"token": "", "exec": {"args": [], "command": "login"}}

    assert redacted_kubeconfig({"users": [{"user": user}]}) == {"users": [{"user": user}]}
