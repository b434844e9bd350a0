# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to upstream registries: TLS, proxies, unreachable hosts."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest
from ansible.module_utils.common.warnings import get_warning_messages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.upstream_servers import (
    Push,
    error_of,
    find_upstream,
    host,
    settings,
    tls_registry,
)

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")
INSECURE = "an attacker on the network can read and change all data."


def test_registry_certificate_is_verified_with_given_ca(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        found = find_upstream(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})

    assert found == image.contents


def test_error_reports_untrusted_certificate(tmp_path: Path) -> None:
    with tls_registry(tmp_path) as upstream, pytest.raises(K8scrError, match=r"is not trusted: self.signed") as caught:
        find_upstream(upstream)

    assert caught.value.advice == "Set ca_cert in upstreams to the CA that signed it"


def test_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    with tls_registry(tmp_path, "IP:127.0.0.2") as upstream, pytest.raises(K8scrError, match="is not trusted"):
        find_upstream(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_validate_certs_false_accepts_any_certificate(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        assert find_upstream(upstream, {"host": host(upstream), "validate_certs": False}) == image.contents


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_upstream_without_verified_certificate_causes_warning(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        find_upstream(upstream, {"host": host(upstream), "validate_certs": False})

        assert warnings_about(upstream) == [f"The certificate of {host(upstream)} is not checked: {INSECURE}"]


def test_upstream_without_tls_causes_warning(upstream: RegistryServer) -> None:
    find_upstream(upstream, *settings(upstream))

    assert warnings_about(upstream) == [f"The connection to {host(upstream)} is not encrypted: {INSECURE}"]


def warnings_about(server: RegistryServer) -> list[str]:
    """Return the warnings of this process that name a registry."""
    return [text for text in map(str, get_warning_messages()) if host(server) in text]


def test_plain_http_requires_option(upstream: RegistryServer) -> None:
    with pytest.raises(K8scrError, match=r"TLS handshake with .* failed") as caught:
        find_upstream(upstream)

    assert caught.value.advice == "If the registry does not use TLS, set plain_http for it in upstreams"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("no certificate", "cannot be read as PEM")]
)
def test_error_reports_invalid_ca_file(
    upstream: RegistryServer, tmp_path: Path, content: str | None, message: str
) -> None:
    ca_cert = tmp_path / "ca.pem"
    if content:
        ca_cert.write_text(content)

    with pytest.raises(InputError, match=message):
        find_upstream(upstream, {"host": host(upstream), "ca_cert": str(ca_cert)})


def test_error_reports_unknown_host_name(push: Push) -> None:
    assert "the name of registry.invalid cannot be resolved" in error_of(push("docker://registry.invalid/team/app:1"))


def test_error_reports_refused_connection(push: Push) -> None:
    error = error_of(push("docker://127.0.0.1:1/team/app:1"))

    assert error.startswith("cannot connect to 127.0.0.1:1: connection refused. Check the image's name")


def test_error_reports_unresponsive_registry() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:
        address = f"127.0.0.1:{unresponsive.getsockname()[1]}"
        upstreams = Upstreams(upstreams_of({"host": address, "plain_http": True}), timeout=0.1, retry_timeout=0.0)
        with closing(upstreams), pytest.raises(K8scrError, match=r"was interrupted: no response in time"):
            upstreams.open(parse_reference(f"{address}/team/app:1"))


def test_proxy_of_environment_is_used(upstream: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)

    upstreams = Upstreams(upstreams_of({"host": "registry.invalid", "plain_http": True}))
    with closing(upstreams), pytest.raises(K8scrError, match="there is no image 1"):
        upstreams.open(parse_reference("registry.invalid/team/none:1"))

    assert upstream.received("HEAD") == ["HEAD /v2/team/none/manifests/1"]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.*", "localhost 127.0.0.0/8", "http://127.0.0.1/"])
def test_no_proxy_of_environment_is_respected(
    upstream: RegistryServer, image: Image, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert find_upstream(upstream, *settings(upstream)) == image.contents
