# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to the API server: trust, environment, addresses and errors."""

from __future__ import annotations

import base64
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes
import pytest
import requests
from ansible.module_utils.common.warnings import get_warning_messages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ClusterError,
    ConnectionLostError,
    UnreachableError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import connection
from unit.plugins.module_utils.transport.servers import Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Certificates, Connect, Kubeconfig, Start


def warnings_of_ansible() -> list[str]:
    return [str(warning) for warning in get_warning_messages()]


def test_certificate_of_unknown_authority_is_not_trusted(
    ask: Ask, start: Start, certificates: Certificates, options: dict[str, Any]
) -> None:
    impostor = start(certificates.lax_server)

    with pytest.raises(ClusterError, match=r"the certificate of the API server .* is not trusted: .*ca_cert"):
        ask({**options, "host": impostor.url})

    assert impostor.requests == []


def test_system_authorities_are_trusted_without_ca_cert(ask: Ask, options: dict[str, Any]) -> None:
    del options["ca_cert"]

    with pytest.raises(ClusterError, match="is not trusted"):
        ask(options)


def test_certificate_for_other_name_is_not_trusted(
    ask: Ask, start: Start, certificates: Certificates, options: dict[str, Any]
) -> None:
    with pytest.raises(ClusterError, match=r"is not trusted: .*tls_server_name"):
        ask({**options, "host": start(certificates.nameless).url})


def test_certificate_for_tls_server_name_is_trusted(
    ask: Ask, start: Start, certificates: Certificates, options: dict[str, Any]
) -> None:
    server = start(certificates.nameless)

    response = ask({**options, "host": server.url, "tls_server_name": "api.example.com"})

    assert response.text == "ok"


def test_tls_server_name_is_read_from_kubeconfig(
    ask: Ask, start: Start, certificates: Certificates, kubeconfig: Kubeconfig
) -> None:
    server = start(certificates.nameless)
    content = kubeconfig({"token": "t"}, server=server.url, **{"tls-server-name": "api.example.com"})

    assert ask({"kubeconfig": content}).text == "ok"


def test_authority_is_read_from_content_of_kubeconfig(
    ask: Ask, certificates: Certificates, kubeconfig: Kubeconfig
) -> None:
    content = kubeconfig({"token": "t"})
    cluster = content["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.b64encode(certificates.ca.read_bytes()).decode()

    assert ask({"kubeconfig": content}).text == "ok"


def test_authority_without_key_usage_is_trusted(
    ask: Ask, start: Start, certificates: Certificates, options: dict[str, Any]
) -> None:
    server = start(certificates.lax_server)

    assert ask({**options, "host": server.url, "ca_cert": str(certificates.lax_ca)}).text == "ok"


def test_certificate_in_ca_cert_needs_no_authority(
    ask: Ask, certificates: Certificates, options: dict[str, Any]
) -> None:
    assert ask({**options, "ca_cert": str(certificates.server)}).text == "ok"


@pytest.mark.parametrize(("content", "reason"), [(None, "does not exist"), ("no PEM", "cannot be read as PEM")])
def test_error_names_unreadable_ca_file(
    ask: Ask, options: dict[str, Any], home: Path, content: str | None, reason: str
) -> None:
    path = home / "ca.pem"
    if content:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(ClusterError, match=f"the CA file {path} {reason}"):
        ask({**options, "ca_cert": str(path)})


def test_certificate_is_not_verified_without_validate_certs(
    ask: Ask, start: Start, certificates: Certificates, options: dict[str, Any]
) -> None:
    server = start(certificates.lax_server)

    assert ask({**options, "host": server.url, "validate_certs": False}).text == "ok"


def test_disabled_verification_causes_one_warning(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    api_server.reply(response_bytes(200, {"Connection": "close"}))
    adapter = cluster_of({**options, "validate_certs": False}).adapter

    adapter.open("GET", f"{adapter.base_url}/").read()
    adapter.open("GET", f"{adapter.base_url}/").read()

    (warning,) = (text for text in warnings_of_ansible() if api_server.address in text)
    assert "is not checked" in warning


def test_verification_is_disabled_by_kubeconfig(
    cluster_of: Connect, start: Start, certificates: Certificates, kubeconfig: Kubeconfig
) -> None:
    server = start(certificates.lax_server)
    content = kubeconfig({"token": "t"}, server=server.url, **{"insecure-skip-tls-verify": True})
    del content["clusters"][0]["cluster"]["certificate-authority"]

    assert not cluster_of({"kubeconfig": content}).adapter.verifies
    assert cluster_of({"kubeconfig": content, "validate_certs": True}).adapter.verifies


@pytest.fixture
def hostile_environment(home: Path, monkeypatch: pytest.MonkeyPatch, api_server: Server) -> None:
    """An environment that sets other proxies, credentials and authorities for all clients of requests."""
    (home / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n", encoding="utf-8")
    (home / ".netrc").chmod(0o600)
    (home / "empty.pem").write_text("", encoding="utf-8")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(home / "empty.pem"))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "nonsense://127.0.0.1:1")


@pytest.mark.usefixtures("hostile_environment")
def test_environment_is_ignored(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    response = ask(options)

    assert response.text == "ok"
    assert api_server.requests[0].credentials == "Bearer canary-token"


@pytest.mark.usefixtures("hostile_environment")
def test_environment_is_ignored_with_kubeconfig(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig({"token": "from-kubeconfig"})})

    assert api_server.requests[0].credentials == "Bearer from-kubeconfig"


@pytest.mark.usefixtures("hostile_environment")
def test_environment_is_ignored_by_official_client(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    client = cluster_of(options).api_client()

    kubernetes.client.LogsApi(client).log_file_list_handler()

    assert api_server.requests[0].credentials == "Bearer canary-token"


def test_tls_and_proxy_settings_of_session_are_ignored(ask: Ask, options: dict[str, Any]) -> None:
    session = requests.Session()
    session.proxies["https"] = "http://127.0.0.1:1"
    session.verify = "/nowhere.pem"
    session.cert = "/nowhere.pem"

    assert ask(options, session).text == "ok"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("https://api.example.com", "https://api.example.com:443"),
        ("http://API.example.com/", "http://api.example.com:80"),
        ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
        ("https://rancher.example.com/k8s/clusters/c-1/", "https://rancher.example.com:443/k8s/clusters/c-1"),
    ],
)
def test_base_url_is_normalized(host: str, base: str) -> None:
    assert connection.base_url(host) == base


@pytest.mark.parametrize(
    "host",
    ["api.example.com:6443", "ftp://api", "https://", "https://a:b", "https://me:canary@api", "https://a/?b", "[://"],
)
def test_invalid_host_is_rejected(host: str) -> None:
    with pytest.raises(ClusterError, match="the host of the API server") as caught:
        connection.base_url(host)

    assert "canary" not in str(caught.value)


def test_error_names_server_that_refuses_connection(ask: Ask, options: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(
        UnreachableError, match=f"cannot connect to the API server 127.0.0.1:{port}: connection refused"
    ):
        ask({**options, "host": f"https://127.0.0.1:{port}"})


def test_error_names_host_that_cannot_be_resolved(
    ask: Ask, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(UnreachableError, match=r"the name of the API server nowhere\.invalid:443 cannot be resolved"):
        ask({**options, "host": "https://nowhere.invalid"})


def test_unresponsive_server_times_out(cluster_of: Connect, options: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as unresponsive:
        adapter = cluster_of({**options, "host": f"https://127.0.0.1:{unresponsive.getsockname()[1]}"}).adapter

        with pytest.raises(ClusterError, match=r"timed out"):
            adapter.open("GET", f"{adapter.base_url}/", timeout=(0.1, 0.1))


def test_error_names_server_without_tls(ask: Ask, start: Start, options: dict[str, Any]) -> None:
    server = start(None)

    with pytest.raises(ClusterError, match="does not use TLS"):
        ask({**options, "host": server.url.replace("http:", "https:")})


def test_connection_closed_without_response_raises_connection_lost_error(
    ask: Ask, api_server: Server, options: dict[str, Any]
) -> None:
    api_server.closes_after_response = True
    api_server.reply(b"")

    with pytest.raises(ConnectionLostError, match="was interrupted: closed without a response"):
        ask(options)


@pytest.mark.parametrize(
    "beginning",
    [b"HTT", b"HTTP/1.1 202", b"HTTP/1.1 202 Acc", b"HTTP/1.1 202 Accepted\r\nLoca", b"HTTP/1.1 202 OK\r\n"],
)
def test_incomplete_header_raises_connection_lost_error(
    ask: Ask, api_server: Server, options: dict[str, Any], beginning: bytes
) -> None:
    api_server.closes_after_response = True
    api_server.reply(beginning)

    with pytest.raises(ConnectionLostError, match="was interrupted: closed during a response"):
        ask(options)


def test_requests_share_connection(cluster_of: Connect, api_server: Server, options: dict[str, Any]) -> None:
    adapter = cluster_of(options).adapter

    for _number in range(3):
        adapter.open("GET", f"{adapter.base_url}/").read()

    assert api_server.connections == 1


def test_libraries_log_no_secret(
    ask: Ask, options: dict[str, Any], api_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    api_server.reply(response_bytes(202, {"Location": "/x?_state=canary"}))

    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        ask({**options, "proxy_headers": {"basic_auth": "me:canary"}})

    assert caplog.records
    assert "canary" not in caplog.text
