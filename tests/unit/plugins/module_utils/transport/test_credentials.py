# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials of options, kubeconfigs and service accounts, as the API server receives them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes
import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.kubeconfig import Kubeconfig as Loaded
from unit.plugins.module_utils.transport.servers import Server

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Certificates, Connect, Kubeconfig


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_kubeconfig_is_read_from_path(ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path) -> None:
    path = write(home / "admin.conf", kubeconfig({"token": "from-file"}))

    ask({"kubeconfig": path})

    assert api_server.requests[0].credentials == "Bearer from-file"


def test_kubeconfig_is_read_from_dictionary(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-dictionary"})})

    assert api_server.requests[0].credentials == "Bearer from-dictionary"


def test_default_kubeconfig_is_read_from_home(ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path) -> None:
    (home / ".kube").mkdir()
    write(home / ".kube/config", kubeconfig({"token": "from-home"}))

    ask({})

    assert api_server.requests[0].credentials == "Bearer from-home"


def test_kubeconfig_files_in_variable_are_merged(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(home / "one", kubeconfig({"token": "first"}, name="one"))
    two = write(home / "two", kubeconfig({"token": "second"}, name="two"))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{home}/missing:{two}")

    ask({})
    ask({"context": "two"})

    assert [request.credentials for request in api_server.requests] == ["Bearer first", "Bearer second"]


def test_error_names_known_contexts_for_unknown_context(ask: Ask, kubeconfig: Kubeconfig) -> None:
    with pytest.raises(ClusterError, match=r"has no context prod\. Set context to one of test"):
        ask({"kubeconfig": kubeconfig({"token": "t"}), "context": "prod"})


def test_error_names_missing_kubeconfig(ask: Ask) -> None:
    with pytest.raises(ClusterError, match="the kubeconfig /nowhere/config does not exist"):
        ask({"kubeconfig": "/nowhere/config"})


def test_error_reports_missing_configuration(ask: Ask) -> None:
    with pytest.raises(ClusterError, match="no cluster is configured"):
        ask({})


def test_error_about_invalid_yaml_hides_content_of_kubeconfig(ask: Ask, home: Path) -> None:
    (home / "broken").write_text("users:\n- token: canary: {", encoding="utf-8")

    with pytest.raises(ClusterError, match=r"is not YAML \(line 2\)") as caught:
        ask({"kubeconfig": str(home / "broken")})

    assert "canary" not in str(caught.value)


def test_error_about_unusable_kubeconfig_hides_secrets(ask: Ask, kubeconfig: Kubeconfig) -> None:
    user = {"client-certificate-data": "canary-key", "client-key-data": "canary-key"}

    with pytest.raises(ClusterError, match="the kubeconfig given as a dictionary cannot be used") as caught:
        ask({"kubeconfig": kubeconfig(user)})

    assert "canary-key" not in repr(caught.value)


def test_kubeconfig_redacts_its_secrets_in_text(kubeconfig: Kubeconfig) -> None:
    found = Loaded.find(kubeconfig({"token": "canary-token", "password": "canary"}))

    assert found is not None
    assert found.redact("bad token canary-token, bad password canary") == "bad token ********, bad password ********"


def test_host_and_token_need_no_kubeconfig(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    response = ask(options)

    assert response.text == "ok"
    assert api_server.requests[0].credentials == "Bearer canary-token"


def test_token_is_sent_without_line_break_at_end(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    ask({**options, "api_key": "from-a-file\n"})

    assert api_server.requests[0].credentials == "Bearer from-a-file"


def test_error_about_invalid_token_hides_token(ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match="the token") as caught:
        ask({**options, "api_key": "canary\nX-Remote-User: admin"})

    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


def test_user_name_and_password_are_sent_as_basic_authentication(
    ask: Ask, api_server: Server, options: dict[str, Any]
) -> None:
    del options["api_key"]

    ask({**options, "username": "alice", "password": "pa:ss"})

    assert api_server.requests[0].credentials == basic("alice", "pa:ss")


def test_client_certificate_authenticates_without_header(
    ask: Ask, api_server: Server, options: dict[str, Any], certificates: Certificates
) -> None:
    del options["api_key"]
    certificate, key = certificates.client, certificates.client.with_suffix(".key")

    ask({**options, "client_cert": str(certificate), "client_key": str(key)})

    assert (api_server.requests[0].client, api_server.requests[0].credentials) == ("alice", None)


def test_client_certificate_is_read_from_content_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    data = {
        "client-certificate-data": base64.b64encode(certificates.client.read_bytes()).decode(),
        "client-key-data": base64.b64encode(certificates.client.with_suffix(".key").read_bytes()).decode(),
    }

    ask({"kubeconfig": kubeconfig(data)})

    assert api_server.requests[0].client == "alice"


def test_paths_in_kubeconfig_are_relative_to_its_folder(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates, home: Path
) -> None:
    (home / "pki").symlink_to(certificates.ca.parent)
    user = {"client-certificate": "pki/client.crt", "client-key": "pki/client.key"}

    ask({"kubeconfig": write(home / "config", kubeconfig(user, **{"certificate-authority": "pki/ca.crt"}))})

    assert api_server.requests[0].client == "alice"


def test_static_kubeconfig_is_read_without_import_of_official_client(
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


def test_key_in_kubeconfig_is_in_no_file_after_loading(
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


def test_encrypted_client_key_fails_without_password_prompt(
    ask: Ask, options: dict[str, Any], certificates: Certificates, home: Path
) -> None:
    key, encrypted = certificates.client.with_suffix(".key"), home / "encrypted.key"
    command = ["openssl", "pkey", "-in", str(key), "-out", str(encrypted), "-aes128", "-passout", "pass:x"]
    subprocess.run(command, check=True)

    with pytest.raises(ClusterError, match="not PEM, encrypted, or not of one pair"):
        ask({**options, "client_cert": str(certificates.client), "client_key": str(encrypted)})


def test_api_key_replaces_token_of_kubeconfig(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-kubeconfig"}), "api_key": "explicit"})

    assert api_server.requests[0].credentials == "Bearer explicit"


def test_api_key_replaces_client_certificate_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, certificates: Certificates
) -> None:
    user = {
        "client-certificate": str(certificates.client),
        "client-key": str(certificates.client.with_suffix(".key")),
    }

    ask({"kubeconfig": kubeconfig(user), "api_key": "explicit"})

    assert (api_server.requests[0].client, api_server.requests[0].credentials) == (None, "Bearer explicit")


def test_host_replaces_server_of_kubeconfig(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    content = kubeconfig({"token": "from-kubeconfig"}, server="https://127.0.0.1:1")

    ask({"kubeconfig": content, "host": api_server.url})

    assert api_server.requests[0].credentials == "Bearer from-kubeconfig"


def test_user_name_and_password_are_read_from_kubeconfig(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"username": "alice", "password": "secret"})})

    assert api_server.requests[0].credentials == basic("alice", "secret")


def test_service_account_is_used_in_pod(ask: Ask, api_server: Server, service_account: Path) -> None:
    ask({})

    assert str(api_server.requests[0].credentials).lower() == "bearer first"


def test_kubeconfig_option_precedes_service_account(
    ask: Ask, api_server: Server, service_account: Path, kubeconfig: Kubeconfig
) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-kubeconfig"})})

    assert api_server.requests[0].credentials == "Bearer from-kubeconfig"


def test_service_account_precedes_default_kubeconfig(
    ask: Ask, api_server: Server, service_account: Path, kubeconfig: Kubeconfig, home: Path
) -> None:
    (home / ".kube").mkdir()
    write(home / ".kube/config", kubeconfig({"token": "from-home"}))

    ask({})

    assert str(api_server.requests[0].credentials).lower() == "bearer first"


def test_official_client_uses_credentials_of_adapter(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    cluster = cluster_of({**options, "impersonate_user": "bob"})

    kubernetes.client.LogsApi(cluster.api_client()).log_file_list_handler()

    (request,) = api_server.requests
    assert (request.credentials, request.headers["Impersonate-User"]) == ("Bearer canary-token", "bob")


def test_repr_of_adapter_has_no_secret(cluster_of: Connect, options: dict[str, Any], kubeconfig: Kubeconfig) -> None:
    proxy = {"proxy": "http://me:canary-proxy@127.0.0.1:1", "proxy_headers": {"basic_auth": "me:canary-proxy"}}
    given = cluster_of({**options, **proxy}).adapter
    loaded = cluster_of({"kubeconfig": kubeconfig({"token": "canary-token"})}).adapter

    shown = "".join(repr(part) + repr(vars(part)) for part in (given, loaded))

    assert "canary" not in shown


def test_repr_of_kubeconfig_has_no_secret(kubeconfig: Kubeconfig, home: Path) -> None:
    found = Loaded.find(kubeconfig({"token": "canary-token"}))

    assert found is not None
    assert "canary" not in repr(found) + repr(found.choose(None))


def test_default_configuration_of_library_is_unchanged(ask: Ask, kubeconfig: Kubeconfig) -> None:
    before = kubernetes.client.Configuration.get_default_copy().host

    ask({"kubeconfig": kubeconfig({"token": "t"})})

    assert kubernetes.client.Configuration.get_default_copy().host == before
    assert "KUBECONFIG" not in os.environ
