# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A layer that is compressed on the way arrives whole over lines that are not."""

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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.chunk_size import ChunkSize
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused
from unit.plugins.module_utils.support.stores import content_of

MIB = 1 << 20
LAYER = hashlib.shake_256(b"layer").digest(6 * MIB)
DESCRIPTOR = Descriptor(OCI_LAYER, digest_of(LAYER), len(LAYER))


@pytest.fixture
def repository(registry: Registry) -> Repository:
    """A repository, empty at first."""
    return Repository(registry, "team/app")


def upload(repository: Repository) -> Descriptor:
    """Store a layer that compression makes no smaller."""
    compression = find_compression("gzip")
    assert compression is not None
    descriptor, mounted = repository.put_compressed(
        DESCRIPTOR, CompressedContent(content_of(LAYER), DESCRIPTOR, compression)
    )
    assert not mounted
    return descriptor


def content(server: RegistryServer, descriptor: Descriptor) -> bytes:
    """What the registry has of the layer, unpacked."""
    return gzip.decompress(server.blobs["team/app"][descriptor.digest])


def verbs(server: RegistryServer) -> list[str]:
    """The verbs of the requests so far."""
    return [request.partition(" ")[0] for request in server.asked("POST", "PATCH", "PUT", "GET", "HEAD")]


def test_a_layer_is_sent_in_one_request_before_its_digest_is_known(
    server: RegistryServer, repository: Repository
) -> None:
    descriptor = upload(repository)

    assert content(server, descriptor) == LAYER
    assert descriptor.size == len(server.blobs["team/app"][descriptor.digest])
    assert verbs(server) == ["POST", "PATCH", "PUT"]


def test_an_upload_that_is_cut_goes_on_where_it_was(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_an_upload_whose_session_is_lost_begins_anew(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"), times=1)

    assert content(server, upload(repository)) == LAYER


def test_a_layer_whose_last_answer_was_lost_is_not_sent_again(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _answer: Answer(500), times=1)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"))

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "HEAD"]


def test_an_upload_that_only_has_to_be_ended_is_ended(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", Answer(503), times=1)

    assert content(server, upload(repository)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "PUT"]


def test_requests_have_the_size_that_is_asked_for(server: RegistryServer, registry: Registry) -> None:
    registry.chunks = ChunkSize(2 * MIB)

    assert content(server, upload(Repository(registry, "team/app"))) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]


def test_requests_get_smaller_when_large_ones_do_not_get_through(
    server: RegistryServer, repository: Repository
) -> None:
    server.fail("PATCH", "/blobs/uploads/", Answer(413), times=1)

    assert content(server, upload(repository)) == LAYER
    assert repository.store.chunks.size is not None
    assert repository.store.chunks.size < len(LAYER)


@pytest.fixture
def stopped(server: RegistryServer, registry: Registry, tmp_path: Path) -> Repository:
    """The repository, for the run after one that ended in the middle of the upload."""
    registry.records = UploadRecords(tmp_path, "cluster")
    registry.retries = Retries(0.0)
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    with pytest.raises(K8scrError):
        upload(Repository(registry, "team/app"))
    server.requests.clear()
    return Repository(registry, "team/app")


def test_a_push_that_was_stopped_goes_on_in_the_next_run(server: RegistryServer, stopped: Repository) -> None:
    assert content(server, upload(stopped)) == LAYER
    assert verbs(server) == ["GET", "PATCH", "PUT"]


def test_what_another_compressor_began_is_begun_anew(
    server: RegistryServer, stopped: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)

    assert content(server, upload(stopped)) == LAYER
    assert verbs(server) == ["POST", "PATCH", "PUT"]
