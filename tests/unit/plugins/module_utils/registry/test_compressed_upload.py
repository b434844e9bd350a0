# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads of layers that are compressed on the fly."""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.compression import (
    CompressedContent,
    find_compression,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_LAYER
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import ChunkSize, Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import content_of

MIB = 1 << 20
LAYER = hashlib.shake_256(b"layer").digest(6 * MIB)
DESCRIPTOR = Descriptor(OCI_LAYER, digest_of(LAYER), len(LAYER))


def upload(repository: Repository) -> Descriptor:
    """Store a layer of random bytes."""
    compression = find_compression("gzip")
    assert compression is not None
    descriptor, mounted = repository.put_compressed(
        DESCRIPTOR, CompressedContent(content_of(LAYER), DESCRIPTOR, compression)
    )
    assert not mounted
    return descriptor


def content(server: RegistryServer, descriptor: Descriptor) -> bytes:
    """Return the unpacked layer in the registry."""
    return gzip.decompress(server.blobs["team/app"][descriptor.digest])


def verbs(server: RegistryServer) -> list[str]:
    """Return the methods of the requests so far."""
    return [request.partition(" ")[0] for request in server.received("POST", "PATCH", "PUT", "GET", "HEAD")]


def test_upload_sends_layer_in_one_request_before_digest_is_known(
    server: RegistryServer, repository: Repository
) -> None:
    descriptor = upload(repository)

    assert content(server, descriptor) == LAYER
    assert descriptor.size == len(server.blobs["team/app"][descriptor.digest])
    assert verbs(server) == ["POST", "PATCH", "PUT"]


def test_upload_resumes_after_interruption(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_upload_restarts_after_lost_session(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"), times=1)

    assert content(server, upload(repository)) == LAYER


def test_upload_is_not_repeated_after_lost_response(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _response: Response(500), times=1)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"))

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "HEAD"]


def test_upload_only_completes_after_failed_last_request(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", Response(503), times=1)

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "PUT"]


def test_upload_sends_requests_of_chunk_size(server: RegistryServer, registry: Registry) -> None:
    registry.chunks = ChunkSize(2 * MIB)

    assert content(server, upload(Repository(registry, "team/app"))) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]


def test_upload_sends_smaller_requests_after_status_413(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", Response(413), times=1)

    assert content(server, upload(repository)) == LAYER
    assert repository.store.chunks.size is not None
    assert repository.store.chunks.size < len(LAYER)


@pytest.fixture
def stopped(server: RegistryServer, registry: Registry, tmp_path: Path) -> Repository:
    """The repository in the run after an interrupted upload."""
    registry.records = UploadRecords(tmp_path, "cluster")
    registry.retries = Retries(0.0)
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    with pytest.raises(K8scrError):
        upload(Repository(registry, "team/app"))
    server.requests.clear()
    return Repository(registry, "team/app")


def test_upload_resumes_in_next_run(server: RegistryServer, stopped: Repository) -> None:
    assert content(server, upload(stopped)) == LAYER
    assert verbs(server) == ["GET", "PATCH", "PUT"]


def test_upload_restarts_with_other_compressor(
    server: RegistryServer, stopped: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)

    assert content(server, upload(stopped)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT"]
