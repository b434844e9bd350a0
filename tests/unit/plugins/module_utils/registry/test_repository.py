# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of a registry, with one that does as it should and with some that do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    DigestMismatchError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import MAXIMUM_SIZE, parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.images import Image, encode
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused
from unit.plugins.module_utils.support.stores import blob, content_of, put, read_blob, read_image

SMALL = b"a small blob"
LARGE = b"0123456789abcdef" * ((3 << 19) // 16)


@pytest.fixture
def repository(registry: Registry) -> Repository:
    """A repository, empty at first."""
    return Repository(registry, "team/app")


def send(repository: Repository, content: bytes, mount_from: str | None = None) -> bool:
    """Store a blob."""
    return repository.put_blob(blob(digest_of(content), content), content_of(content), mount_from)


def without(*headers: str) -> Callable[[Answer], Answer]:
    """Return what takes headers out of an answer."""
    return lambda answer: replace(answer, headers={**answer.headers, **dict.fromkeys(headers, "")})


def test_an_image_that_was_pushed_is_pulled_as_it_was(repository: Repository, multi: Image) -> None:
    put(repository, multi, "1")

    root = repository.resolve("1")

    assert root == multi.root
    assert read_image(repository, multi.root) == multi.contents


def test_a_tag_is_looked_up_with_one_request_for_no_content(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fill("team/app", "1", image)

    assert repository.resolve("1") == image.root
    assert server.asked("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_a_tag_that_is_not_there_is_none(repository: Repository) -> None:
    assert repository.resolve("1") is None


@pytest.mark.parametrize("header", ["Docker-Content-Digest", "Content-Type"])
def test_what_an_answer_to_head_does_not_say_the_manifest_says(
    server: RegistryServer, repository: Repository, image: Image, header: str
) -> None:
    server.fill("team/app", "1", image)
    server.fail("HEAD", "/manifests/", without(header))

    found = repository.resolve("1")

    assert found is not None
    assert found.digest == image.digest


def test_a_digest_that_is_none_is_not_believed(server: RegistryServer, repository: Repository, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fail("HEAD", "/manifests/", lambda answer: replace(answer, headers={"Docker-Content-Digest": "sha256:../x"}))

    assert repository.resolve("1") == image.root


@pytest.mark.parametrize("status", [301, 307, 401, 403])
def test_a_registry_that_does_not_tell_is_an_error_not_an_absent_image(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    server.fail("HEAD", "/manifests/", Answer(status, {"Location": f"{server.url}/v2/other/manifests/1"}))

    with pytest.raises(RegistryError, match=f"image team/app:1 cannot be looked up: the registry answered {status}"):
        repository.resolve("1")

    assert server.asked("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_a_manifest_that_is_not_what_was_asked_for_is_damaged(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", other_image)
    server.manifests["team/app"][image.digest] = server.manifests["team/app"]["1"]

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} from repository team/app in the registry"):
        repository.fetch_manifest(image.root)


def test_a_manifest_beyond_the_limit_is_not_read_on(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("GET", "/manifests/", Answer(200, {}, b" " * (MAXIMUM_SIZE * 4)))

    with pytest.raises(SourceError, match=f"more than the {MAXIMUM_SIZE} that registries accept"):
        repository.fetch_manifest(image.root)


def test_a_manifest_that_ends_early_is_a_lost_connection(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "/manifests/", lambda answer: replace(answer, truncated=True))

    with pytest.raises(ConnectionLostError, match="connection was lost while reading"):
        repository.fetch_manifest(image.root)


def test_a_manifest_of_schema_1_is_told_with_what_to_do(server: RegistryServer, repository: Repository) -> None:
    content = encode({"schemaVersion": 1, "name": "team/app"})
    server.manifests["team/app"] = {digest_of(content): ("application/json", content)}

    with pytest.raises(SourceError, match=r"schema 1.*Pull and push the image once"):
        repository.fetch_manifest(Descriptor("application/json", digest_of(content), len(content)))


def test_a_missing_manifest_is_told(repository: Repository, image: Image) -> None:
    with pytest.raises(SourceError, match=f"repository team/app in the registry lacks the manifest {image.digest}"):
        repository.fetch_manifest(image.root)


def test_a_missing_blob_is_told(repository: Repository) -> None:
    with pytest.raises(SourceError, match=f"lacks the blob {digest_of(SMALL)}"):
        read_blob(repository, blob(digest_of(SMALL), SMALL))


def test_a_blob_is_read_from_the_middle_on(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {digest_of(LARGE): LARGE}

    assert read_blob(repository, blob(digest_of(LARGE), LARGE), len(LARGE) - 7) == LARGE[-7:]


def test_of_a_registry_that_cannot_read_from_the_middle_the_beginning_is_left_out(
    server: RegistryServer, repository: Repository
) -> None:
    server.blobs["team/app"] = {digest_of(SMALL): SMALL}
    server.fail("GET", "/blobs/", Answer(200, {}, SMALL))

    assert read_blob(repository, blob(digest_of(SMALL), SMALL), 5) == SMALL[5:]


def test_a_blob_that_always_ends_at_its_beginning_is_a_lost_connection(
    server: RegistryServer, repository: Repository
) -> None:
    server.blobs["team/app"] = {digest_of(LARGE): LARGE}
    server.fail("GET", "/blobs/", lambda answer: replace(answer, body=b"x", truncated=True))

    with pytest.raises(ConnectionLostError, match=f"lost while reading blob {digest_of(LARGE)}.*Run again"):
        read_blob(repository, blob(digest_of(LARGE), LARGE))


def test_a_redirect_to_elsewhere_is_not_followed(server: RegistryServer, repository: Repository) -> None:
    server.fail("GET", "/blobs/", Answer(307, {"Location": f"{server.url}/v2/secrets/blobs/x"}))

    with pytest.raises(RegistryError, match="the registry answered 307"):
        read_blob(repository, blob(digest_of(SMALL), SMALL))

    assert len(server.asked("GET")) == 1


def test_what_is_there_is_known_without_reading_it(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.fill("team/app", None, image)

    assert repository.has_manifest(image.root)
    assert repository.has_blob(blob(digest_of(image.config), image.config))
    assert not repository.has_manifest(other_image.root)
    assert not repository.has_blob(blob(digest_of(other_image.config), other_image.config))
    assert server.asked("GET") == []


@pytest.mark.parametrize("delta", [-1, 1])
def test_repository_has_no_content_of_size_other_than_declared(
    server: RegistryServer, repository: Repository, image: Image, delta: int
) -> None:
    server.fill("team/app", None, image)
    config = blob(digest_of(image.config), image.config)

    assert not repository.has_blob(replace(config, size=config.size + delta))
    assert not repository.has_manifest(replace(image.root, size=image.root.size + delta))


@pytest.mark.parametrize("stated", ["0", ""])
def test_repository_is_read_where_registry_does_not_state_sizes(
    server: RegistryServer, repository: Repository, image: Image, stated: str
) -> None:
    server.fill("team/app", "1", image)
    server.fail("HEAD", "/", lambda answer: replace(answer, headers={**answer.headers, "Content-Length": stated}))

    assert repository.resolve("1") == image.root
    assert repository.has_blob(blob(digest_of(image.config), image.config))


def test_a_refusal_to_say_what_is_there_is_an_error(server: RegistryServer, repository: Repository) -> None:
    server.fail("HEAD", "/blobs/", Answer(403))

    with pytest.raises(RegistryError, match="cannot be looked up in team/app: the registry answered 403"):
        repository.has_blob(blob(digest_of(SMALL), SMALL))


def test_a_small_blob_takes_two_requests(server: RegistryServer, repository: Repository) -> None:
    assert not send(repository, SMALL)

    assert server.blobs["team/app"] == {digest_of(SMALL): SMALL}
    assert server.asked("POST", "PATCH", "PUT") == [
        "POST /v2/team/app/blobs/uploads/",
        "PUT /v2/team/app/blobs/uploads/0",
    ]


def test_a_large_blob_is_streamed(server: RegistryServer, repository: Repository) -> None:
    assert not send(repository, LARGE)

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}
    assert [request.partition(" ")[0] for request in server.asked("POST", "PATCH", "PUT")] == ["POST", "PATCH", "PUT"]


def test_an_empty_blob_is_a_blob(server: RegistryServer, repository: Repository) -> None:
    send(repository, b"")

    assert server.blobs["team/app"] == {digest_of(b""): b""}


def test_a_blob_of_another_repository_is_mounted_without_its_content(
    server: RegistryServer, repository: Repository
) -> None:
    server.blobs["other"] = {digest_of(LARGE): LARGE}

    assert send(repository, LARGE, mount_from="other")

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}
    assert server.asked("POST", "PATCH", "PUT") == ["POST /v2/team/app/blobs/uploads/"]


def test_a_registry_that_does_not_mount_gets_the_content(server: RegistryServer, repository: Repository) -> None:
    server.mounts = False
    server.blobs["other"] = {digest_of(LARGE): LARGE}

    assert not send(repository, LARGE, mount_from="other")

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_content_that_the_registry_finds_damaged_is_told_apart(
    server: RegistryServer, repository: Repository, content: bytes
) -> None:
    with pytest.raises(DigestMismatchError, match="cannot be uploaded to team/app: the registry answered 400: digest"):
        repository.put_blob(blob(digest_of(b"other"), content), content_of(content))

    assert "team/app" not in server.blobs


def test_the_request_that_opens_an_upload_is_repeated(server: RegistryServer, repository: Repository) -> None:
    # The API server closes a connection that it wanted to use again: two or three of a hundred, under stress.
    server.fail("POST", "/blobs/uploads/", Answer(500, {}, b"EOF"), times=2)

    send(repository, SMALL)

    assert len(server.asked("POST")) == 3


def test_a_registry_that_is_at_fault_for_good_is_not_asked_for_ever(
    server: RegistryServer, repository: Repository
) -> None:
    server.fail("POST", "/blobs/uploads/", refused(500, "UNKNOWN", "unexpected state"))

    with pytest.raises(RegistryError, match=r"answered 500: unexpected state. Look into the registry's log"):
        send(repository, SMALL)

    assert len(server.asked("POST")) == 3


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/",
        "/v2/",
        "/v2/other/blobs/uploads/1",
        "/v2/team/app/manifests/1",
        "/v2/team/app/blobs/sha256:abc",
        "/v2/../../../../secrets",
        "/v2/team/app/blobs/uploads/",
        "/v2/team/app/blobs/uploads/..",
        "/v2/team/app/blobs/uploads/1/../../../../../secrets",
        "uploads/1",
        "http://[bad",
    ],
)
def test_a_location_that_is_no_upload_of_the_repository_is_not_followed(
    server: RegistryServer, repository: Repository, location: str
) -> None:
    server.fail("POST", "/blobs/uploads/", Answer(202, {"Location": location}))

    with pytest.raises(RegistryError, match="sent us to a place that is not an upload of this repository"):
        send(repository, SMALL)

    assert len(server.requests) == 1


def test_a_location_at_another_host_is_looked_for_at_the_registry(
    server: RegistryServer, repository: Repository
) -> None:
    # A registry behind a proxy names itself as it knows itself.
    server.fail(
        "POST",
        "/blobs/uploads/",
        lambda answer: replace(
            answer, headers={"Location": answer.headers["Location"].replace(server.url, "http://evil.example.com")}
        ),
    )

    send(repository, SMALL)

    assert digest_of(SMALL) in server.blobs["team/app"]


def test_what_the_registry_keeps_in_a_location_is_not_shown(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(403, "DENIED"))

    with pytest.raises(RegistryError) as failure:
        send(repository, SMALL)

    assert "_state" not in str(failure.value)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "wants credentials of its own"),
        (405, "read-only"),
        (413, "limits the length of requests"),
        (429, "run again later"),
        (507, "make room"),
    ],
)
def test_a_refusal_says_what_to_do(server: RegistryServer, repository: Repository, status: int, advice: str) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(status, "DENIED", "no"))

    with pytest.raises(RegistryError, match=f"blob {digest_of(SMALL)} .* answered {status}: no.*{advice}"):
        send(repository, SMALL)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_is_between_is_told_from_the_registry(server: RegistryServer, repository: Repository, status: int) -> None:
    server.fail("PUT", "/blobs/uploads/", Answer(status, {"Docker-Distribution-Api-Version": ""}, b"<h1>Sorry</h1>"))

    with pytest.raises(RegistryError, match=rf"something between here and .* answered {status}"):
        send(repository, SMALL)


def test_a_full_storage_is_told_as_one(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", refused(500, "UNKNOWN", "write /data/x: no space left on device"))

    with pytest.raises(RegistryError, match=r"no space left on device. The registry's storage is full; make room"):
        send(repository, SMALL)


def test_an_answer_before_the_body_was_sent_is_heard(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", refused(413, "SIZE_INVALID", "too long"), early=True)

    with pytest.raises(RegistryError, match=r"answered 413: too long"):
        send(repository, LARGE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[",
        b"[" * 60_000,
        b"null",
        b'{"errors": 7}',
        b'{"errors": {"a": 1}}',
        b'{"errors": [7]}',
        b'{"errors": [{"code": {}, "message": ["x"], "detail": 7}]}',
        b'{"errors": [{"code": "X", "message": "a\\nb\\u001b[31m"}]}',
        b"x" * (1 << 20),
    ],
)
def test_a_refusal_that_makes_no_sense_is_still_one_line(
    server: RegistryServer, repository: Repository, body: bytes
) -> None:
    server.fail("PUT", "/blobs/uploads/", Answer(502, {}, body))

    with pytest.raises(RegistryError, match="the registry answered 502") as failure:
        send(repository, SMALL)

    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1000


def test_a_registry_that_falls_silent_is_given_up(server: RegistryServer, registry: Registry) -> None:
    def sleep(answer: Answer) -> Answer:
        time.sleep(0.3)
        return answer

    server.fail("POST", "/blobs/uploads/", sleep)
    impatient = Registry(registry._session, server.url, "the registry", (0.1, 0.1), Retries(0.1))

    with pytest.raises(ConnectionLostError, match="fell silent"):
        send(Repository(impatient, "team/app"), SMALL)


def test_a_manifest_whose_blobs_are_missing_is_refused_by_the_registry(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    with pytest.raises(RegistryError, match=f"manifest {image.digest} cannot be put at 1: .* manifest blob unknown"):
        repository.publish(parse_manifest(image.contents[image.digest]), "1")

    assert server.digest_of("team/app", "1") is None


def test_a_manifest_without_a_tag_is_found_by_its_digest(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    put(repository, image, None)

    assert server.manifests["team/app"].keys() == {image.digest}


def test_a_manifest_that_was_stored_as_another_is_told(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail(
        "PUT", "/manifests/", lambda answer: replace(answer, headers={"Docker-Content-Digest": digest_of(b"other")})
    )

    with pytest.raises(RegistryError, match=f"stored manifest {image.digest} as {digest_of(b'other')}"):
        put(repository, image, "1")


def test_a_kind_of_manifest_that_the_registry_refuses_is_told(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("PUT", "/manifests/", refused(415, "MANIFEST_INVALID"))

    with pytest.raises(RegistryError, match=r"answered 415: .*convert the image to OCI media types"):
        put(repository, image, "1")


def test_one_connection_serves_many_requests(server: RegistryServer, repository: Repository) -> None:
    for number in range(20):
        send(repository, b"%d" % number)

    assert server.connections == 1
    assert len(server.blobs["team/app"]) == 20
