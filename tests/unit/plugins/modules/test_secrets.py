# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules do not show secrets of their options. The stage ``floor`` runs these tests with the oldest ansible-core."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.parameters import PASS_VARS

MODULES = Path(__file__).parents[4] / "plugins/modules"
# k8scr_send is an action plugin.
RUNNABLE = sorted(path.stem for path in MODULES.glob("k8scr_*.py") if path.stem != "k8scr_send")
# All modules for clusters have the same options for the connection; these two have other options with secrets.
CLUSTER = ("k8scr_apply", "k8scr_push")

# A process that imports all modules once and runs one in a forked child for each line on stdin. Arguments are set as
# AnsiballZ does; without the profile, newer versions of ansible-core read no options. The child skips the interpreter's
# cleanup, which takes longer than the module.
RUN_MODULES = """
import atexit, gc, json, os, sys, traceback
from importlib import import_module
from ansible.module_utils import basic
modules = {name: import_module("ansible_collections.k8scr.core.plugins.modules." + name) for name in sys.argv[1:]}
gc.freeze()
for line in sys.stdin:
    run = json.loads(line)
    child = os.fork()
    if not child:
        for descriptor, path in enumerate([os.devnull, run["stdout"], run["stderr"]]):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
        os.environ.update(run["variables"])
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = run["arguments"].encode(), "legacy"
        try:
            modules[run["module"]].main()
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
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
    """Return the secrets of these tests that a text contains."""
    return [word for word in ("canary", "20251128", base64.b64encode(b"canary").decode()[:7]) if word in printed]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that runs modules, without the user's environment for clusters."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH_", "KUBE"))}
    environment |= {"HOME": str(tmp_path_factory.mktemp("home")), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", RUN_MODULES, *RUNNABLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield process


@pytest.fixture
def run(tmp_path: Path, modules: subprocess.Popen[str]) -> Run:
    """Runs a module as Ansible does, requires that its output contains no secret, and returns its result."""

    def execute(module: str, variables: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
        arguments = {"_ansible_remote_tmp": str(tmp_path), **options}
        if "inject_invocation" in PASS_VARS:
            # Older versions of ansible-core always return the invocation, and reject this option as unknown.
            arguments["_ansible_inject_invocation"] = True
        request = {
            "module": module,
            "arguments": json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            "variables": variables or {},
            "stdout": str(tmp_path / "stdout"),
            "stderr": str(tmp_path / "stderr"),
        }
        assert modules.stdin
        assert modules.stdout
        modules.stdin.write(json.dumps(request) + "\n")
        modules.stdin.flush()
        assert modules.stdout.readline() == "\n"
        stdout, stderr = (tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text()
        assert not canaries(stdout + stderr), stdout + stderr
        result: dict[str, Any] = json.loads(stdout)
        assert "invocation" in result
        return result

    return execute


@pytest.mark.parametrize("module", RUNNABLE)
def test_module_hides_values_of_unknown_options(run: Run, module: str) -> None:
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
def test_cluster_module_hides_secrets_in_environment(run: Run, module: str, variable: str, value: str) -> None:
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
def test_cluster_module_hides_secrets_in_invalid_options(run: Run, module: str, options: dict[str, Any]) -> None:
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
def test_push_hides_credentials_in_upstreams(run: Run, upstreams: Any) -> None:
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
def test_apply_hides_values_of_secret(run: Run, definition: Any, misspelt: dict[str, Any]) -> None:
    result = run("k8scr_apply", definition=definition, kubeconfig="/missing", **misspelt)

    assert result["failed"]


@pytest.mark.parametrize(
    "charts",
    [
        [{"chart": "/missing", "values": {"password": "canary-password", "pin": 20251128}}],
        [{"chart": "/missing", "valuess": {"password": "canary-password"}}],
        [{"chart": "/missing", "values": "canary-password"}],
        [{"chart": "/missing", "values": ["canary-password"]}],
        [["canary-password"]],
        {"chart": "/missing", "values": {"password": "canary-password"}},
        "{'values': 'canary-password'}",
    ],
)
@pytest.mark.parametrize("misspelt", [{}, {"timout": 3}], ids=["valid", "misspelt"])
def test_find_images_hides_values_of_charts(run: Run, charts: Any, misspelt: dict[str, Any]) -> None:
    result = run("k8scr_find_images", charts=charts, **misspelt)

    assert result["failed"]


ACCESS = "me:canary-password"
IMAGE = f"{ACCESS}@registry.example.com/team/api:1"
LONG_IMAGE = f"AWS:{'canary-' * 100}@registry.example.com/team/api:1"


def test_module_hides_password_that_contains_another_one(run: Run) -> None:
    passwords = ["pass", *(f"pass-canary-{number}" for number in range(9))]

    result = run("k8scr_push", images=[f"me:{password}@registry.example.com/app:1" for password in passwords])

    assert set(result["invocation"]["module_args"]["images"]) == {"me:********@registry.example.com/app:1"}


@pytest.mark.parametrize(
    "images",
    [
        [f"docker://{IMAGE}"],
        [IMAGE],
        [f"docker://{LONG_IMAGE}"],
        [LONG_IMAGE],
        ["docker://canary-token@registry.example.com/team/api:1"],
        ["docker://me:canary password@registry.example.com/team/api:1"],
        ["me:canary\npassword@registry.example.com/team/api:1"],
        ["docker://me:canary/pass@word@registry.example.com/team/api:1"],
        [f"docker://{ACCESS}@registry.example.com:5000/team/api@sha256:{'0' * 64}"],
        [f"docker://{ACCESS}@registry.example.com"],
        ["canary-token@registry.example.com/team/api:1"],
        [{"source": "oci:/x", "name": "canary-token@registry.example.com/team/api:1"}],
        [f"https://{IMAGE}"],
        [f"https://{LONG_IMAGE}"],
        [f"oci://{IMAGE}"],
        [f"docker:{IMAGE}"],
        [{"source": "oci:/x", "name": IMAGE}],
        [{"source": f"docker://{IMAGE}", "tags": {}}],
        [{"source": f"docker://{LONG_IMAGE}", "nam": "x"}],
        [{"sauce": f"docker://{LONG_IMAGE}"}],
        [[f"docker://{IMAGE}"]],
        f"docker://{IMAGE}",
    ],
)
@pytest.mark.parametrize("module", ["k8scr_push", "k8scr_bundle"])
def test_module_hides_credentials_in_sources(run: Run, module: str, images: Any) -> None:
    result = run(module, images=images, dest="/x") if module == "k8scr_bundle" else run(module, images=images)

    assert result["failed"]


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("k8scr_bundle", {"dest": "/x", "charts": [f"oci://{IMAGE}"]}),
        ("k8scr_bundle", {"dest": "/x", "charts": [{"chart": f"oci://{LONG_IMAGE}", "nam": "x"}]}),
        ("k8scr_bundle", {"dest": "/x", "charts": [f"https://{IMAGE}.tgz"]}),
        ("k8scr_bundle", {"dest": "/x", "charts": [{"chart": "/missing", "name": IMAGE}]}),
        ("k8scr_bundle", {"dest": "/x", "registry_image": f"docker://{IMAGE}"}),
        ("k8scr_bundle", {"dest": "/x", "registry_image": {"source": "oci:/x", "name": IMAGE}}),
        ("k8scr_bundle", {"dest": f"https://{IMAGE}", "images": ["oci:/x"]}),
        ("k8scr_bundle", {"dest": f"bundle://{LONG_IMAGE}", "images": ["oci:/x"]}),
        ("k8scr_push", {"images": ["oci:/x"], "upstreams": [{"host": f"https://{ACCESS}@h.example.com"}]}),
        ("k8scr_push", {"images": ["oci:/x"], "upstreams": [{"host": f"{ACCESS}@h.example.com"}]}),
        ("k8scr_push", {"images": ["oci:/x"], "upstreams": [{"host": "h", "mirrors": [f"{ACCESS}@h.example.com/x"]}]}),
        ("k8scr_push", {"images": ["x"], "docker_host": f"tcp://{ACCESS}@engine.example.com", "kubeconfig": "/x"}),
        ("k8scr_pull", {"images": [IMAGE]}),
        ("k8scr_pull", {"images": [{"name": "x", "dest": f"https://{IMAGE}"}]}),
        ("k8scr_find_images", {"src": [f"https://{IMAGE}"]}),
        ("k8scr_find_images", {"charts": [f"oci://{IMAGE}"]}),
        ("k8scr_find_images", {"charts": [IMAGE]}),
        ("k8scr_find_images", {"charts": [{"chart": IMAGE, "valuess": {}}]}),
        ("k8scr_find_images", {"charts": [{"chart": "/missing", "version": IMAGE}]}),
        ("k8scr_mirror", {"runtime": "containerd", "endpoint": f"http://{ACCESS}@h", "upstreams": ["*"]}),
        ("k8scr_mirror", {"runtime": "containerd", "endpoint": "http://h", "upstreams": [f"{ACCESS}@h.example.com"]}),
    ],
)
def test_module_hides_credentials_in_locations(run: Run, module: str, options: dict[str, Any]) -> None:
    result = run(module, **options)

    assert result["failed"]


def test_source_with_credentials_fails_with_advice(run: Run) -> None:
    result = run("k8scr_push", images=["oci:/x", f"docker://{IMAGE}"])

    assert result["msg"].startswith("images[1] has credentials in source. ")
    assert "username and password in upstreams" in result["msg"]


def test_invocation_shows_names_with_digests(run: Run) -> None:
    images = [
        f"docker://busybox:1@sha256:{'0' * 64}",
        f"docker://busybox@sha256:{'0' * 64}",
        "docker-archive:/x.tar:@0",
    ]

    result = run("k8scr_push", images=images, kubeconfig="/missing")

    assert result["invocation"]["module_args"]["images"] == images


def test_user_of_ssh_address_is_no_secret(run: Run) -> None:
    result = run("k8scr_push", images=["app"], docker_host="ssh://kubeconfig@192.0.2.1", kubeconfig="/missing")

    assert result["invocation"]["module_args"]["docker_host"] == "ssh://kubeconfig@192.0.2.1"
    assert "kubeconfig" in result["msg"]


def test_user_of_upper_case_ssh_address_is_no_secret(run: Run) -> None:
    result = run("k8scr_push", images=["app"], docker_host="SSH://kubeconfig@192.0.2.1", kubeconfig="/missing")

    assert "kubeconfig" in result["msg"]


def test_result_has_no_state_of_file_that_dest_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "extra").write_bytes(b"extra")

    result = run("k8scr_bundle", dest=str(tmp_path / "out"), extras={"files": [str(tmp_path / "extra")]})

    documented = {"dest", "images", "removed", "volumes", "bytes", "extras", "selections", "retries"}
    assert set(result) - documented == {"changed", "diff", "invocation"}


def test_module_shows_options_without_secrets(run: Run) -> None:
    result = run("k8scr_push", images=["oci:/x"], kubeconfig="/missing", timeout=7, connections="many")

    shown = result["invocation"]["module_args"]
    assert (shown["images"], shown["kubeconfig"], shown["timeout"]) == (["oci:/x"], "/missing", 7)


def test_short_secret_does_not_change_message(run: Run) -> None:
    user = {"token": "k8s", "exec": {"args": ["kubeconfig"], "env": [{"name": "A", "value": "nowhere"}]}}

    result = run("k8scr_push", images=["oci:/x"], kubeconfig={"users": [{"name": "u", "user": user}]})

    assert result["msg"].startswith("the kubeconfig given as a dictionary sets no current context")
