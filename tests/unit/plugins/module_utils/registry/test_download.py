# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob downloads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from unit.plugins.module_utils.support.blobs import LARGE, SMALL
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.stores import blob, read_blob


def test_download_reports_missing_blob(repository: Repository) -> None:
    with pytest.raises(SourceError, match=f"does not have the blob {digest_of(SMALL)}"):
        read_blob(repository, blob(digest_of(SMALL), SMALL))


def test_download_begins_at_offset(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {digest_of(LARGE): LARGE}

    assert read_blob(repository, blob(digest_of(LARGE), LARGE), len(LARGE) - 7) == LARGE[-7:]


def test_download_skips_beginning_if_registry_ignores_range(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {digest_of(SMALL): SMALL}
    server.fail("GET", "/blobs/", Response(200, {}, SMALL))

    assert read_blob(repository, blob(digest_of(SMALL), SMALL), 5) == SMALL[5:]


def test_download_without_progress_is_interrupted_connection(server: RegistryServer, repository: Repository) -> None:
    server.blobs["team/app"] = {digest_of(LARGE): LARGE}
    server.fail("GET", "/blobs/", lambda response: replace(response, body=b"x", truncated=True))

    with pytest.raises(ConnectionLostError, match=f"interrupted while reading blob {digest_of(LARGE)}.*Run again"):
        read_blob(repository, blob(digest_of(LARGE), LARGE))


def test_download_does_not_follow_redirect(server: RegistryServer, repository: Repository) -> None:
    server.fail("GET", "/blobs/", Response(307, {"Location": f"{server.url}/v2/secrets/blobs/x"}))

    with pytest.raises(RegistryError, match="the registry responded with 307"):
        read_blob(repository, blob(digest_of(SMALL), SMALL))

    assert len(server.received("GET")) == 1
