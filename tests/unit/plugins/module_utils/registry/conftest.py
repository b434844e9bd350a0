# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests of registries: a repository, an upstream registry and its token server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.upstream_servers import TokenServer


@pytest.fixture
def repository(registry: Registry) -> Repository:
    """An empty repository."""
    return Repository(registry, "team/app")


@pytest.fixture
def upstream(image: Image) -> Iterator[RegistryServer]:
    """A registry with ``image`` as team/app:1."""
    with RegistryServer().running() as running:
        running.fill("team/app", "1", image)
        yield running


@pytest.fixture
def tokens(upstream: RegistryServer) -> Iterator[TokenServer]:
    """The token server of ``upstream``."""
    with TokenServer().running() as running:
        upstream.guard = running
        yield running
