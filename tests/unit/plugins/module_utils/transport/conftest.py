# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests of connections to a cluster: certificates, a server in the role of the API server, sessions."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import Cluster, connect
from kubernetes.config import incluster_config
from unit.plugins.module_utils.transport.servers import Proxy, Server

_EXTENSIONS = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[lax]
basicConstraints = CA:true
[server]
basicConstraints = CA:false
subjectAltName = IP:127.0.0.1, DNS:api.example.com
authorityKeyIdentifier = keyid
[nameless]
basicConstraints = CA:false
subjectAltName = DNS:api.example.com
authorityKeyIdentifier = keyid
[client]
basicConstraints = CA:false
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files; each NAME.crt has a NAME.key in the same folder.

    Attributes:
        ca: The authority of the cluster.
        server: The certificate of the API server, for its address.
        nameless: A certificate of the API server for the name api.example.com only.
        client: The certificate of the user alice.
        lax_ca: An authority without the key usage extension.
        lax_server: A certificate of ``lax_ca`` for the address of the API server.
    """

    ca: Path
    server: Path
    nameless: Path
    client: Path
    lax_ca: Path
    lax_server: Path

    def tls(self, server: Path) -> ssl.SSLContext:
        """Return the TLS context of a server with this certificate. Client certificates are optional."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server, server.with_suffix(".key"))
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of all kinds, made with the openssl command."""
    folder = tmp_path_factory.mktemp("certificates")
    configuration = folder / "openssl.cnf"
    configuration.write_text(_EXTENSIONS, encoding="utf-8")

    def make(name: str, subject: str, kind: str, signer: Path | None = None) -> Path:
        path = folder / f"{name}.crt"
        command = ["openssl", "req", "-x509", "-days", "2", "-subj", f"/CN={subject}", "-out", str(path)]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(path.with_suffix(".key")), "-config", str(configuration), "-extensions", kind]
        if signer:
            command += ["-CA", str(signer), "-CAkey", str(signer.with_suffix(".key"))]
        subprocess.run(command, check=True, capture_output=True)
        return path

    ca = make("ca", "cluster", "ca")
    lax_ca = make("lax-ca", "home-made", "lax")
    return Certificates(
        ca=ca,
        server=make("server", "api", "server", ca),
        nameless=make("nameless", "api", "nameless", ca),
        client=make("client", "alice", "client", ca),
        lax_ca=lax_ca,
        lax_server=make("lax-server", "api", "server", lax_ca),
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an environment without a cluster."""
    for name in list(os.environ):
        if name.startswith(("K8S_AUTH_", "KUBE")) or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


Start = Callable[..., Server]


@pytest.fixture
def start(certificates: Certificates) -> Iterator[Start]:
    """Starts servers: ``start()`` with the API server's certificate, ``start(None)`` without TLS."""
    servers: list[Server] = []

    def run(certificate: Path | None = certificates.server) -> Server:
        servers.append(Server(certificates.tls(certificate) if certificate else None))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


@pytest.fixture
def api_server(start: Start) -> Server:
    """An API server that responds ``ok`` to all requests until a test sets other responses."""
    return start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """An HTTP proxy."""
    server = Proxy()
    yield server
    server.stop()


@pytest.fixture
def options(api_server: Server, certificates: Certificates) -> dict[str, Any]:
    """Options of a module that are sufficient to connect to the API server."""
    return {"host": api_server.url, "api_key": "canary-token", "ca_cert": str(certificates.ca)}


Connect = Callable[..., Cluster]


@pytest.fixture
def cluster_of() -> Iterator[Connect]:
    """Connects to the cluster of options, and closes the connections after the test."""
    clusters: list[Cluster] = []

    def run(options: dict[str, Any], **adapter_options: Any) -> Cluster:
        clusters.append(connect(options, **adapter_options))
        return clusters[-1]

    yield run
    for cluster in clusters:
        cluster.adapter.close()


Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(cluster_of: Connect) -> Ask:
    """Requests the version of the cluster of options."""

    def run(options: dict[str, Any], session: requests.Session | None = None) -> requests.Response:
        adapter = cluster_of(options).adapter
        with session or requests.Session() as used:
            used.mount(adapter.base_url, adapter)
            return used.get(f"{adapter.base_url}/version")

    return run


@pytest.fixture
def session(cluster_of: Connect, options: dict[str, Any]) -> Iterator[requests.Session]:
    """A session on which http://registry.k8scr is the registry in the Pod k8scr/k8scr-0."""
    with requests.Session() as used:
        used.mount("http://registry.k8scr/", PodProxyAdapter(cluster_of(options).adapter, "k8scr", "k8scr-0", 5000))
        yield used


def _entry(name: str, kind: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, kind: content}]


Kubeconfig = Callable[..., dict[str, Any]]


@pytest.fixture
def kubeconfig(api_server: Server, certificates: Certificates) -> Kubeconfig:
    """Makes the content of a kubeconfig for a user; keyword arguments are fields of its cluster."""

    def make(user: dict[str, Any], name: str = "test", **cluster: Any) -> dict[str, Any]:
        reached = {"server": api_server.url, "certificate-authority": str(certificates.ca), **cluster}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": _entry(name, "cluster", reached),
            "users": _entry(name, "user", user),
            "contexts": _entry(name, "context", {"cluster": name, "user": name}),
        }

    return make


@pytest.fixture
def service_account(
    api_server: Server, certificates: Certificates, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The token file of a service account, in an environment as in a Pod."""
    token = home / "token"
    token.write_text("first", encoding="utf-8")
    host, port = api_server.server_address[:2]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(host))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificates.ca))
    return token
