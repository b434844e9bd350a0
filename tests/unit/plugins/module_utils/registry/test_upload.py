# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob uploads."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    DigestMismatchError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import LARGE, SMALL, send
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import blob, content_of


def test_upload_of_small_blob_sends_two_requests(server: RegistryServer, repository: Repository) -> None:
    assert not send(repository, SMALL)

    assert server.blobs["team/app"] == {digest_of(SMALL): SMALL}
    assert server.received("POST", "PATCH", "PUT") == [
        "POST /v2/team/app/blobs/uploads/",
        "PUT /v2/team/app/blobs/uploads/0",
    ]


def test_upload_of_large_blob_is_streamed(server: RegistryServer, repository: Repository) -> None:
    assert not send(repository, LARGE)

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}
    assert [request.partition(" ")[0] for request in server.received("POST", "PATCH", "PUT")] == [
        "POST",
        "PATCH",
        "PUT",
    ]


def test_upload_of_empty_blob(server: RegistryServer, repository: Repository) -> None:
    send(repository, b"")

    assert server.blobs["team/app"] == {digest_of(b""): b""}


def test_upload_mounts_blob_of_other_repository(server: RegistryServer, repository: Repository) -> None:
    server.blobs["other"] = {digest_of(LARGE): LARGE}

    assert send(repository, LARGE, mount_from="other")

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}
    assert server.received("POST", "PATCH", "PUT") == ["POST /v2/team/app/blobs/uploads/"]


def test_upload_sends_content_if_registry_does_not_mount(server: RegistryServer, repository: Repository) -> None:
    server.mounts = False
    server.blobs["other"] = {digest_of(LARGE): LARGE}

    assert not send(repository, LARGE, mount_from="other")

    assert server.blobs["team/app"] == {digest_of(LARGE): LARGE}


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_upload_reports_digest_mismatch(server: RegistryServer, repository: Repository, content: bytes) -> None:
    with pytest.raises(DigestMismatchError, match="uploaded to team/app: the registry responded with 400: digest"):
        repository.put_blob(blob(digest_of(b"other"), content), content_of(content))

    assert "team/app" not in server.blobs


def test_upload_retries_request_that_opens_session(server: RegistryServer, repository: Repository) -> None:
    # The API server closes a connection that it wanted to use again: two or three of a hundred, under stress.
    server.fail("POST", "/blobs/uploads/", Response(500, {}, b"EOF"), times=2)

    send(repository, SMALL)

    assert len(server.received("POST")) == 3


def test_upload_stops_after_three_internal_errors(server: RegistryServer, repository: Repository) -> None:
    server.fail("POST", "/blobs/uploads/", error_response(500, "UNKNOWN", "unexpected state"))

    with pytest.raises(RegistryError, match=r"responded with 500: unexpected state. Check the registry's log"):
        send(repository, SMALL)

    assert len(server.received("POST")) == 3


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
def test_upload_rejects_location_outside_repository(
    server: RegistryServer, repository: Repository, location: str
) -> None:
    server.fail("POST", "/blobs/uploads/", Response(202, {"Location": location}))

    with pytest.raises(RegistryError, match="returned a Location that is not an upload of this repository"):
        send(repository, SMALL)

    assert len(server.requests) == 1


def test_upload_ignores_host_of_location(server: RegistryServer, repository: Repository) -> None:
    # A registry behind a proxy may have another host name than the proxy.
    server.fail(
        "POST",
        "/blobs/uploads/",
        lambda response: replace(
            response, headers={"Location": response.headers["Location"].replace(server.url, "http://evil.example.com")}
        ),
    )

    send(repository, SMALL)

    assert digest_of(SMALL) in server.blobs["team/app"]


def test_upload_error_does_not_show_location(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(403, "DENIED"))

    with pytest.raises(RegistryError) as failure:
        send(repository, SMALL)

    assert "_state" not in str(failure.value)
    assert "secret" not in str(failure.value)


def test_upload_reports_early_response(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", error_response(413, "SIZE_INVALID", "too long"), early=True)

    with pytest.raises(RegistryError, match=r"responded with 413: too long"):
        send(repository, LARGE)


def test_upload_reports_unresponsive_registry(server: RegistryServer, registry: Registry) -> None:
    def sleep(response: Response) -> Response:
        time.sleep(0.3)
        return response

    server.fail("POST", "/blobs/uploads/", sleep)
    impatient = Registry(registry.session, server.url, "the registry", (0.1, 0.1), Retries(0.1))

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        send(Repository(impatient, "team/app"), SMALL)
