# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of all unit tests of module_utils: images, registries, and tasks that push and pull."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from functools import partial, partialmethod
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import apply_wait, wait
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http import retry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from unit.plugins.module_utils.support.clock import Clock
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import (
    Image,
    layer,
    make_image,
    make_index,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tasks import connected, pull_from, push_to


@pytest.fixture(autouse=True)
def no_earlier_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the warnings of earlier tests, which Ansible keeps: their servers may have had the ports of this test's."""
    monkeypatch.setattr(warnings, "_global_warnings", type(warnings._global_warnings)())


@pytest.fixture(scope="session", autouse=True)
def no_system_authorities() -> Iterator[None]:
    """Hide the certificate authorities of the system. Each TLS context would load them, which takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of retries and polls, whose waits take no time."""
    clock = Clock()
    for module in (apply_wait, retry, wait):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(retry.Retries, "__init__", partialmethod(retry.Retries.__init__, sleep=clock.sleep))
    return clock


@pytest.fixture
def no_credentials(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without credentials and proxies."""
    for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")


@pytest.fixture
def image() -> Image:
    """An image of two layers."""
    return make_image(layer("bin/app", b"the program"), layer("etc/app.conf", b"its settings"))


@pytest.fixture
def other_image() -> Image:
    """An image with the same first layer as ``image``."""
    return make_image(layer("bin/app", b"the program"), layer("etc/app.conf", b"other settings"))


@pytest.fixture
def large_image() -> Image:
    """An image with a layer that is larger than ``full_disk`` allows, and that is uploaded in two requests."""
    return make_image(layer("bin/app", hashlib.shake_256(b"app").digest(3 << 19)))


@pytest.fixture
def multi() -> Image:
    """An image for two platforms with a common first layer."""
    shared = layer("etc/motd", b"welcome")
    return make_index(
        {
            f"linux/{architecture}": make_image(
                shared, layer("bin/app", architecture.encode()), architecture=architecture
            )
            for architecture in ("amd64", "arm64")
        }
    )


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """The cluster's registry, empty and running."""
    with RegistryServer().running() as running:
        yield running


@pytest.fixture
def collector(server: RegistryServer) -> FakeCollector:
    """The garbage collector of ``server``, which deletes as distribution 3 does."""
    return FakeCollector(server)


@pytest.fixture
def upstream() -> Iterator[RegistryServer]:
    """An upstream registry, empty and running."""
    with RegistryServer().running() as running:
        yield running


@pytest.fixture
def registry(server: RegistryServer) -> Iterator[ClusterRegistry]:
    """A client of ``server`` with the connections of the transport to an API server."""
    with connected(server.url) as client:
        yield client


@pytest.fixture
def full_disk() -> Iterator[None]:
    """A limit of 64 KiB for files. Writes fail as on a full disk, but with "File too large" as the reason."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def push(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Pushes images as k8scr_push does. Returns the result."""
    return partial(push_to, registry, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def pull(registry: Registry) -> Callable[..., dict[str, Any]]:
    """Pulls images as k8scr_pull does. Returns the result."""
    return partial(pull_from, registry)
