# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Authentication to upstream registries and their token servers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import (
    BasicGuard,
    Push,
    TokenServer,
    basic,
    error_of,
    find_upstream,
    host,
    listening,
    settings,
    source,
    tls_registry,
)

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_basic_authentication_is_sent_after_challenge(push: Push, upstream: RegistryServer) -> None:
    upstream.guard = guard = BasicGuard("me", "secret")

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert result["changed"], result.get("msg")
    assert guard.seen[0] is None
    assert set(guard.seen[1:]) == {basic("me", "secret")}


def test_credentials_of_docker_login_are_used(
    push: Push, upstream: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.guard = BasicGuard("me", "secret")
    auths = {host(upstream): {"auth": basic("me", "secret").partition(" ")[2]}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    assert push(source(upstream), upstreams=settings(upstream))["changed"]


def test_error_names_source_of_wrong_credentials_without_showing_them(push: Push, upstream: RegistryServer) -> None:
    upstream.guard = guard = BasicGuard("me", "secret")

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="mistaken"))

    assert "denies access to team/app: status 401. Check the credentials from upstreams" in (error_of(result))
    assert "mistaken" not in json.dumps(result)
    assert len(guard.seen) == 2


def test_error_without_credentials_names_where_to_set_them(push: Push, upstream: RegistryServer) -> None:
    upstream.guard = BasicGuard("me", "secret")

    assert "set credentials in upstreams, or log in with docker login" in error_of(
        push(source(upstream), upstreams=settings(upstream))
    )


def test_credentials_are_not_sent_to_cluster_registry(
    push: Push, server: RegistryServer, upstream: RegistryServer
) -> None:
    upstream.guard = BasicGuard("me", "secret")
    seen: list[str | None] = []

    def look(_path: str, headers: Any) -> Response | None:
        seen.append(headers.get("Authorization"))
        return None

    server.guard = look

    push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert seen
    assert set(seen) == {None}


def test_one_token_is_used_for_all_requests_to_a_repository(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    (received,) = tokens.received
    assert (received.method, received.values) == (
        "GET",
        {"service": ["the registry"], "scope": ["repository:team/app:pull"]},
    )
    assert received.authorization is None
    assert tokens.seen.count(None) == 1


def test_each_repository_has_its_own_token(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fill("team/web", "1", image)

    push(source(upstream), source(upstream, "team/web:1"), upstreams=settings(upstream))

    assert sorted(received.values["scope"][0] for received in tokens.received) == [
        "repository:team/app:pull",
        "repository:team/web:pull",
    ]


def test_repository_name_may_contain_names_of_api_paths(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fill("team/blobs/manifests", "1", image)

    push(source(upstream, "team/blobs/manifests:1"), upstreams=settings(upstream))

    assert len(tokens.received) == 1


def test_user_and_password_are_sent_to_token_server_only(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    tokens.users = {"me": "secret"}

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert result["changed"], result.get("msg")
    assert tokens.received[0].values["account"] == ["me"]
    assert not any("Basic" in (header or "") for header in tokens.seen)


def test_error_of_token_server_omits_its_message(push: Push, upstream: RegistryServer, tokens: TokenServer) -> None:
    tokens.users = {"me": "secret"}

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="mistaken"))

    assert f"the token server 127.0.0.1 of {host(upstream)} returned no token: status 401" in error_of(result)
    assert "you sent" not in error_of(result)


def test_identity_token_is_exchanged(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.users, tokens.refresh_token, tokens.member = {"nobody": "secret"}, "refresh me", "access_token"
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"identitytoken": "refresh me"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    (received,) = tokens.received
    assert received.values["grant_type"] == ["refresh_token"]
    assert received.method == "POST"


def test_registry_token_is_sent_unchanged(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.tokens["bearer"] = (float("inf"), "repository:team/app:pull")
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"registrytoken": "bearer"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert not tokens.received


def test_token_is_renewed_before_its_end(push: Push, upstream: RegistryServer, tokens: TokenServer) -> None:
    tokens.lifetime = 5

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert tokens.seen.count(None) == 1
    assert len(tokens.received) > 1


def test_token_is_renewed_after_registry_rejects_it(push: Push, upstream: RegistryServer, tokens: TokenServer) -> None:
    def forget(response: Response) -> Response:
        tokens.tokens.clear()
        return response

    upstream.fail("GET", "/manifests/", forget, times=1)

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert len(tokens.received) >= 2


def test_credentials_are_not_sent_without_tls_unless_allowed(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream, TokenServer().running() as tokens:
        upstream.fill("team/app", "1", image)
        upstream.guard = tokens
        option = {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem"), "username": "me", "password": "secret"}

        with pytest.raises(K8scrError, match=r"requires sending credentials to .* without TLS"):
            find_upstream(upstream, option)

        assert not tokens.received


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nb"}', b"[]"])
def test_error_reports_response_without_token(push: Push, upstream: RegistryServer, body: bytes) -> None:
    with listening(lambda _request: Response(200, {}, body)) as url:
        challenge = {"WWW-Authenticate": f'Bearer realm="{url}/token"'}
        upstream.fail("HEAD", "manifests", Response(401, challenge))

        error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert "returned no token: the response is not valid" in error


@pytest.mark.parametrize("lifetime", [b"9" * 400, b"1e999", b"-1e999", b'"soon"', b"[]", b"NaN"])
def test_token_with_invalid_lifetime_is_used_at_most_once(
    push: Push, upstream: RegistryServer, lifetime: bytes
) -> None:
    with listening(lambda _request: Response(200, {}, b'{"token": "abc", "expires_in": ' + lifetime + b"}")) as url:
        challenge = {"WWW-Authenticate": f'Bearer realm="{url}/token"'}
        upstream.fail("HEAD", "manifests", Response(401, challenge))

        error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert re.search("returned no token|denies access to", error)


@pytest.mark.parametrize(
    "realm",
    ["", "token", "http://[", "http://", "http://me:secret@[::1/", "http://a b/", "http://a:port/", "http://.a/"],
)
def test_error_reports_invalid_token_server(push: Push, upstream: RegistryServer, realm: str) -> None:
    upstream.fail("HEAD", "manifests", Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}))

    error = error_of(push(source(upstream), upstreams=settings(upstream, username="me", password="my own")))

    assert f"the token server of {host(upstream)} is not a URL" in error
    assert "secret" not in error


def test_error_reports_invalid_token_without_showing_it(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"registrytoken": "secret\r\nX-Other: header"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert f"the token for {host(upstream)} in {auth_file} is not valid" in error
    assert "secret" not in error
