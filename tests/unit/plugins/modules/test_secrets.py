# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No module shows a secret among its options. It runs with the oldest ansible-core too (stage ``floor``)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.parameters import PASS_VARS

MODULES = Path(__file__).parents[4] / "plugins/modules"
ALL = sorted(path.stem for path in MODULES.glob("k8scr_*.py"))
# All modules for clusters share their frame; these two have structured options with secrets of their own.
CLUSTER = ("k8scr_apply", "k8scr_push")

# What AnsiballZ does: without the profile, newer versions of ansible-core read no options.
RUN = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
importlib.import_module("ansible_collections.k8scr.core.plugins.modules." + sys.argv[1]).main()
"""
USER = {
    "token": "canary-token",
    "password": 20251128,
    "client-key-data": "canary-key",
    "auth-provider": {"name": "oidc", "config": {"refresh-token": "canary-refresh", "other": "canary-other"}},
    "exec": {
        "command": "login",
        "args": ["--secret=canary-arg"],
        "env": [{"name": "LOGIN", "value": "canary-env"}, {"name": "PIN", "value": 20251128}],
    },
    "extensions": [{"name": "x", "extension": {"key": "canary-extension"}}],
}
KUBECONFIG = {"kind": "Config", "users": [{"name": "me", "user": USER}]}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s"},
    "data": {"a": "canary-data"},
    "stringData": {"b": "canary-text", "c": 20251128},
}
Run = Callable[..., dict[str, Any]]


def canaries(printed: str) -> list[str]:
    """The secrets of these tests that are in a text."""
    return [word for word in ("canary", "20251128", base64.b64encode(b"canary").decode()[:7]) if word in printed]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a module as Ansible does, and returns its result once no secret is in what it printed."""

    def execute(module: str, variables: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
        ours = {"_ansible_remote_tmp": str(tmp_path), **options}
        if "inject_invocation" in PASS_VARS:
            # Older versions of ansible-core always return it, and take this for an unknown option.
            ours["_ansible_inject_invocation"] = True
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH_", "KUBE"))}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", RUN, module],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": ours}),
            capture_output=True,
            text=True,
            check=False,
            env={**environment, **(variables or {})},
        )
        assert not canaries(done.stdout + done.stderr), done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        assert "invocation" in result
        return result

    return execute


@pytest.mark.parametrize("module", [name for name in ALL if name != "k8scr_send"])
def test_module_hides_unknown_options(run: Run, module: str) -> None:
    result = run(module, api_kye="canary-token", kubeconfg=KUBECONFIG, definitoin=SECRET, pin=20251128)

    assert result["failed"]
    assert result["invocation"]["module_args"]["api_kye"] == "********"


@pytest.mark.parametrize("module", CLUSTER)
@pytest.mark.parametrize(
    "kubeconfig",
    [
        KUBECONFIG,
        yaml.safe_dump(KUBECONFIG),
        json.dumps(KUBECONFIG),
        "users: [{user: {token: canary-token}}",
        "users: {token: canary-token}",
        [KUBECONFIG],
        base64.b64encode(b"canary-token " * 30).decode(),
    ],
    ids=["dictionary", "yaml", "json", "broken", "line", "list", "base64"],
)
@pytest.mark.parametrize("misspelt", [{}, {"wait_timout": 3}], ids=["valid", "misspelt"])
def test_cluster_module_hides_kubeconfig_content(
    run: Run, module: str, kubeconfig: Any, misspelt: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"definition": SECRET} if module == "k8scr_apply" else {"images": ["oci:/x"]}

    result = run(module, kubeconfig=kubeconfig, **options, **misspelt)

    assert result["failed"]


@pytest.mark.parametrize("module", CLUSTER)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KUBECONFIG", json.dumps(KUBECONFIG)),
        ("API_KEY", "canary-token"),
        ("PASSWORD", "canary-password"),
        ("PROXY", "http://me:canary-proxy@proxy.example.com"),
        ("PROXY_HEADERS_PROXY_BASIC_AUTH", "me:canary-proxy"),
    ],
)
def test_cluster_module_hides_secrets_from_environment(run: Run, module: str, variable: str, value: str) -> None:
    result = run(module, {f"K8S_AUTH_{variable}": value}, wait_timout=3)

    assert result["failed"]


@pytest.mark.parametrize("module", CLUSTER)
@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "canary-token", "password": "canary-password"},
        {"api_key": 20251128, "password": ["canary"]},
        {"proxy": "http://me:canary-proxy@proxy.example.com", "host": "https://me:canary-host@127.0.0.1"},
        {"proxy_headers": {"basic_auth": "me:canary", "proxy_basic_auth": 20251128, "proxy_basic_aut": "canary"}},
        {"proxy_headers": "canary-headers"},
        {"proxy_headers": ["canary-headers"]},
    ],
    ids=["credentials", "types", "urls", "headers", "headers-text", "headers-list"],
)
def test_cluster_module_hides_secrets_of_invalid_options(run: Run, module: str, options: dict[str, Any]) -> None:
    result = run(module, wait_timout=3, connections="many", **options)

    assert result["failed"]


@pytest.mark.parametrize(
    "upstreams",
    [
        [{"host": "h", "username": "u", "password": "canary-password", "validate_cert": False}],
        [{"host": "h", "pasword": "canary-password", "token": "canary-token"}],
        [{"host": "h", "username": "u", "password": 20251128, "plain_http": "maybe"}],
        ["host=h password=canary-password"],
        ["canary-password"],
        "canary-password",
        {"host": "h", "password": "canary-password"},
    ],
)
def test_push_hides_credentials_of_upstreams(run: Run, upstreams: Any) -> None:
    result = run("k8scr_push", images=["oci:/x"], upstreams=upstreams, timeout="soon")

    assert result["failed"]


@pytest.mark.parametrize(
    "definition",
    [
        SECRET,
        [SECRET],
        {"apiVersion": "v1", "kind": "List", "items": [SECRET]},
        yaml.safe_dump(SECRET),
        {**SECRET, "kind": "secret"},
        {"kind": "Secret", "stringData": {"a": "canary"}},
        "kind: Secret\nstringData: {a: canary",
    ],
    ids=["dictionary", "list", "List", "text", "lower-case", "incomplete", "broken"],
)
@pytest.mark.parametrize("misspelt", [{}, {"wait_timout": 3}], ids=["valid", "misspelt"])
def test_apply_hides_values_of_secrets(run: Run, definition: Any, misspelt: dict[str, Any]) -> None:
    result = run("k8scr_apply", definition=definition, kubeconfig="/nowhere", **misspelt)

    assert result["failed"]


def test_module_shows_other_options(run: Run) -> None:
    result = run("k8scr_push", images=["oci:/x"], kubeconfig="/nowhere", timeout=7, connections="many")

    shown = result["invocation"]["module_args"]
    assert (shown["images"], shown["kubeconfig"], shown["timeout"]) == (["oci:/x"], "/nowhere", 7)


def test_short_secret_changes_no_result(run: Run) -> None:
    user = {"token": "k8s", "exec": {"args": ["kubeconfig"], "env": [{"name": "A", "value": "nowhere"}]}}

    result = run("k8scr_push", images=["oci:/x"], kubeconfig={"users": [{"name": "u", "user": user}]})

    assert result["msg"].startswith("the kubeconfig given as a dictionary sets no current context")
