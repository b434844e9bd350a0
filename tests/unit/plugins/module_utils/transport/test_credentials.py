# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who we are to the cluster: every way to say it, as the API server sees it."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes
import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, ConnectionLostError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import credentials
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.kubeconfig import Kubeconfig as Loaded
from kubernetes.config import incluster_config
from unit.plugins.module_utils.transport.servers import Server, answer

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Certificates, Connect, Kubeconfig

UNAUTHORIZED = answer(401, {"Content-Type": "application/json"}, b'{"kind":"Status","apiVersion":"v1","code":401}')


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def plugin(folder: Path, script: str) -> dict[str, Any]:
    """The user entry of a kubeconfig whose credential plugin is a shell script."""
    path = folder / "login-tool"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(stat.S_IRWXU)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(path),
            "interactiveMode": "Never",
            "env": [{"name": "LOGIN_SECRET", "value": "canary-env"}],
        }
    }


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def test_a_kubeconfig_is_read_from_a_path(ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path) -> None:
    path = write(home / "admin.conf", kubeconfig({"token": "from-file"}))

    ask({"kubeconfig": path})

    assert api_server.requests[0].credentials == "Bearer from-file"


def test_a_kubeconfig_is_taken_as_a_dictionary(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-dictionary"})})

    assert api_server.requests[0].credentials == "Bearer from-dictionary"


def test_the_default_kubeconfig_is_in_the_home(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    (home / ".kube").mkdir()
    write(home / ".kube/config", kubeconfig({"token": "from-home"}))

    ask({})

    assert api_server.requests[0].credentials == "Bearer from-home"


def test_several_files_of_kubeconfig_are_one(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(home / "one", kubeconfig({"token": "first"}, name="one"))
    two = write(home / "two", kubeconfig({"token": "second"}, name="two"))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{home}/missing:{two}")

    ask({})
    ask({"context": "two"})

    assert [request.credentials for request in api_server.requests] == ["Bearer first", "Bearer second"]


def test_a_context_that_is_not_there_is_answered_with_those_that_are(ask: Ask, kubeconfig: Kubeconfig) -> None:
    with pytest.raises(ClusterError, match=r"has no context prod\. Set context to one of test"):
        ask({"kubeconfig": kubeconfig({"token": "t"}), "context": "prod"})


def test_a_kubeconfig_that_is_missing_is_named(ask: Ask) -> None:
    with pytest.raises(ClusterError, match="the kubeconfig /nowhere/config does not exist"):
        ask({"kubeconfig": "/nowhere/config"})


def test_no_cluster_at_all_is_said(ask: Ask) -> None:
    with pytest.raises(ClusterError, match="no cluster is configured"):
        ask({})


def test_a_kubeconfig_that_is_no_yaml_is_refused_without_its_content(ask: Ask, home: Path) -> None:
    (home / "broken").write_text("users:\n- token: canary: {", encoding="utf-8")

    with pytest.raises(ClusterError, match=r"is not YAML \(line 2\)") as caught:
        ask({"kubeconfig": str(home / "broken")})

    assert "canary" not in str(caught.value)


def test_a_kubeconfig_that_cannot_be_used_is_refused_without_its_secrets(ask: Ask, kubeconfig: Kubeconfig) -> None:
    user = {"client-certificate-data": "canary-key", "client-key-data": "canary-key"}

    with pytest.raises(ClusterError, match="the kubeconfig given as a dictionary cannot be used") as caught:
        ask({"kubeconfig": kubeconfig(user)})

    assert "canary-key" not in repr(caught.value)


def test_a_kubeconfigs_secrets_are_taken_out_of_what_others_say(kubeconfig: Kubeconfig) -> None:
    found = Loaded.find(kubeconfig({"token": "canary-token", "password": "canary"}))

    assert found is not None
    assert found.redact("bad token canary-token, bad password canary") == "bad token ********, bad password ********"


def test_host_and_token_need_no_file(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    response = ask(options)

    assert response.text == "ok"
    assert api_server.requests[0].credentials == "Bearer canary-token"


def test_a_token_may_end_with_a_line_break(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    ask({**options, "api_key": "from-a-file\n"})

    assert api_server.requests[0].credentials == "Bearer from-a-file"


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match="the token") as caught:
        ask({**options, "api_key": "canary\nX-Remote-User: admin"})

    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


def test_a_user_name_and_password_are_sent_as_basic_authentication(
    ask: Ask, api_server: Server, options: dict[str, Any]
) -> None:
    del options["api_key"]

    ask({**options, "username": "alice", "password": "pa:ss"})

    assert api_server.requests[0].credentials == basic("alice", "pa:ss")


def test_a_client_certificate_speaks_for_itself(
    ask: Ask, api_server: Server, options: dict[str, Any], certificates: Certificates
) -> None:
    del options["api_key"]
    certificate, key = certificates.client, certificates.client.with_suffix(".key")

    ask({**options, "client_cert": str(certificate), "client_key": str(key)})

    assert (api_server.requests[0].client, api_server.requests[0].credentials) == ("alice", None)


def test_a_kubeconfig_may_hold_the_client_certificate_itself(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    data = {
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }

    ask({"kubeconfig": kubeconfig(data)})

    assert api_server.requests[0].client == "alice"


def test_paths_in_a_kubeconfig_are_relative_to_its_folder(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates, home: Path
) -> None:
    (home / "pki").symlink_to(certificates.ca.parent)
    user = {"client-certificate": "pki/client.crt", "client-key": "pki/client.key"}

    ask({"kubeconfig": write(home / "config", kubeconfig(user, **{"certificate-authority": "pki/ca.crt"}))})

    assert api_server.requests[0].client == "alice"


def test_a_kubeconfig_that_says_everything_is_read_without_the_slow_import_of_the_official_client(
    api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    path = write(home / "config", kubeconfig({"token": "from-file"}))
    program = (
        "import sys; from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import connect\n"
        "adapter = connect({'kubeconfig': sys.argv[1]}).adapter\n"
        "print(adapter.open('GET', adapter.base_url + '/version').status, 'kubernetes' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["200", "False"]


def test_a_key_that_stands_in_a_kubeconfig_is_in_no_file_once_it_is_loaded(
    cluster_of: Connect,
    kubeconfig: Kubeconfig,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = {
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }

    cluster_of({"kubeconfig": kubeconfig(data)})

    assert list(tmp_path.iterdir()) == []


def test_a_client_key_that_is_encrypted_fails_instead_of_asking_for_its_password(
    ask: Ask, options: dict[str, Any], certificates: Certificates, home: Path
) -> None:
    key, encrypted = certificates.client.with_suffix(".key"), home / "encrypted.key"
    command = ["openssl", "pkey", "-in", str(key), "-out", str(encrypted), "-aes128", "-passout", "pass:x"]
    subprocess.run(command, check=True)

    with pytest.raises(ClusterError, match="not PEM, encrypted, or not of one pair"):
        ask({**options, "client_cert": str(certificates.client), "client_key": str(encrypted)})


def test_an_explicit_token_takes_the_place_of_the_kubeconfigs(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig
) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-kubeconfig"}), "api_key": "explicit"})

    assert api_server.requests[0].credentials == "Bearer explicit"


def test_an_explicit_token_leaves_the_kubeconfigs_client_certificate_at_home(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    user = {
        "client-certificate": str(certificates.client),
        "client-key": str(certificates.client.with_suffix(".key")),
    }

    ask({"kubeconfig": kubeconfig(user), "api_key": "explicit"})

    assert (api_server.requests[0].client, api_server.requests[0].credentials) == (None, "Bearer explicit")


def test_a_host_takes_the_place_of_the_kubeconfigs_server(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    content = kubeconfig({"token": "from-kubeconfig"}, server="https://127.0.0.1:1")

    ask({"kubeconfig": content, "host": api_server.url})

    assert api_server.requests[0].credentials == "Bearer from-kubeconfig"


def test_a_kubeconfig_may_hold_a_user_name_and_password(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"username": "alice", "password": "secret"})})

    assert api_server.requests[0].credentials == basic("alice", "secret")


def test_a_credential_plugin_gives_the_token(ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path) -> None:
    ask({"kubeconfig": kubeconfig(plugin(home, f"echo '{credential(token='from-plugin')}'"))})

    assert api_server.requests[0].credentials == "Bearer from-plugin"


def test_a_credential_plugin_is_asked_again_before_its_token_ends(
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


def test_a_failing_credential_plugin_is_quoted_without_secrets(ask: Ask, kubeconfig: Kubeconfig, home: Path) -> None:
    user = plugin(home, 'echo "log in first, not with $LOGIN_SECRET" >&2; exit 3')

    with pytest.raises(ClusterError, match=r"the credential plugin .*login-tool .*failed: .*log in first") as caught:
        ask({"kubeconfig": kubeconfig(user)})

    assert "canary" not in repr(caught.value)


def test_a_credential_plugin_that_is_not_installed_is_named(ask: Ask, kubeconfig: Kubeconfig) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws-login-that-is-not-there"}}

    with pytest.raises(ClusterError, match=r"the credential plugin aws-login-that-is-not-there .*failed"):
        ask({"kubeconfig": kubeconfig(user)})


@pytest.fixture
def service_account(
    api_server: Server, certificates: Certificates, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The token file of a service account, as in a Pod."""
    token = home / "token"
    token.write_text("first", encoding="utf-8")
    host, port = api_server.server_address[:2]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(host))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificates.ca))
    return token


def test_in_a_pod_the_service_account_speaks_for_us(ask: Ask, api_server: Server, service_account: Path) -> None:
    ask({})

    assert str(api_server.requests[0].credentials).lower() == "bearer first"


def test_a_named_kubeconfig_comes_before_the_service_account(
    ask: Ask, api_server: Server, service_account: Path, kubeconfig: Kubeconfig
) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-kubeconfig"})})

    assert api_server.requests[0].credentials == "Bearer from-kubeconfig"


def test_the_service_account_comes_before_the_default_kubeconfig(
    ask: Ask, api_server: Server, service_account: Path, kubeconfig: Kubeconfig, home: Path
) -> None:
    (home / ".kube").mkdir()
    write(home / ".kube/config", kubeconfig({"token": "from-home"}))

    ask({})

    assert str(api_server.requests[0].credentials).lower() == "bearer first"


def test_a_token_file_that_was_rotated_is_read_again_when_the_server_says_401(
    ask: Ask, api_server: Server, service_account: Path
) -> None:
    def rotate(request: object) -> bytes:
        service_account.write_text("second", encoding="utf-8")
        return UNAUTHORIZED

    api_server.reply(rotate, answer(200, body=b"welcome back"))

    response = ask({})

    assert response.text == "welcome back"
    assert str(api_server.requests[1].credentials).lower() == "bearer second"


def test_a_token_file_of_a_kubeconfig_is_read_again_when_the_server_says_401(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    token = home / "token"
    token.write_text("first\n", encoding="utf-8")

    def rotate(request: object) -> bytes:
        token.write_text("second\n", encoding="utf-8")
        return UNAUTHORIZED

    api_server.reply(rotate, answer(200))

    ask({"kubeconfig": kubeconfig({"tokenFile": str(token)})})

    assert [request.credentials for request in api_server.requests] == ["Bearer first", "Bearer second"]


def test_a_key_is_in_no_file_either_once_the_token_beside_it_is_renewed(
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

    api_server.reply(rotate, answer(200))
    data = {
        "tokenFile": str(token),
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }

    ask({"kubeconfig": kubeconfig(data)})

    assert len(api_server.requests) == 2
    assert list(files.iterdir()) == []


def test_credentials_that_stay_refused_are_not_tried_again(
    ask: Ask, api_server: Server, options: dict[str, Any]
) -> None:
    api_server.reply(UNAUTHORIZED)

    response = ask(options)

    assert (response.status_code, len(api_server.requests)) == (401, 1)


def test_a_certificate_in_a_kubeconfig_that_stays_refused_is_not_tried_again(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    data = {
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }
    api_server.reply(answer(401), answer(200))

    assert ask({"kubeconfig": kubeconfig(data)}).status_code == 401


def test_a_body_that_can_be_read_only_once_is_not_repeated_after_401_but_the_next_request_is_renewed(
    cluster_of: Connect, api_server: Server, service_account: Path
) -> None:
    api_server.reply(UNAUTHORIZED, answer(200))
    adapter = cluster_of({}).adapter
    service_account.write_text("second", encoding="utf-8")

    with pytest.raises(ConnectionLostError, match="the credentials ended on the way"):
        adapter.open("PATCH", f"{adapter.base_url}/", {"Content-Length": "4"}, iter([b"once"]))
    adapter.open("GET", f"{adapter.base_url}/").close()

    assert [str(request.credentials).lower() for request in api_server.requests] == ["bearer first", "bearer second"]


def test_a_failed_renewal_says_what_the_credential_plugin_says(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    api_server.reply(UNAUTHORIZED)
    script = f"[ ! -e {home}/used ] || {{ echo the session has ended >&2; exit 1; }}\ntouch {home}/used"
    user = plugin(home, f"{script}\necho '{credential(token='once')}'")

    with pytest.raises(ClusterError, match="the session has ended"):
        ask({"kubeconfig": kubeconfig(user)})


@pytest.mark.parametrize("version", ["36.0.0", "36.0.1"])
def test_a_version_of_kubernetes_that_cannot_authenticate_is_refused(
    ask: Ask, kubeconfig: Kubeconfig, home: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(kubernetes, "__version__", version)

    with pytest.raises(ClusterError, match=f"kubernetes {version} leaves tokens out of its requests"):
        ask({"kubeconfig": kubeconfig(plugin(home, f"echo '{credential(token='t')}'"))})


def test_the_official_client_goes_the_same_way(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    cluster = cluster_of({**options, "impersonate_user": "bob"})

    kubernetes.client.LogsApi(cluster.api_client()).log_file_list_handler()

    (request,) = api_server.requests
    assert (request.credentials, request.headers["Impersonate-User"]) == ("Bearer canary-token", "bob")


def test_no_secret_is_in_what_a_connection_shows_of_itself(
    cluster_of: Connect, options: dict[str, Any], kubeconfig: Kubeconfig
) -> None:
    proxy = {"proxy": "http://me:canary-proxy@127.0.0.1:1", "proxy_headers": {"basic_auth": "me:canary-proxy"}}
    given = cluster_of({**options, **proxy}).adapter
    loaded = cluster_of({"kubeconfig": kubeconfig({"token": "canary-token"})}).adapter

    shown = "".join(repr(part) + repr(vars(part)) for part in (given, loaded))

    assert "canary" not in shown


def test_a_kubeconfig_shows_no_secret_of_itself(kubeconfig: Kubeconfig, home: Path) -> None:
    found = Loaded.find(kubeconfig({"token": "canary-token"}))

    assert found is not None
    assert "canary" not in repr(found) + repr(found.choose(None))


def test_the_library_keeps_no_configuration_of_ours_for_others(ask: Ask, kubeconfig: Kubeconfig) -> None:
    before = kubernetes.client.Configuration.get_default_copy().host

    ask({"kubeconfig": kubeconfig({"token": "t"})})

    assert kubernetes.client.Configuration.get_default_copy().host == before
    assert "KUBECONFIG" not in os.environ
