# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of a repository: manifests and existing content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    DigestMismatchError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import MAXIMUM_SIZE, parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import SMALL, send
from unit.plugins.module_utils.support.images import Image, encode
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, without
from unit.plugins.module_utils.support.stores import blob, put, read_image


def test_pushed_image_is_pulled_unchanged(repository: Repository, multi: Image) -> None:
    put(repository, multi, "1")

    root = repository.resolve("1")

    assert root == multi.root
    assert read_image(repository, multi.root) == multi.contents


def test_resolve_sends_one_head_request(server: RegistryServer, repository: Repository, image: Image) -> None:
    server.fill("team/app", "1", image)

    assert repository.resolve("1") == image.root
    assert server.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_resolve_returns_none_for_missing_tag(repository: Repository) -> None:
    assert repository.resolve("1") is None


@pytest.mark.parametrize("header", ["Docker-Content-Digest", "Content-Type"])
def test_resolve_reads_manifest_if_head_response_has_no_header(
    server: RegistryServer, repository: Repository, image: Image, header: str
) -> None:
    server.fill("team/app", "1", image)
    server.fail("HEAD", "/manifests/", without(header))

    found = repository.resolve("1")

    assert found is not None
    assert found.digest == image.digest


def test_resolve_ignores_invalid_digest_of_head_response(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fail(
        "HEAD", "/manifests/", lambda response: replace(response, headers={"Docker-Content-Digest": "sha256:../x"})
    )

    assert repository.resolve("1") == image.root


@pytest.mark.parametrize("status", [301, 307, 401, 403])
def test_resolve_reports_error_response_not_missing_image(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    server.fail("HEAD", "/manifests/", Response(status, {"Location": f"{server.url}/v2/other/manifests/1"}))

    with pytest.raises(RegistryError, match=f"team/app:1 cannot be looked up: the registry responded with {status}"):
        repository.resolve("1")

    assert server.received("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_fetch_manifest_rejects_other_digest(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", other_image)
    server.manifests["team/app"][image.digest] = server.manifests["team/app"]["1"]

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} from repository team/app in the registry"):
        repository.fetch_manifest(image.root)


def test_fetch_manifest_rejects_manifest_over_limit(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("GET", "/manifests/", Response(200, {}, b" " * (MAXIMUM_SIZE * 4)))

    with pytest.raises(SourceError, match=f"more than the {MAXIMUM_SIZE} that registries accept"):
        repository.fetch_manifest(image.root)


def test_fetch_manifest_reports_truncated_body(server: RegistryServer, repository: Repository, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "/manifests/", lambda response: replace(response, truncated=True))

    with pytest.raises(ConnectionLostError, match="connection was interrupted while reading"):
        repository.fetch_manifest(image.root)


def test_fetch_manifest_reports_schema_1_with_advice(server: RegistryServer, repository: Repository) -> None:
    content = encode({"schemaVersion": 1, "name": "team/app"})
    server.manifests["team/app"] = {digest_of(content): ("application/json", content)}

    with pytest.raises(SourceError, match=r"schema 1.*Pull and push the image once"):
        repository.fetch_manifest(Descriptor("application/json", digest_of(content), len(content)))


def test_fetch_manifest_reports_missing_manifest(repository: Repository, image: Image) -> None:
    with pytest.raises(SourceError, match=f"team/app in the registry does not have the manifest {image.digest}"):
        repository.fetch_manifest(image.root)


def test_repository_finds_content_without_reading_blobs(
    server: RegistryServer, repository: Repository, image: Image, other_image: Image
) -> None:
    server.fill("team/app", None, image)

    assert repository.has_manifest(image.root)
    assert repository.has_blob(blob(digest_of(image.config), image.config))
    assert not repository.has_manifest(other_image.root)
    assert not repository.has_blob(blob(digest_of(other_image.config), other_image.config))
    assert server.received("GET") == [f"GET /v2/team/app/manifests/{image.digest}"]


@pytest.mark.parametrize("delta", [-1, 1])
def test_repository_has_no_content_of_size_other_than_declared(
    server: RegistryServer, repository: Repository, image: Image, delta: int
) -> None:
    server.fill("team/app", None, image)
    config = blob(digest_of(image.config), image.config)

    assert not repository.has_blob(replace(config, size=config.size + delta))
    assert not repository.has_manifest(replace(image.root, size=image.root.size + delta))


@pytest.mark.parametrize("stated", ["0", ""])
def test_repository_is_read_if_registry_does_not_return_sizes(
    server: RegistryServer, repository: Repository, image: Image, stated: str
) -> None:
    server.fill("team/app", "1", image)
    server.fail("HEAD", "/", lambda response: replace(response, headers={**response.headers, "Content-Length": stated}))

    assert repository.resolve("1") == image.root
    assert repository.has_blob(blob(digest_of(image.config), image.config))


def test_has_blob_reports_error_response(server: RegistryServer, repository: Repository) -> None:
    server.fail("HEAD", "/blobs/", Response(403))

    with pytest.raises(RegistryError, match="cannot be looked up in team/app: the registry responded with 403"):
        repository.has_blob(blob(digest_of(SMALL), SMALL))


def test_publish_reports_missing_blobs(server: RegistryServer, repository: Repository, image: Image) -> None:
    with pytest.raises(RegistryError, match=f"manifest {image.digest} cannot be put at 1: .* manifest blob unknown"):
        repository.publish(parse_manifest(image.contents[image.digest]), "1")

    assert server.digest_of("team/app", "1") is None


def test_publish_without_tag_stores_manifest_by_digest(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    put(repository, image, None)

    assert server.manifests["team/app"].keys() == {image.digest}


def test_publish_reports_manifest_stored_with_other_digest(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail(
        "PUT", "/manifests/", lambda response: replace(response, headers={"Docker-Content-Digest": digest_of(b"other")})
    )

    with pytest.raises(RegistryError, match=f"stored manifest {image.digest} as {digest_of(b'other')}"):
        put(repository, image, "1")


def test_one_connection_carries_many_requests(server: RegistryServer, repository: Repository) -> None:
    for number in range(20):
        send(repository, b"%d" % number)

    assert server.connections == 1
    assert len(server.blobs["team/app"]) == 20
