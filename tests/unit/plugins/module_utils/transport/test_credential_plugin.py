# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credential plugins that wait for a login, fail, flood their output, or leave processes in the background."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import process_group
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import credential_plugin
from unit.plugins.module_utils.support.credential_plugins import VERSION, credential, plugin
from unit.plugins.module_utils.support.processes import has_ended
from unit.plugins.module_utils.transport.servers import Server

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Certificates, Kubeconfig

PROMPT = "To sign in, open https://login.example.com/device and enter the code ABCD-EFGH"
WITHOUT_WAITING = 20
"""Seconds within which a plugin ends that does not wait, on a busy machine."""
Login = Callable[..., None]


@pytest.fixture
def login(ask: Ask, kubeconfig: Kubeconfig, home: Path) -> Login:
    """Sends a request with the credential of a plugin, which is a shell script."""

    def run(script: str, **fields: Any) -> None:
        ask({"kubeconfig": kubeconfig(plugin(home, script, **fields))})

    return run


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit of a second."""
    monkeypatch.setattr(credential_plugin, "TIMEOUT", 1.0)
    monkeypatch.setattr(process_group, "SECONDS_TO_EXIT", 0.2)


@pytest.mark.usefixtures("short_limit")
def test_plugin_that_waits_for_login_is_killed_and_its_prompt_is_shown(login: Login, home: Path) -> None:
    script = f"echo '{PROMPT}' >&2\nsleep 600 & echo $! >{home}/pid\nwait"

    with pytest.raises(ClusterError, match=r"login-tool of the kubeconfig .* failed") as caught:
        login(script)

    assert f"it did not finish within 1 s. Its last output: {PROMPT}" in caught.value.message
    assert "Log in on the host that runs the module" in str(caught.value)
    assert has_ended(home / "pid")


@pytest.mark.usefixtures("short_limit")
def test_plugin_that_ignores_sigterm_is_killed(login: Login, home: Path) -> None:
    with pytest.raises(ClusterError, match="did not finish within 1 s"):
        login(f"trap '' TERM\necho $$ >{home}/pid\nwhile :; do sleep 1; done")

    assert has_ended(home / "pid")


def test_plugin_has_neither_input_nor_terminal(login: Login, api_server: Server) -> None:
    # A process in a session of its own has no terminal.
    login(
        f"if read line || [ \"$(cut -d' ' -f6 /proc/$$/stat)\" != $$ ]; then exit 1; fi\necho '{credential(token='x')}'"
    )

    assert api_server.requests[0].credentials == "Bearer x"


def test_plugin_may_leave_process_that_keeps_its_output_open(login: Login, api_server: Server, home: Path) -> None:
    begin = time.monotonic()

    login(f"sleep 30 & echo $! >{home}/pid\necho '{credential(token='t')}'")

    assert time.monotonic() - begin < WITHOUT_WAITING
    assert api_server.requests[0].credentials == "Bearer t"
    assert Path(f"/proc/{int((home / 'pid').read_text())}").exists()


def test_plugin_that_floods_its_response_is_killed(login: Login, home: Path) -> None:
    with pytest.raises(ClusterError, match="its response has more than 1 MiB"):
        login(f"echo $$ >{home}/pid\nexec yes")

    assert has_ended(home / "pid")


def test_plugin_may_print_much_before_its_response(login: Login, api_server: Server) -> None:
    login(f"head -c 3000000 /dev/zero >&2\necho '{credential(token='t')}'")

    assert api_server.requests[0].credentials == "Bearer t"


def test_error_shows_end_of_long_output(login: Login) -> None:
    with pytest.raises(ClusterError, match=r"it exited with 3\. Its last output: .*the reason") as caught:
        login("yes words | head -c 3000000 >&2\necho 'the reason' >&2\nexit 3")

    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("\\033[31mred\\033[0m", "red"),
        ("the token eyJhbGciOi.eyJzdWIi.c2ln expired", "the token ******** expired"),
        ("Authorization: Bearer opaque-1234", "Authorization: Bearer ********"),
        ("GET https://x.example.com/?id_token=abc&state=1", "GET https://x.example.com/?id_token=********&state=1"),
        ("via http://me:hidden@proxy.example.com", "via http://********@proxy.example.com"),
        ("canary-env", "********"),
    ],
)
def test_error_hides_tokens_and_escape_sequences(login: Login, output: str, shown: str) -> None:
    with pytest.raises(ClusterError) as caught:
        login(f"printf '{output}' >&2; exit 1")

    assert f"Its last output: {shown}" in caught.value.message


def test_error_shows_address_that_is_an_argument_too(login: Login) -> None:
    with pytest.raises(ClusterError, match=r"open https://login\.example\.com/device"):
        login(f"echo '{PROMPT}' >&2; exit 1", args=["login", "https://login.example.com"])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "it was ended by signal 9"),
        ("echo '<html>'", "its response is not JSON"),
        ("echo '[]'", "its response is not an ExecCredential"),
        (f"echo '{credential(token='t').replace('v1', 'v1beta1')}'", "has the version .*v1beta1 instead of .*v1"),
        (f"echo '{credential()}'", "it returned neither a token nor a certificate with a key"),
        (f"echo '{credential(clientCertificateData='x')}'", "it returned neither a token nor a certificate with a key"),
        (f"echo '{json.dumps({'apiVersion': VERSION, 'kind': 'ExecCredential', 'status': {'token': 1}})}'", "not text"),
    ],
)
def test_error_explains_unusable_response(login: Login, script: str, message: str) -> None:
    with pytest.raises(ClusterError, match=rf"the credential plugin .* failed: .*{message}"):
        login(script)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interactiveMode": "Always"}, r"needs a terminal \(interactiveMode: Always\).*Log in on the host"),
        ({"command": "missing-tool", "installHint": "See example.com/tool"}, "No such file.*See example.com/tool"),
        ({"command": None}, "command or apiVersion is missing"),
        ({"command": "/"}, "it cannot be started: Permission denied"),
        ({"args": ["\x00"]}, "it cannot be started"),
    ],
)
def test_error_explains_plugin_that_cannot_run(login: Login, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        login("exit 1", **fields)


def test_plugin_receives_cluster(login: Login, certificates: Certificates, api_server: Server, home: Path) -> None:
    login(f"printf %s \"$KUBERNETES_EXEC_INFO\" >{home}/info\necho '{credential(token='t')}'", provideClusterInfo=True)

    info = json.loads((home / "info").read_text())
    assert (info["apiVersion"], info["kind"], info["spec"]["interactive"]) == (VERSION, "ExecCredential", False)
    assert info["spec"]["cluster"]["server"] == api_server.url
    assert base64.b64decode(info["spec"]["cluster"]["certificate-authority-data"]) == certificates.ca.read_bytes()


def test_missing_ca_file_is_not_reported_as_missing_plugin(ask: Ask, kubeconfig: Kubeconfig, home: Path) -> None:
    user = plugin(home, "exit 1", provideClusterInfo=True)

    with pytest.raises(ClusterError, match=r"the kubeconfig .* cannot be used: .*'/missing/ca.crt'") as caught:
        ask({"kubeconfig": kubeconfig(user, **{"certificate-authority": "/missing/ca.crt"})})

    assert "Install" not in str(caught.value)


def test_certificate_of_plugin_authenticates(login: Login, certificates: Certificates, api_server: Server) -> None:
    status = {
        "clientCertificateData": certificates.client.read_text(),
        "clientKeyData": certificates.client.with_suffix(".key").read_text(),
    }

    login(f"cat <<'END'\n{credential(**status)}\nEND")

    assert api_server.requests[0].client == "alice"


def test_certificate_of_kubeconfig_is_used_with_token_of_plugin(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates, home: Path
) -> None:
    files = {
        "client-certificate": str(certificates.client),
        "client-key": str(certificates.client.with_suffix(".key")),
    }

    ask({"kubeconfig": kubeconfig({**plugin(home, f"echo '{credential(token='t')}'"), **files})})

    assert (api_server.requests[0].client, api_server.requests[0].credentials) == ("alice", "Bearer t")


def test_plugin_does_not_run_for_token_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    ask({"kubeconfig": kubeconfig({**plugin(home, "exit 1"), "token": "static"})})

    assert api_server.requests[0].credentials == "Bearer static"


def test_relative_command_is_in_folder_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "config"
    folder.mkdir()
    user = plugin(folder, f"echo '{credential(token='relative')}'", command="./login-tool")
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(user)))
    monkeypatch.chdir("/")

    ask({"kubeconfig": str(folder / "kubeconfig")})

    assert api_server.requests[0].credentials == "Bearer relative"


def test_plugin_does_not_run_for_credential_of_options(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    user = plugin(home, f"touch {home}/ran; exit 1")

    ask({"kubeconfig": kubeconfig(user), "api_key": "explicit"})

    assert api_server.requests[0].credentials == "Bearer explicit"
    assert not (home / "ran").exists()
