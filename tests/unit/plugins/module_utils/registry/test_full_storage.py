# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads to a registry whose storage is full, with the error responses of CNCF distribution and other servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError, StorageFullError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import LARGE, SMALL, send
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import put

_PATH = "/data/docker/registry/v2/repositories/team/app/_uploads/5a/startedat"
DETAILS = {
    "distribution 2.8, PATCH": f"write {_PATH}: no space left on device",
    "distribution 2.8, POST and manifest": {
        "DriverName": "filesystem",
        "Enclosed": {"Op": "write", "Path": _PATH, "Err": 28},
    },
    "distribution 2.8, PUT": {"Op": "write", "Path": _PATH, "Err": 28},
    "distribution 3": {"driver": "filesystem", "detail": f"write {_PATH}: no space left on device"},
    "quota of a file system": {"Op": "write", "Path": _PATH, "Err": 122},
    "quota of a file system, text": f"write {_PATH}: disk quota exceeded",
    "MinIO": "s3aws: XMinioStorageFull: Storage backend has reached its minimum free drive threshold",
    "Ceph": {"driver": "s3aws", "detail": "QuotaExceeded: status code: 403"},
}


def unknown_error(detail: Any) -> Response:
    """Return an error response of distribution for a failure of its storage."""
    error = {"code": "UNKNOWN", "message": "unknown error", "detail": detail}
    return Response(500, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode())


@pytest.mark.parametrize("detail", DETAILS.values(), ids=list(DETAILS))
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_upload_names_full_storage(server: RegistryServer, repository: Repository, method: str, detail: Any) -> None:
    server.fail(method, "/blobs/uploads/", unknown_error(detail))

    with pytest.raises(StorageFullError, match="The registry's storage is full; delete images with k8scr_prune"):
        send(repository, SMALL)

    assert len(server.received(method)) <= 4


@pytest.mark.parametrize("detail", DETAILS.values(), ids=list(DETAILS))
def test_manifest_names_full_storage(server: RegistryServer, repository: Repository, image: Image, detail: Any) -> None:
    server.fail("PUT", "/manifests/", unknown_error(detail))

    with pytest.raises(StorageFullError, match="The registry's storage is full"):
        put(repository, image, "1")


@pytest.mark.parametrize(
    "detail",
    [
        None,
        7,
        [],
        {},
        {"Err": 5, "Op": "write", "Path": _PATH},
        {"Err": True},
        {"Err": []},
        {"Err": "28"},
        {"Enclosed": 7},
        {"Enclosed": {"Enclosed": {"Err": 28}}},
        {"detail": {"Err": 28}},
        "input/output error",
    ],
)
def test_upload_does_not_name_full_storage_after_other_errors(
    server: RegistryServer, repository: Repository, detail: Any
) -> None:
    server.fail("PUT", "/blobs/uploads/", unknown_error(detail))

    with pytest.raises(RegistryError, match="responded with 500: unknown error") as failure:
        send(repository, SMALL)

    assert not isinstance(failure.value, StorageFullError)


def test_rate_limit_that_is_named_quota_is_no_full_storage(server: RegistryServer, repository: Repository) -> None:
    limit = error_response(429, "TOOMANYREQUESTS", "Quota exceeded for quota metric 'Requests per minute'")
    server.fail("POST", "/blobs/uploads/", limit)
    repository.store.retries.seconds = 0

    with pytest.raises(RegistryError, match="The registry limits the rate of requests") as failure:
        send(repository, SMALL)

    assert not isinstance(failure.value, StorageFullError)


def test_upload_succeeds_after_space_was_freed(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", unknown_error("no space left on device"), times=2)

    assert send(repository, LARGE) is False

    assert LARGE in server.blobs["team/app"].values()


def test_upload_discards_its_data_in_full_storage(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", store_half(server))

    with pytest.raises(StorageFullError):
        send(repository, LARGE)

    assert server.uploads == {}
    assert server.received("DELETE", "PUT") == ["DELETE /v2/team/app/blobs/uploads/0"]


def test_upload_discards_its_data_without_permission_to_delete(server: RegistryServer, repository: Repository) -> None:
    server.fail("PATCH", "/blobs/uploads/", store_half(server))
    server.fail("DELETE", "/blobs/uploads/", Response(403, {}, b'{"kind": "Status", "message": "forbidden"}'))

    with pytest.raises(StorageFullError):
        send(repository, LARGE)

    # distribution deletes the data of an upload that does not match its digest.
    upload = "/v2/team/app/blobs/uploads/0"
    assert server.received("DELETE", "PUT") == [f"DELETE {upload}", f"PUT {upload}"]
    assert not server.blobs.get("team/app")


def test_upload_discards_data_of_session_with_wrong_offset(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/0", error_response(416, "RANGE_INVALID"), times=1)

    send(repository, LARGE)

    assert server.received("DELETE") == ["DELETE /v2/team/app/blobs/uploads/0"]
    assert LARGE in server.blobs["team/app"].values()


def test_upload_names_full_storage_that_left_blob_incomplete(server: RegistryServer, repository: Repository) -> None:
    # distribution 2.8: the last request fails, and the upload and the blob cannot be read any more.
    server.fail("PUT", "/blobs/uploads/", unknown_error("no space left on device"))
    server.fail("GET", "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_INVALID"))
    server.fail("HEAD", "/blobs/sha256", error_response(500, "UNKNOWN"))

    with pytest.raises(StorageFullError, match="no space left"):
        send(repository, SMALL)


@pytest.mark.parametrize("methods", [["GET"], ["DELETE", "PUT"]])
def test_upload_reports_full_storage_if_its_data_cannot_be_discarded(
    server: RegistryServer, repository: Repository, methods: list[str]
) -> None:
    server.fail("PATCH", "/blobs/uploads/", unknown_error("no space left on device"))
    for method in methods:
        server.fail(method, "/blobs/uploads/", error_response(404, "BLOB_UPLOAD_INVALID"))

    with pytest.raises(StorageFullError, match="no space left"):
        send(repository, LARGE)


def store_half(server: RegistryServer) -> Any:
    """Return a change of a response to PATCH: only a part of the body was stored before the storage was full."""

    def change(_response: Response) -> Response:
        name = max(server.uploads)
        server.uploads[name] = server.uploads[name][: len(server.uploads[name]) // 2]
        return unknown_error("write data: no space left on device")

    return change
