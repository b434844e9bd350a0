# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads and downloads go on where they were cut, and requests get smaller where large ones do not get through."""

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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.chunk_size import ChunkSize
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import RetryLog
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused
from unit.plugins.module_utils.support.stores import blob, content_of, read_blob

MIB = 1 << 20
LARGE = bytes(range(256)) * (6 * MIB // 256)
BLOB = blob(digest_of(LARGE), LARGE)


@pytest.fixture
def repository(registry: Registry) -> Repository:
    """A repository, empty at first."""
    return Repository(registry, "team/app")


def upload(repository: Repository) -> None:
    """Store a blob of 6 MiB."""
    repository.put_blob(BLOB, content_of(LARGE))


def verbs(server: RegistryServer) -> list[str]:
    """The verbs of the requests so far."""
    return [request.partition(" ")[0] for request in server.asked("POST", "PATCH", "PUT", "GET", "HEAD")]


def test_an_upload_that_is_cut_asks_how_far_it_got_and_goes_on(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert verbs(server) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_an_upload_whose_session_is_lost_begins_anew(server: RegistryServer, repository: Repository) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"))

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert verbs(server) == ["POST", "PATCH", "GET", "HEAD", "POST", "PATCH", "PUT"]


def test_a_blob_whose_last_answer_was_lost_is_not_sent_again(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _answer: refused(502, "UNKNOWN"), times=1)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"))

    upload(repository)

    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "HEAD"]


def test_a_blob_whose_last_answers_were_lost_is_asked_for_until_there_is_one(
    server: RegistryServer, repository: Repository
) -> None:
    server.fail("PUT", "/blobs/uploads/", lambda _answer: refused(502, "UNKNOWN"), times=1)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"))
    server.fail("HEAD", "/blobs/sha256:", refused(502, "UNKNOWN"), times=1)

    upload(repository)

    assert verbs(server) == ["POST", "PATCH", "PUT", "GET", "HEAD", "HEAD"]


@pytest.mark.parametrize("status", [413, 502, 504])
def test_requests_get_smaller_when_large_ones_do_not_get_through(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    server.fail("PATCH", "/blobs/uploads/", Answer(status, {}, b"too large"), times=2)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    # Half of six MiB, and half of that, which the blob then takes four of.
    assert verbs(server).count("PATCH") == 2 + 4


def test_connections_that_are_cut_again_and_again_make_requests_smaller(
    server: RegistryServer, repository: Repository
) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=0, times=3)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert repository.store.chunks.size is not None


def test_a_registry_that_dies_again_and_again_is_not_sent_smaller_requests(
    server: RegistryServer, repository: Repository
) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=0, times=2)
    server.fail("GET", "/blobs/uploads/", refused(503, "UNAVAILABLE"), times=1)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert repository.store.chunks.size is None


def test_what_is_cut_at_a_limit_and_forgotten_is_soon_sent_in_parts_that_stay_below(
    server: RegistryServer, repository: Repository
) -> None:
    # So does zot with requests that last longer than a minute.
    content = bytes(64 * MIB)
    server.cut("PATCH", "/blobs/uploads/", after=8 * MIB, times=2)
    server.fail("GET", "/blobs/uploads/", refused(404, "BLOB_UPLOAD_UNKNOWN"))

    repository.put_blob(blob(digest_of(content), content), content_of(content))

    assert repository.store.chunks.size is not None
    assert repository.store.chunks.size < 16 * MIB


def test_a_request_of_one_mebibyte_is_not_made_smaller(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", Answer(413, {}, b"too large"))

    with pytest.raises(RegistryError, match=r"responded with 413.*limits the size of requests"):
        upload(repository)

    assert repository.store.chunks.size == MIB


def test_chunks_have_the_size_that_is_asked_for(server: RegistryServer, registry: Registry) -> None:
    chunked = Registry(registry._session, server.url, chunks=ChunkSize(2 * MIB))

    upload(Repository(chunked, "team/app"))

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert verbs(server) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]


def test_what_was_damaged_on_the_way_in_a_session_with_a_past_is_sent_anew(
    server: RegistryServer, repository: Repository
) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    server.fail("PUT", "/blobs/uploads/", refused(400, "DIGEST_INVALID"), times=1)

    upload(repository)

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_what_is_damaged_at_the_source_is_not_sent_anew(server: RegistryServer, repository: Repository) -> None:
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))

    assert verbs(server) == ["POST", "PATCH", "PUT"]


def test_what_is_damaged_at_the_source_is_not_sent_for_ever_after_a_cut(
    server: RegistryServer, repository: Repository
) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=2 * MIB)
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))

    # The session with a past, and one without.
    assert verbs(server).count("PUT") == 2


def test_what_is_damaged_at_the_source_is_told_as_such_after_other_failures(
    server: RegistryServer, repository: Repository
) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(503, "UNAVAILABLE"), times=2)
    wrong = Descriptor(BLOB.media_type, digest_of(b"other"), BLOB.size)

    with pytest.raises(DigestMismatchError):
        repository.put_blob(wrong, content_of(LARGE))


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_what_a_source_has_too_much_does_not_become_a_request_of_its_own(
    server: RegistryServer, repository: Repository, size: int
) -> None:
    # With a client certificate, whatever follows on the connection is done in the user's name.
    content = b"x" * size
    smuggled = b"DELETE /v2/team/app/manifests/1 HTTP/1.1\r\nHost: registry\r\nContent-Length: 0\r\n\r\n"

    repository.put_blob(blob(digest_of(content), content), content_of(content + smuggled))
    repository.resolve("1")

    assert server.blobs["team/app"] == {digest_of(content): content}
    assert server.asked("DELETE") == []


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_a_source_that_has_too_little_is_told_without_waiting_for_more(
    server: RegistryServer, repository: Repository, size: int
) -> None:
    content = b"x" * size

    with pytest.raises(DigestMismatchError, match=f"blob from the test ended after {size - 1} of {size} bytes"):
        repository.put_blob(blob(digest_of(content), content), content_of(content[:-1]))

    assert "team/app" not in server.blobs


def test_an_upload_that_is_lost_again_and_again_is_given_up(server: RegistryServer, registry: Registry) -> None:
    patient = Retries(600, sleep=lambda _seconds: None)
    chunked = Registry(registry._session, server.url, retries=patient, chunks=ChunkSize(2 * MIB))
    server.fail("PATCH", "/blobs/uploads/", lambda answer: _second_is_lost(server, answer))

    with pytest.raises(RegistryError, match="responded with 404"):
        upload(Repository(chunked, "team/app"))

    assert verbs(server).count("POST") == 3


def _second_is_lost(server: RegistryServer, answer: Answer) -> Answer:
    patches = [request for request in server.requests if request.method == "PATCH"]
    return refused(404, "BLOB_UPLOAD_UNKNOWN") if len(patches) % 2 == 0 else answer


def test_retry_log_counts_retries_of_upload(server: RegistryServer, repository: Repository) -> None:
    server.fail("POST", "/blobs/uploads/", Answer(503, {}, b"busy"), times=2)
    log = RetryLog()
    repository.store.retries.on_retry = log.retried

    upload(repository)

    (entry,) = log.entries
    assert entry["what"] == f"blob {BLOB.digest} to team/app"
    assert "responded with 503" in entry["why"]
    assert entry["times"] == 2


def test_a_registry_that_wants_to_be_left_alone_is_left_alone(server: RegistryServer, registry: Registry) -> None:
    slept: list[float] = []
    server.fail("POST", "/blobs/uploads/", Answer(429, {"Retry-After": "7"}), times=1)
    patient = Registry(registry._session, server.url, retries=Retries(60.0, sleep=slept.append))

    upload(Repository(patient, "team/app"))

    assert slept == [7.0]


def stop_and_push_again(server: RegistryServer, registry: Registry, folder: Path, retries: Retries) -> None:
    """Push a blob while the registry has its faults, which stops the push, and once more without them."""
    records = UploadRecords(folder, "cluster")
    stopped = Registry(registry._session, server.url, retries=retries, records=records)
    with pytest.raises(K8scrError):
        upload(Repository(stopped, "team/app"))
    server.faults.clear()
    server.asked()
    upload(Repository(Registry(registry._session, server.url, records=records), "team/app"))


def test_a_push_that_was_stopped_goes_on_in_the_next_run(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    server.cut("PATCH", "/blobs/uploads/", after=4 * MIB, times=1_000)

    stop_and_push_again(server, registry, tmp_path / "uploads", Retries(0.0))

    assert verbs(server) == ["GET", "PATCH", "PUT"]
    assert server.blobs["team/app"] == {BLOB.digest: LARGE}
    assert list((tmp_path / "uploads").iterdir()) == []


def test_push_resumes_in_next_run_after_lost_session_and_stop(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    server.fail("PATCH", "/blobs/uploads/", Answer(404), times=1, early=True)
    server.fail("PATCH", "/blobs/uploads/", Answer(403), early=True)

    stop_and_push_again(server, registry, tmp_path / "uploads", Retries(8.0, sleep=lambda _: None))

    assert verbs(server) == ["GET", "PATCH", "PUT"]


def test_a_session_of_an_earlier_run_that_is_gone_is_begun_anew(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    records = UploadRecords(tmp_path / "uploads", "cluster")
    with records.open("team/app", BLOB.digest) as record:
        record.remember("/v2/team/app/blobs/uploads/gone?_state=secret")

    upload(Repository(Registry(registry._session, server.url, records=records), "team/app"))

    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_a_record_that_leads_elsewhere_is_not_followed(
    server: RegistryServer, registry: Registry, tmp_path: Path
) -> None:
    records = UploadRecords(tmp_path / "uploads", "cluster")
    with records.open("team/app", BLOB.digest) as record:
        record.remember("/v2/other/blobs/uploads/0")

    upload(Repository(Registry(registry._session, server.url, records=records), "team/app"))

    assert [request for request in server.asked("GET", "PATCH") if "/other/" in request] == []
    assert server.blobs["team/app"] == {BLOB.digest: LARGE}


def test_a_download_that_is_cut_goes_on_where_it_was(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {BLOB.digest: LARGE}
    server.fail("GET", "/blobs/", lambda answer: replace(answer, truncated=True), times=2)

    assert read_blob(repository, BLOB) == LARGE

    assert len(server.asked("GET")) == 3


def test_a_part_that_was_not_asked_for_is_refused(server: RegistryServer, repository: Repository) -> None:
    server.fail("GET", "/blobs/", Answer(206, {"Content-Range": f"bytes 0-99/{len(LARGE)}"}, LARGE[:100]))

    with pytest.raises(RegistryError, match="another range than requested"):
        read_blob(repository, BLOB, 50)
