# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages and advice for error responses of a registry."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import SMALL, send
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.stores import put


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "The registry requires credentials"),
        (405, "read-only"),
        (413, "limits the size of requests"),
        (429, "run again later"),
        (507, "delete images with k8scr_prune"),
    ],
)
def test_error_response_has_advice(server: RegistryServer, repository: Repository, status: int, advice: str) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(status, "DENIED", "no"))

    with pytest.raises(RegistryError, match=f"blob {digest_of(SMALL)} .* responded with {status}: no.*{advice}"):
        send(repository, SMALL)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_error_response_of_proxy_differs_from_that_of_registry(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    server.fail("PUT", "/blobs/uploads/", Response(status, {"Docker-Distribution-Api-Version": ""}, b"<h1>Sorry</h1>"))

    with pytest.raises(RegistryError, match=rf"a proxy or load balancer in front of .* responded with {status}"):
        send(repository, SMALL)


def test_error_response_names_full_storage(server: RegistryServer, repository: Repository) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(500, "UNKNOWN", "write /data/x: no space left on device"))

    with pytest.raises(RegistryError, match=r"no space left on device. The registry's storage is full; delete"):
        send(repository, SMALL)


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
def test_error_response_with_invalid_body_is_one_line(
    server: RegistryServer, repository: Repository, body: bytes
) -> None:
    server.fail("PUT", "/blobs/uploads/", Response(502, {}, body))

    with pytest.raises(RegistryError, match="the registry responded with 502") as failure:
        send(repository, SMALL)

    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1000


def test_error_response_names_unsupported_media_type(
    server: RegistryServer, repository: Repository, image: Image
) -> None:
    server.fail("PUT", "/manifests/", error_response(415, "MANIFEST_INVALID"))

    with pytest.raises(RegistryError, match=r"responded with 415: .*convert the image to OCI media types"):
        put(repository, image, "1")
