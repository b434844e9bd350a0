# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of tests that verify signatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.signed_images import KeyPair, key_pair
from unit.plugins.module_utils.support.upstream_servers import settings, source

Push = Callable[..., dict[str, Any]]


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """The key pair of the signer."""
    return key_pair(tmp_path / "team.pub")


@pytest.fixture
def verified(push: Push, upstream: RegistryServer, pair: KeyPair) -> Push:
    """Pushes an image of the upstream registry, whose signature is verified with the signer's key."""

    def run(*images: Any, **options: Any) -> dict[str, Any]:
        policies = [{"match": "*", "cosign_key": str(pair.public)}]
        return push(*(images or [source(upstream)]), upstreams=settings(upstream), verify=policies, **options)

    return run
