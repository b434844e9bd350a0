# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Resumed uploads and downloads, retries, and smaller requests after resets and rejections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DigestMismatchError,
    K8scrError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import ChunkSize, Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import RetryLog
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import blob, content_of, read_blob

IN_FRONT = {"Docker-Distribution-Api-Version": "", "Audit-Id": ""}
"""Changes of headers in a response of a proxy in front of the API server."""
MIB = 1 << 20
LARGE = bytes(range(256)) * (6 * MIB // 256)
BLOB = blob(digest_of(LARGE), LARGE)


def upload(repository: Repository) -> None:
    """Upload a blob of 6 MiB."""
    repository.put_blob(BLOB, content_of(LARGE))


def methods(server: RegistryServer) -> list[str]:
    """Return the methods of the requests since the last call."""
    return [request.partition(" ")[0] for request in server.received("POST", "PATCH", "PUT", "GET", "HEAD")]


def test_upload_resumes_at_offset_after_reset(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert methods(server) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_upload_restarts_after_lost_session(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"))

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert methods(server) == ["POST", "PATCH", "GET", "HEAD", "POST", "PATCH", "PUT"]


def test_upload_is_not_repeated_after_lost_response(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _response: error_response(502, "UNKNOWN"), times=1)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"))

    upload(repository)

    assert methods(server) == ["POST", "PATCH", "PUT", "GET", "HEAD"]


def test_upload_looks_up_blob_until_registry_responds(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _response: error_response(502, "UNKNOWN"), times=1)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"))
    server.fail("HEAD", "/blobs/sha256:", error_response(502, "UNKNOWN"), times=1)

    upload(repository)

    assert methods(server) == ["POST", "PATCH", "PUT", "GET", "HEAD", "HEAD"]


@pytest.mark.parametrize("status", [408, 413, 502, 504, 524])
@pytest.mark.parametrize("headers", [{}, IN_FRONT], ids=["behind the API server", "in front of it"])
def test_upload_sends_smaller_requests_after_rejection(
    server: RegistryServer, repository: Repository, headers: dict[str, str], status: int
) -> None:
    server.fail("PATCH", "/blobs/uploads/", Response(status, headers, b"too large"), times=2)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    # Requests of 6 and 3 MiB fail; the blob then takes four of 1.5 MiB.
    assert methods(server).count("PATCH") == 2 + 4


def test_upload_sends_smaller_requests_after_repeated_resets(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=0, times=3)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert repository.store.chunks.size is not None


def test_upload_keeps_request_size_when_registry_crashes(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=0, times=2)
    server.fail("GET", "/blobs/uploads/", error_response(503, "UNAVAILABLE"), times=1)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert repository.store.chunks.size is None


def test_upload_stays_below_limit_after_resets_with_lost_sessions(
    server: RegistryServer, repository: Repository
) -> None:
    # zot does this with requests that take longer than a minute.
    content = bytes(64 * MIB)
    server.cut("PATCH", "/blobs/uploads/", after=8 * MIB, times=2)
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_UNKNOWN"))

    repository.put_blob(blob(digest_of(content), content), content_of(content))

    assert repository.store.chunks.size is not None
    assert repository.store.chunks.size < 16 * MIB


def test_upload_fails_when_registry_rejects_one_mebibyte(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", Response(413, {}, b"too large"))

    with pytest.raises(RegistryError, match=r"responded with 413.*limits the size of requests"):
        upload(repository)

    assert repository.store.chunks.size == MIB


def test_upload_sends_chunks_of_configured_size(server: RegistryServer, registry: Registry) -> None:
    client = Registry(registry.session, server.url, chunks=ChunkSize(2 * MIB))

    upload(Repository(client, "team/app"))

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert methods(server) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]


def test_resumed_upload_restarts_after_digest_mismatch(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("PUT", "/blobs/uploads/", error_response(400, "DIGEST_INVALID"), times=1)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_upload_of_damaged_source_is_not_retried(server: RegistryServer, repository: Repository) -> None:
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))

    assert methods(server) == ["POST", "PATCH", "PUT"]


def test_resumed_upload_of_damaged_source_restarts_once(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))

    # The resumed session, and a new one.
    assert methods(server).count("PUT") == 2


def test_upload_of_damaged_source_reports_mismatch_after_other_failures(
    server: RegistryServer, repository: Repository
) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(503, "UNAVAILABLE"), times=2)
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_upload_ends_at_size_of_blob_when_source_is_longer(
    server: RegistryServer, repository: Repository, size: int
) -> None:
    # With a client certificate, further requests on the connection would have the user's permissions.
    content = b"x" * size
    request = b"DELETE /v2/team/app/manifests/1 HTTP/1.1\r\nHost: registry\r\nContent-Length: 0\r\n\r\n"

    repository.put_blob(blob(digest_of(content), content), content_of(content + request))
    repository.resolve("1")

    assert server.blobs["team/app"] == {digest_of(content): content}
    assert server.received("DELETE") == []


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_upload_fails_when_source_is_shorter(server: RegistryServer, repository: Repository, size: int) -> None:
    content = b"x" * size

    with pytest.raises(DigestMismatchError, match=f"blob from the test ended after {size - 1} of {size} bytes"):
        repository.put_blob(blob(digest_of(content), content), content_of(content[:-1]))

    assert "team/app" not in server.blobs


def test_upload_fails_after_three_lost_sessions(server: RegistryServer, registry: Registry) -> None:
    retries = Retries(600, sleep=lambda _seconds: None)
    client = Registry(registry.session, server.url, retries=retries, chunks=ChunkSize(2 * MIB))
    server.fail("PATCH", "/blobs/uploads/", lambda response: _lose_every_second_chunk(server, response))

    with pytest.raises(RegistryError, match="responded with 404"):
        upload(Repository(client, "team/app"))

    assert methods(server).count("POST") == 3


def _lose_every_second_chunk(server: RegistryServer, response: Response) -> Response:
    patches = [request for request in server.requests if request.method == "PATCH"]
    return error_response(404, "BLOB_UPLOAD_UNKNOWN") if len(patches) % 2 == 0 else response


def test_retry_log_counts_retries_of_upload(server: RegistryServer, repository: Repository) -> None:
    server.fail("POST", "/blobs/uploads/", Response(503, {}, b"busy"), times=2)
    log = RetryLog()
    repository.store.retries.on_retry = log.retried

    upload(repository)

    (entry,) = log.entries
    assert entry["what"] == f"blob {BLOB.digest} to team/app"
    assert "responded with 503" in entry["why"]
    assert entry["times"] == 2


def test_first_request_outlasts_registry_that_is_starting(server: RegistryServer, repository: Repository) -> None:
    server.fail("HEAD", "", Response(503), times=4)

    assert repository.has_blob(BLOB) is False
    assert methods(server) == ["HEAD"] * 5


def test_upload_waits_for_time_in_retry_after(server: RegistryServer, registry: Registry) -> None:
    slept: list[float] = []
    server.fail("POST", "/blobs/uploads/", Response(429, {"Retry-After": "7"}), times=1)
    client = Registry(registry.session, server.url, retries=Retries(60.0, sleep=slept.append))

    upload(Repository(client, "team/app"))

    assert slept == [7.0]


def stop_and_push_again(server: RegistryServer, registry: Registry, folder: Path, retries: Retries) -> None:
    """Push a blob until the faults of the registry stop the push, then push it again without faults."""
    records = UploadRecords(folder, "cluster")
    stopped = Registry(registry.session, server.url, retries=retries, records=records)
    with pytest.raises(K8scrError):
        upload(Repository(stopped, "team/app"))
    server.faults.clear()
    server.received()
    upload(Repository(Registry(registry.session, server.url, records=records), "team/app"))


def test_upload_resumes_in_next_run_after_stop(server: RegistryServer, registry: Registry, tmp_path: Path) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=4 * MIB, times=1_000)

    stop_and_push_again(server, registry, tmp_path / "uploads", Retries(0.0))

    assert methods(server) == ["GET", "PATCH", "PUT"]
    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert list((tmp_path / "uploads").iterdir()) == []


def test_upload_resumes_in_next_run_after_lost_session_and_stop(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    server.fail("PATCH", "/blobs/uploads/", Response(404), times=1, early=True)
    server.fail("PATCH", "/blobs/uploads/", Response(403), early=True)

    stop_and_push_again(server, registry, tmp_path / "uploads", Retries(8.0, sleep=lambda _: None))

    assert methods(server) == ["GET", "PATCH", "PUT"]


def test_upload_restarts_when_recorded_session_is_lost(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    records = UploadRecords(tmp_path / "uploads", "cluster")
    with records.open("team/app", BLOB.digest) as record:
        record.remember("/v2/team/app/blobs/uploads/gone?_state=secret")

    upload(Repository(Registry(registry.session, server.url, records=records), "team/app"))

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_upload_ignores_recorded_session_of_other_repository(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    records = UploadRecords(tmp_path / "uploads", "cluster")
    with records.open("team/app", BLOB.digest) as record:
        record.remember("/v2/other/blobs/uploads/0")

    upload(Repository(Registry(registry.session, server.url, records=records), "team/app"))

    assert [request for request in server.received("GET", "PATCH") if "/other/" in request] == []
    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_download_resumes_after_reset(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {BLOB.digest: LARGE}
    server.fail("GET", "/blobs/", lambda response: replace(response, truncated=True), times=2)

    assert read_blob(repository, BLOB) == LARGE

    assert len(server.received("GET")) == 3


def test_download_rejects_other_range_than_requested(server: RegistryServer, repository: Repository) -> None:
    server.fail("GET", "/blobs/", Response(206, {"Content-Range": f"bytes 0-99/{len(LARGE)}"}, LARGE[:100]))

    with pytest.raises(RegistryError, match="another range than requested"):
        read_blob(repository, BLOB, 50)
