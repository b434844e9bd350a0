# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests while the registry collects garbage and is read-only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import LARGE, SMALL, send
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import put

_READ_ONLY = error_response(405, "UNSUPPORTED", "The operation is unsupported.")


def during_collection(state: str = "running") -> Response:
    """Return the response of a read-only registry during a garbage collection."""
    return replace(_READ_ONLY, headers={**_READ_ONLY.headers, "K8scr-Collection": state})


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_upload_completes_after_garbage_collection(server: RegistryServer, repository: Repository, method: str) -> None:
    server.fail(method, "/blobs/uploads/", during_collection(), times=6)

    send(repository, LARGE)

    assert list(server.blobs["team/app"].values()) == [LARGE]


def test_manifest_is_stored_after_garbage_collection(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("PUT", "/manifests/", during_collection(), times=6)

    put(repository, image, "1")

    assert server.digest_of("team/app", "1") == image.digest


def test_upload_fails_if_garbage_collection_takes_longer_than_retry_timeout(
    server: RegistryServer, registry: Registry, repository: Repository
) -> None:
    registry.retries.seconds = 0.5
    server.fail("POST", "/blobs/uploads/", during_collection())

    with pytest.raises(
        RegistryError, match=r"garbage collection is running in the registry\. Run again when"
    ) as failure:
        send(repository, SMALL)

    assert "read-only" not in str(failure.value)


@pytest.mark.parametrize("state", ["reader", "id=5a status=ok seconds=2", ""])
def test_read_only_port_is_not_retried(server: RegistryServer, repository: Repository, state: str) -> None:
    server.fail("POST", "/blobs/uploads/", during_collection(state))

    with pytest.raises(RegistryError, match="use its writable port"):
        send(repository, SMALL)

    assert len(server.received("POST")) == 1
