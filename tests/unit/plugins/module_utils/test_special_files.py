# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that name a pipe in place of a file: a pipe without a writer does not block a task."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.connection import EngineAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.context import find_endpoint
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.settings import DockerSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import file_access
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import read_small
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.definitions import read_options
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.auth_files import find_credentials
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.tls_files import TlsFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.lock import ImageLock
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import open_pool
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.credential_plugin import run_plugin
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.credentials import load
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.settings import ClusterSettings

CERTIFICATE = Path(__file__)
"""A file that exists; the pipe beside it is rejected before it is read."""


def connect(settings: ClusterSettings) -> None:
    open_pool(load(settings).endpoint, 1, 5.0, 0)


def connect_with(section: str, **fields: str) -> None:
    """Connect with a kubeconfig whose cluster or user has these fields."""
    entries = {"clusters": {"server": "https://localhost:6443"}, "users": {}}
    entries[section].update(fields)
    cluster, user = entries.values()
    content = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": user}],
    }
    connect(ClusterSettings(kubeconfig=content))


def cluster_with(**options: Any) -> None:
    connect(ClusterSettings(host="https://localhost:6443", api_key="token", **options))


def open_engine(pipe: str) -> None:
    folder = Path(pipe).parent / "engine"
    folder.mkdir()
    (folder / "ca.pem").symlink_to(pipe)
    EngineAdapter(find_endpoint(DockerSettings(host="tcp://localhost:2376", cert_path=str(folder)), {}), 5.0)


READERS: dict[str, Callable[[str], object]] = {
    "kubeconfig": lambda pipe: connect(ClusterSettings(kubeconfig=pipe)),
    "ca_cert": lambda pipe: cluster_with(ca_cert=pipe),
    "client_cert": lambda pipe: cluster_with(client_cert=pipe, client_key=str(CERTIFICATE)),
    "client_key": lambda pipe: cluster_with(client_cert=str(CERTIFICATE), client_key=pipe),
    "certificate-authority": lambda pipe: connect_with("clusters", **{"certificate-authority": pipe}),
    "tokenFile": lambda pipe: connect_with("users", tokenFile=pipe),
    "cluster information of plugins": lambda pipe: run_plugin(
        {"command": "true", "apiVersion": "client.authentication.k8s.io/v1", "provideClusterInfo": True},
        {"certificate-authority": pipe},
    ),
    "ca_cert of an upstream": lambda pipe: TlsFiles(authorities=(pipe,)).context(True),
    "REGISTRY_AUTH_FILE": lambda pipe: find_credentials("a.example.com", "b", {"REGISTRY_AUTH_FILE": pipe}),
    "docker_cert_path": open_engine,
    "lock_file": lambda pipe: ImageLock(Path(pipe), enforced=False),
    "src": lambda pipe: read_options(None, pipe),
}
"""What reads a file that the user names."""


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipe without a writer."""
    monkeypatch.setattr(file_access, "_PIPE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.mark.parametrize("reader", READERS)
def test_pipe_without_writer_is_error_in_time(pipe: str, reader: str) -> None:
    raised: list[BaseException] = []

    def read() -> None:
        try:
            READERS[reader](pipe)
        except (K8scrError, OSError) as error:
            raised.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)

    assert len(raised) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_content_of_process_substitution_is_kubeconfig(seconds: float) -> None:
    content = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://a.example.com"}}],
    }
    reader, writer = os.pipe()

    def write() -> None:
        os.write(writer, json.dumps(content).encode())
        os.close(writer)

    timer = threading.Timer(seconds, write)
    timer.start()
    if not seconds:
        timer.join()

    assert load(ClusterSettings(kubeconfig=f"/dev/fd/{reader}")).endpoint.base_url == "https://a.example.com:443"

    timer.join()
    os.close(reader)


def test_pipe_whose_writer_does_not_close_it_is_error_in_time(pipe: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"apiVersion")

    with pytest.raises(TimeoutError, match=r"not complete within 0\.2 s"):
        read_small(f"/dev/fd/{reader}")

    os.close(reader)
    os.close(writer)


def test_endless_file_is_read_up_to_limit() -> None:
    assert len(read_small("/dev/zero", 1000)) == 1001
