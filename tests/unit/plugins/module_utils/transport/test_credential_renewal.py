# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credential plugins, and the renewal of credentials."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, ConnectionLostError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import credentials
from unit.plugins.module_utils.support.credential_plugins import credential, plugin
from unit.plugins.module_utils.transport.servers import Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Certificates, Connect, Kubeconfig

UNAUTHORIZED = response_bytes(
    401, {"Content-Type": "application/json"}, b'{"kind":"Status","apiVersion":"v1","code":401}'
)


def test_credential_plugin_returns_token(ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path) -> None:
    ask({"kubeconfig": kubeconfig(plugin(home, f"echo '{credential(token='from-plugin')}'"))})

    assert api_server.requests[0].credentials == "Bearer from-plugin"


def test_credential_plugin_runs_again_before_token_expires(
    cluster_of: Connect, api_server: Server, kubeconfig: Kubeconfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_RENEW_EVERY", 0)
    token = credential(token="'$(cat count | wc -c)'", expirationTimestamp="2000-01-01T00:00:00Z")
    user = plugin(home, f"cd {home}\nprintf x >>count\necho '{token}'")
    adapter = cluster_of({"kubeconfig": kubeconfig(user)}).adapter

    adapter.open("GET", f"{adapter.base_url}/").close()
    adapter.open("GET", f"{adapter.base_url}/").close()

    first, second = (request.credentials for request in api_server.requests)
    assert first != second


def test_error_of_credential_plugin_is_quoted_without_secrets(ask: Ask, kubeconfig: Kubeconfig, home: Path) -> None:
    user = plugin(home, 'echo "log in first, not with $LOGIN_SECRET" >&2; exit 3')

    with pytest.raises(ClusterError, match=r"the credential plugin .*login-tool .*failed: .*log in first") as caught:
        ask({"kubeconfig": kubeconfig(user)})

    assert "canary" not in repr(caught.value)


def test_error_names_missing_credential_plugin(ask: Ask, kubeconfig: Kubeconfig) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws-login-that-is-missing"}}

    with pytest.raises(ClusterError, match=r"the credential plugin aws-login-that-is-missing .*failed"):
        ask({"kubeconfig": kubeconfig(user)})


def test_rotated_token_file_of_service_account_is_read_again_after_401(
    ask: Ask, api_server: Server, service_account: Path
) -> None:
    def rotate(request: object) -> bytes:
        service_account.write_text("second", encoding="utf-8")
        return UNAUTHORIZED

    api_server.reply(rotate, response_bytes(200, body=b"welcome back"))

    response = ask({})

    assert response.text == "welcome back"
    assert str(api_server.requests[1].credentials).lower() == "bearer second"


def test_rotated_token_file_of_kubeconfig_is_read_again_after_401(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    token = home / "token"
    token.write_text("first\n", encoding="utf-8")

    def rotate(request: object) -> bytes:
        token.write_text("second\n", encoding="utf-8")
        return UNAUTHORIZED

    api_server.reply(rotate, response_bytes(200))

    ask({"kubeconfig": kubeconfig({"tokenFile": str(token)})})

    assert [request.credentials for request in api_server.requests] == ["Bearer first", "Bearer second"]


def test_key_in_kubeconfig_is_in_no_file_after_renewal_of_token(
    ask: Ask,
    api_server: Server,
    kubeconfig: Kubeconfig,
    certificates: Certificates,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(files))
    token = home / "token"
    token.write_text("first", encoding="utf-8")

    def rotate(request: object) -> bytes:
        token.write_text("second", encoding="utf-8")
        return UNAUTHORIZED

    api_server.reply(rotate, response_bytes(200))
    data = {
        "tokenFile": str(token),
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }

    ask({"kubeconfig": kubeconfig(data)})

    assert len(api_server.requests) == 2
    assert list(files.iterdir()) == []


def test_unchanged_credentials_are_not_retried_after_401(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    api_server.reply(UNAUTHORIZED)

    response = ask(options)

    assert (response.status_code, len(api_server.requests)) == (401, 1)


def test_unchanged_certificate_is_not_retried_after_401(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    data = {
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }
    api_server.reply(response_bytes(401), response_bytes(200))

    assert ask({"kubeconfig": kubeconfig(data)}).status_code == 401


def test_streamed_body_is_not_repeated_after_401_and_next_request_has_new_token(
    cluster_of: Connect, api_server: Server, service_account: Path
) -> None:
    api_server.reply(UNAUTHORIZED, response_bytes(200))
    adapter = cluster_of({}).adapter
    service_account.write_text("second", encoding="utf-8")

    with pytest.raises(ConnectionLostError, match=r"the credentials for .* expired during a request"):
        adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": "4"}, iter([b"once"]))
    adapter.open("GET", f"{adapter.base_url}/").close()

    assert [str(request.credentials).lower() for request in api_server.requests] == ["bearer first", "bearer second"]


def test_error_of_renewal_quotes_credential_plugin(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    api_server.reply(UNAUTHORIZED)
    script = f"[ ! -e {home}/used ] || {{ echo the session has ended >&2; exit 1; }}\ntouch {home}/used"
    user = plugin(home, f"{script}\necho '{credential(token='once')}'")

    with pytest.raises(ClusterError, match="the session has ended"):
        ask({"kubeconfig": kubeconfig(user)})


@pytest.mark.parametrize("version", ["36.0.0", "36.0.1"])
def test_version_of_kubernetes_that_cannot_authenticate_is_rejected(
    ask: Ask, service_account: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(kubernetes, "__version__", version)

    with pytest.raises(ClusterError, match=f"kubernetes {version} sends requests without tokens"):
        ask({})
