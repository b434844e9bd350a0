# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks with a proxy, single sign-on or ingress that responds in place of the API server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.apply import APPLY_ARGUMENT_SPEC, run_apply
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import CLUSTER_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import (
    PULL_ARGUMENT_SPEC,
    PUSH_ARGUMENT_SPEC,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.pull import run_pull
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import run_push
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.wait import WAIT_ARGUMENT_SPEC, run_wait
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import api_server
from unit.plugins.module_utils.support.images import Image, write_layout
from unit.plugins.module_utils.support.settings import module_options
from unit.plugins.module_utils.transport.servers import Registry, Request, Server, response_bytes

pytestmark = pytest.mark.usefixtures("clock")
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
TEXT = {"Content-Type": "text/plain"}
FRONT_PROXIES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "401": (401, TEXT, b"Unauthorized\n"),
    "401 of Rancher": (401, JSON, b'{"type":"error","status":"401","message":"Unauthorized 401: must authenticate"}'),
    "403 text": (403, TEXT, b"Unauthorized"),
    "403 of a firewall": (403, HTML, b"<html><style>h1 {}</style><h1>Forbidden</h1>Support ID 123</html>"),
    "login elsewhere": (302, {"Location": "https://sso.example.com/login?next=secret"}, b""),
    "login at an invalid address": (302, {"Location": "https://a]b/login"}, b""),
    "login here": (302, {"Location": "/cdn-cgi/access/login/k8s.example.com"}, b""),
    "200 with HTML": (200, HTML, b"<html>Please log in</html>"),
    "404 with HTML": (404, HTML, b"<html>default backend - 404</html>"),
    "400": (400, TEXT, b"Client sent an HTTP request to an HTTPS server.\n"),
    "404 with text": (404, TEXT, b"404 page not found\n"),
}
"""Responses in place of the API server: status, headers and body."""
COMMANDS = ["push", "push in check mode", "pull", "wait", "apply", "apply in check mode"]
VERSION = json.dumps({"major": "1", "gitVersion": "v1.20.2"}).encode()
FORBIDDEN = json.dumps({"kind": "Status", "apiVersion": "v1", "message": "no", "code": 403}).encode()
Run = Callable[[str], str]


def without_mark(request: Request, status: int, headers: dict[str, str], body: bytes) -> bytes:
    """Return the bytes of a response that does not come from an API server."""
    content = response_bytes(status, headers, body).replace(b"Audit-Id: 5a\r\n", b"")
    return content.removesuffix(body) if request.method == "HEAD" else content


@pytest.fixture
def front() -> Iterator[Server]:
    """A server without TLS at the address of the API server."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def run(front: Server, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with the API server at ``front``, and returns all that a user sees of it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    connection = {"host": front.url, "api_key": "token"}
    layout = f"oci:{write_layout(tmp_path / 'layout', {'team/app:1': image})}"
    images = {"registry": "k8scr-0", "retry_timeout": 1}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "k8scr"}}
    pulled = {"name": "team/app:1", "dest": f"oci:{tmp_path}/pulled"}
    options: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "push": (run_push, PUSH_ARGUMENT_SPEC, {"images": [layout], **images}),
        "pull": (run_pull, PULL_ARGUMENT_SPEC, {"images": [pulled], **images}),
        "wait": (run_wait, WAIT_ARGUMENT_SPEC, {"registry": "k8scr-0", "wait_timeout": 1}),
        "apply": (run_apply, APPLY_ARGUMENT_SPEC, {"definition": config_map}),
    }

    def execute(name: str) -> str:
        command, spec, own = options[name.partition(" ")[0]]
        parameters = module_options({**CLUSTER_ARGUMENT_SPEC, **spec}, **connection, **own)
        try:
            return json.dumps(command(parameters, "check mode" in name))
        except K8scrError as error:
            return str(error)

    return execute


@pytest.mark.parametrize("mode", FRONT_PROXIES)
@pytest.mark.parametrize("command", COMMANDS)
def test_message_names_proxy_that_responds_for_api_server(front: Server, run: Run, mode: str, command: str) -> None:
    status, headers, body = FRONT_PROXIES[mode]
    front.reply(lambda request: without_mark(request, status, headers, body))

    shown = run(command)

    named = (
        f"a proxy, single sign-on or other server in place of the API server {front.address} responded with {status} "
    )
    assert named in shown
    assert "the registry" not in shown
    assert '"changed": true' not in shown
    assert not any(wrong in shown for wrong in ("missing", "there is no", "does not have", "secret", "Traceback"))


def test_message_shows_text_of_error_page(front: Server, run: Run) -> None:
    front.reply(lambda request: without_mark(request, *FRONT_PROXIES["403 of a firewall"]))

    assert "with 403 Forbidden: Forbidden Support ID 123. Log in again" in run("wait")


def test_message_shows_host_of_login_page(front: Server, run: Run) -> None:
    front.reply(lambda request: without_mark(request, *FRONT_PROXIES["login elsewhere"]))

    assert "with 302 Found: a redirect to sso.example.com. Log in again" in run("push")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 524])
def test_transient_response_of_proxy_is_retried(front: Server, run: Run, status: int) -> None:
    front.reply(lambda request: without_mark(request, status, HTML, b"<html>Busy</html>"))

    shown = run("push")

    assert f"responded with {status}" in shown
    assert [request.target for request in front.requests if "secrets" in request.target][2:]


@pytest.mark.parametrize("command", ["push", "push in check mode"])
def test_login_that_expires_during_task_is_recognized(front: Server, run: Run, command: str) -> None:
    # The first request of a push reads the Secret with the write path.
    not_found = json.dumps({"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
    front.reply(
        response_bytes(404, JSON, not_found),
        lambda request: without_mark(request, *FRONT_PROXIES["404 with text"]),
    )

    assert "responded with 404 Not Found" in run(command)
    assert "/version" not in [request.target for request in front.requests]


@pytest.mark.parametrize("version", [(200, VERSION), (403, FORBIDDEN)], ids=["version", "forbidden version"])
@pytest.mark.parametrize("command", ["push", "push in check mode"])
def test_registry_without_own_header_is_accepted_behind_api_server_without_mark(
    front: Server, run: Run, version: tuple[int, bytes], command: str
) -> None:
    registry = Registry()

    def respond(request: Request) -> bytes:
        if request.target == "/version":
            return without_mark(request, version[0], JSON, version[1])
        if "/proxy/" not in request.target:
            return without_mark(request, 404, JSON, b'{"kind": "Status", "apiVersion": "v1", "code": 404}')
        response = registry(request).replace(b"Audit-Id: 5a\r\n", b"")
        return response.replace(b"Docker-Distribution-Api-Version: registry/2.0\r\n", b"")

    front.reply(respond)

    assert '"changed": true' in run(command)
    assert [request.target for request in front.requests].count("/version") == 1


def test_unresponsive_version_delays_error_for_short_time(
    front: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "_VERSION_TIMEOUT", 0.1)

    def respond(request: Request) -> bytes:
        if request.target == "/version":
            front.stopping.wait(20)
        return without_mark(request, *FRONT_PROXIES["403 text"])

    front.reply(respond)
    begin = time.monotonic()

    assert "responded with 403" in run("push")
    assert time.monotonic() - begin < 10


def test_error_of_proxy_in_format_of_api_server_is_shown(front: Server, run: Run) -> None:
    status = {"kind": "Status", "apiVersion": "v1", "message": "session of bob expired", "code": 403}
    front.reply(lambda request: without_mark(request, 403, JSON, json.dumps(status).encode()))

    shown = run("wait")

    assert "the API server forbids access to Pod k8scr-0" in shown
    assert "session of bob expired" in shown


def test_wait_continues_while_ingress_starts(front: Server, run: Run) -> None:
    front.reply(
        *[lambda request: without_mark(request, *FRONT_PROXIES["404 with text"])] * 4,
        response_bytes(200, body=b"{}"),
    )

    assert '"changed": false' in run("wait")
