# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images from upstream registries, straight into another registry."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.warnings import get_warning_messages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from unit.plugins.module_utils.support.images import Image, make_image
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused
from unit.plugins.module_utils.support.settings import upstreams_of
from unit.plugins.module_utils.support.stores import read_image
from unit.plugins.module_utils.support.upstream_servers import (
    Asked,
    BasicGuard,
    TokenServer,
    basic,
    listening,
    tls_registry,
)

Push = Callable[..., dict[str, Any]]
INSECURE = "anyone on the network path can read and change everything."


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of whoever runs the tests, and no proxy."""
    for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")


@pytest.fixture
def upstream(image: Image) -> Iterator[RegistryServer]:
    """A registry that has ``image`` as team/app:1."""
    with RegistryServer().running() as running:
        running.fill("team/app", "1", image)
        yield running


@pytest.fixture
def tokens(upstream: RegistryServer) -> Iterator[TokenServer]:
    """The token server that guards ``upstream``."""
    with TokenServer().running() as running:
        upstream.guard = running
        yield running


def host(server: RegistryServer) -> str:
    return server.url.partition("//")[2]


def source(server: RegistryServer, name: str = "team/app:1") -> str:
    return f"docker://{host(server)}/{name}"


def settings(server: RegistryServer, **more: Any) -> list[dict[str, Any]]:
    return [{"host": host(server), "plain_http": True, **more}]


def error_of(result: dict[str, Any]) -> str:
    assert result["failed"]
    return str(result["images"][0]["error"])


def test_an_image_goes_straight_from_one_registry_to_the_other(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    result = push(source(upstream), upstreams=settings(upstream))

    (pushed,) = result["images"]
    assert pushed["name"] == f"{host(upstream)}/team/app:1"
    assert pushed["digest"] == image.digest == server.digest_of("team/app", "1")
    assert server.blobs["team/app"] == image.blobs


def test_an_image_that_is_there_costs_one_request_upstream(push: Push, upstream: RegistryServer, image: Image) -> None:
    push(source(upstream), upstreams=settings(upstream))
    upstream.requests.clear()

    again = push(source(upstream), upstreams=settings(upstream))

    assert not again["changed"]
    assert upstream.asked("HEAD", "GET") == ["HEAD /v2/team/app/manifests/1"]


def test_an_index_keeps_its_digest(push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image) -> None:
    upstream.fill("team/multi", "1", multi)

    push(source(upstream, "team/multi:1"), upstreams=settings(upstream))

    assert server.digest_of("team/multi", "1") == multi.digest


def test_check_mode_reads_and_sends_nothing(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    result = push(source(upstream), upstreams=settings(upstream), check_mode=True)

    assert result["images"][0]["sent"]["blobs"] == 3
    assert not any("/blobs/" in asked for asked in upstream.asked("GET"))
    assert not server.manifests


def test_a_digest_means_its_content_whatever_the_tag_has_become(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", other_image)

    result = push(source(upstream, f"team/app:1@{image.digest}"), upstreams=settings(upstream))

    assert result["images"][0]["digest"] == image.digest == server.digest_of("team/app", "1")


def test_an_image_that_is_not_there_is_said(push: Push, upstream: RegistryServer) -> None:
    result = push(source(upstream, "team/app:2"), upstreams=settings(upstream))

    assert f"there is no image 2 in repository team/app in {host(upstream)}" in error_of(result)


def test_basic_authentication_is_answered_when_it_is_asked_for(push: Push, upstream: RegistryServer) -> None:
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


def test_wrong_credentials_are_said_and_not_shown(push: Push, upstream: RegistryServer) -> None:
    upstream.guard = guard = BasicGuard("me", "secret")

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="mistaken"))

    assert "denies access to team/app: status 401. Check the credentials from upstreams" in (error_of(result))
    assert "mistaken" not in json.dumps(result)
    assert len(guard.seen) == 2


def test_without_credentials_it_is_said_where_to_give_them(push: Push, upstream: RegistryServer) -> None:
    upstream.guard = BasicGuard("me", "secret")

    assert "set credentials in upstreams, or log in with docker login" in error_of(
        push(source(upstream), upstreams=settings(upstream))
    )


def test_the_clusters_registry_gets_no_credentials_of_another(
    push: Push, server: RegistryServer, upstream: RegistryServer
) -> None:
    upstream.guard = BasicGuard("me", "secret")
    seen: list[str | None] = []

    def look(_path: str, headers: Any) -> Answer | None:
        seen.append(headers.get("Authorization"))
        return None

    server.guard = look

    push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert seen
    assert set(seen) == {None}


def test_one_token_serves_all_requests_to_a_repository(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    (asked,) = tokens.asked
    assert (asked.method, asked.values) == (
        "GET",
        {"service": ["the registry"], "scope": ["repository:team/app:pull"]},
    )
    assert asked.authorization is None
    assert tokens.seen.count(None) == 1


def test_each_repository_has_a_token_of_its_own(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fill("team/web", "1", image)

    push(source(upstream), source(upstream, "team/web:1"), upstreams=settings(upstream))

    assert sorted(asked.values["scope"][0] for asked in tokens.asked) == [
        "repository:team/app:pull",
        "repository:team/web:pull",
    ]


def test_a_repository_may_be_called_as_the_parts_of_a_path_are(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fill("team/blobs/manifests", "1", image)

    push(source(upstream, "team/blobs/manifests:1"), upstreams=settings(upstream))

    assert len(tokens.asked) == 1


def test_a_token_server_is_told_user_and_password(push: Push, upstream: RegistryServer, tokens: TokenServer) -> None:
    tokens.users = {"me": "secret"}

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert result["changed"], result.get("msg")
    assert tokens.asked[0].values["account"] == ["me"]
    assert not any("Basic" in (header or "") for header in tokens.seen)


def test_a_token_server_that_refuses_is_said_without_what_it_said(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    tokens.users = {"me": "secret"}

    result = push(source(upstream), upstreams=settings(upstream, username="me", password="mistaken"))

    assert f"the token server 127.0.0.1 of {host(upstream)} returned no token: status 401" in error_of(result)
    assert "you sent" not in error_of(result)


def test_an_identity_token_is_exchanged(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.users, tokens.refresh_token, tokens.member = {"nobody": "secret"}, "refresh me", "access_token"
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"identitytoken": "refresh me"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    (asked,) = tokens.asked
    assert asked.values["grant_type"] == ["refresh_token"]
    assert asked.method == "POST"


def test_a_token_for_the_registry_itself_is_sent_as_it_is(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.tokens["bearer"] = (float("inf"), "repository:team/app:pull")
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"registrytoken": "bearer"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert not tokens.asked


def test_a_token_is_renewed_before_its_end(push: Push, upstream: RegistryServer, tokens: TokenServer) -> None:
    tokens.lifetime = 5

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert tokens.seen.count(None) == 1
    assert len(tokens.asked) > 1


def test_a_token_that_the_registry_no_longer_takes_is_renewed(
    push: Push, upstream: RegistryServer, tokens: TokenServer
) -> None:
    def forget(answer: Answer) -> Answer:
        tokens.tokens.clear()
        return answer

    upstream.fail("GET", "/manifests/", forget, times=1)

    result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert len(tokens.asked) >= 2


def test_credentials_do_not_travel_without_tls_unless_that_is_asked_for(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream, TokenServer().running() as tokens:
        upstream.fill("team/app", "1", image)
        upstream.guard = tokens
        option = {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem"), "username": "me", "password": "secret"}

        with pytest.raises(K8scrError, match=r"requires sending credentials to .* without TLS"):
            find(upstream, option)

        assert not tokens.asked


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nb"}', b"[]"])
def test_an_answer_without_a_token_is_said(push: Push, upstream: RegistryServer, body: bytes) -> None:
    with listening(lambda _asked: Answer(200, {}, body)) as url:
        challenge = {"WWW-Authenticate": f'Bearer realm="{url}/token"'}
        upstream.fail("HEAD", "manifests", Answer(401, challenge))

        error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert "returned no token: the response is not valid" in error


@pytest.mark.parametrize("lifetime", [b"9" * 400, b"1e999", b"-1e999", b'"soon"', b"[]", b"NaN"])
def test_a_token_without_a_lifetime_that_makes_sense_is_used_once_or_not_at_all(
    push: Push, upstream: RegistryServer, lifetime: bytes
) -> None:
    with listening(lambda _asked: Answer(200, {}, b'{"token": "abc", "expires_in": ' + lifetime + b"}")) as url:
        challenge = {"WWW-Authenticate": f'Bearer realm="{url}/token"'}
        upstream.fail("HEAD", "manifests", Answer(401, challenge))

        error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert re.search("returned no token|denies access to", error)


@pytest.mark.parametrize(
    "realm",
    ["", "token", "http://[", "http://", "http://me:secret@[::1/", "http://a b/", "http://a:port/", "http://.a/"],
)
def test_a_token_server_that_is_none_is_said(push: Push, upstream: RegistryServer, realm: str) -> None:
    upstream.fail("HEAD", "manifests", Answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}))

    error = error_of(push(source(upstream), upstreams=settings(upstream, username="me", password="my own")))

    assert f"the token server of {host(upstream)} is not a URL" in error
    assert "secret" not in error


def test_a_token_in_a_file_that_no_header_can_carry_is_said_and_not_shown(
    push: Push, upstream: RegistryServer, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {host(upstream): {"registrytoken": "secret\r\nX-Other: header"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth_file))

    error = error_of(push(source(upstream), upstreams=settings(upstream)))

    assert f"the token for {host(upstream)} in {auth_file} is not valid" in error
    assert "secret" not in error


def test_storage_that_the_registry_redirects_to_gets_no_credentials(
    push: Push, server: RegistryServer, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    asked: list[Asked] = []

    def store(request: Asked) -> Answer:
        asked.append(request)
        return Answer(200, {}, image.contents[request.path[1:]])

    with listening(store) as url:

        def redirect(answer: Answer) -> Answer:
            digest = answer.headers.get("Docker-Content-Digest", "")
            return Answer(307, {"Location": f"{url}/{digest}?X-Amz-Signature=secret"})

        upstream.fail("GET", "/blobs/", redirect)
        result = push(source(upstream), upstreams=settings(upstream))

    assert result["changed"], result.get("msg")
    assert server.blobs["team/app"] == image.blobs
    assert len(asked) == 3
    assert {request.authorization for request in asked} == {None}


def test_a_redirect_within_the_registry_keeps_its_credentials(
    push: Push, upstream: RegistryServer, tokens: TokenServer, image: Image
) -> None:
    upstream.fail("HEAD", "/manifests/latest", Answer(307, {"Location": "/v2/team/app/manifests/1"}))
    tokens.users = {"me": "secret"}

    result = push(
        {"source": source(upstream, "team/app"), "name": "team/app:1"},
        upstreams=settings(upstream, username="me", password="secret"),
    )

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_a_question_of_the_storage_is_not_answered(push: Push, upstream: RegistryServer) -> None:
    asked: list[Asked] = []

    def ask_back(request: Asked) -> Answer:
        asked.append(request)
        return Answer(401, {"WWW-Authenticate": 'Basic realm="give me"'})

    with listening(ask_back) as url:
        upstream.fail("GET", "/blobs/", Answer(307, {"Location": f"{url}/blob?signature=secret"}))
        result = push(source(upstream), upstreams=settings(upstream, username="me", password="secret"))

    assert f"127.0.0.1, to which {host(upstream)} redirects, responded with 401" in error_of(result)
    assert "signature" not in json.dumps(result)
    assert {request.authorization for request in asked} == {None}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/v2/team/app/manifests/1", "returned too many redirects"),
        ("ftp://example.com/blob", "redirects to an address that is not a URL"),
        ("http://me:secret@example.com/blob", "redirects to an address that is not a URL"),
        ("http://[::1/blob", "redirects to an address that is not a URL"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_said(
    push: Push, upstream: RegistryServer, location: str, message: str
) -> None:
    upstream.fail("HEAD", "manifests", Answer(302, {"Location": location}))

    result = push(source(upstream), upstreams=settings(upstream))

    assert message in error_of(result)
    assert "secret" not in error_of(result)


def test_a_download_that_is_cut_goes_on(push: Push, server: RegistryServer, upstream: RegistryServer) -> None:
    image = make_image()
    upstream.fill("team/cut", "1", image)

    def cut(answer: Answer) -> Answer:
        return Answer(answer.status, answer.headers, answer.body, truncated=True)

    upstream.fail("GET", f"/blobs/{image.layers[0]}", cut, times=1)

    result = push(source(upstream, "team/cut:1"), upstreams=settings(upstream))

    assert server.digest_of("team/cut", "1") == image.digest, result.get("msg")
    assert any(host(upstream) in entry["why"] for entry in result["retries"])


def test_a_mirror_is_asked_first_and_the_name_stays(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("hub/library/app", "1", image)
    mirrored = {"host": "docker.io", "mirrors": [f"{host(upstream)}/hub"]}

    result = push("docker://app:1", upstreams=[mirrored, *settings(upstream)])

    assert result["images"][0]["name"] == "docker.io/library/app:1", result.get("msg")
    assert server.digest_of("library/app", "1") == image.digest


def test_a_mirror_without_the_image_is_passed_over(push: Push, upstream: RegistryServer, image: Image) -> None:
    with RegistryServer().running() as mirror:
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)

        result = push(source(upstream), upstreams=options)

    assert result["images"][0]["digest"] == image.digest, result.get("msg")
    assert mirror.asked("HEAD") == ["HEAD /v2/team/app/manifests/1"]


def test_a_mirror_that_does_not_answer_is_asked_for_one_image_only(
    push: Push, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/web", "1", image)
    options = [*settings(upstream, mirrors=["127.0.0.1:1"]), {"host": "127.0.0.1:1", "plain_http": True}]

    result = push(source(upstream), source(upstream, "team/web:1"), upstreams=options, connections=1)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    (retried,) = result["retries"]
    assert retried["times"] == 2


def test_when_all_fail_each_is_said(push: Push, upstream: RegistryServer) -> None:
    with RegistryServer().running() as mirror:
        mirror.fail("HEAD", "", refused(403, "DENIED"))
        options = settings(upstream, mirrors=[host(mirror)]) + settings(mirror)

        error = error_of(push(source(upstream, "team/none:1"), upstreams=options))

    assert f"{host(upstream)} (mirrors: {host(mirror)} denies access to team/none" in error


def find(server: RegistryServer, *options: dict[str, Any], name: str = "team/app:1") -> dict[str, bytes]:
    """Read an image from upstream."""
    with closing(Upstreams(upstreams_of(*options), patience=1.0)) as upstreams:
        repository, image = upstreams.open(parse_reference(f"{host(server)}/{name}"))
        return read_image(repository, image.root)


def test_a_registry_may_have_a_ca_of_its_own(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        found = find(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})

    assert found == image.contents


def test_a_certificate_that_nobody_vouches_for_is_said(tmp_path: Path) -> None:
    with tls_registry(tmp_path) as upstream, pytest.raises(K8scrError, match=r"is not trusted: self.signed") as caught:
        find(upstream)

    assert caught.value.advice == "Set ca_cert in upstreams to the CA that signed it"


def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    with tls_registry(tmp_path, "IP:127.0.0.2") as upstream, pytest.raises(K8scrError, match="is not trusted"):
        find(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_certificate_may_go_unchecked(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        assert find(upstream, {"host": host(upstream), "validate_certs": False}) == image.contents


def test_a_registry_with_tls_does_not_redirect_to_what_has_none(tmp_path: Path) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fail("HEAD", "manifests", Answer(307, {"Location": "http://storage.example.com/x"}))

        with pytest.raises(K8scrError, match=r"redirects to storage\.example\.com without TLS"):
            find(upstream, {"host": host(upstream), "ca_cert": str(tmp_path / "cert.pem")})


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_upstream_whose_certificate_is_not_checked_causes_warning(tmp_path: Path, image: Image) -> None:
    with tls_registry(tmp_path) as upstream:
        upstream.fill("team/app", "1", image)

        find(upstream, {"host": host(upstream), "validate_certs": False})

        assert warnings_about(upstream) == [f"The certificate of {host(upstream)} is not checked: {INSECURE}"]


def test_upstream_without_tls_causes_warning(upstream: RegistryServer) -> None:
    find(upstream, *settings(upstream))

    assert warnings_about(upstream) == [f"The connection to {host(upstream)} is not encrypted: {INSECURE}"]


def warnings_about(server: RegistryServer) -> list[str]:
    """Return the warnings of this process that name a registry."""
    return [text for text in map(str, get_warning_messages()) if host(server) in text]


def test_plain_http_is_spoken_only_when_that_is_asked_for(upstream: RegistryServer) -> None:
    with pytest.raises(K8scrError, match=r"TLS handshake with .* failed") as caught:
        find(upstream)

    assert caught.value.advice == "If the registry does not use TLS, set plain_http"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("no certificate", "cannot be read as PEM")]
)
def test_a_ca_file_that_is_none_is_said(
    upstream: RegistryServer, tmp_path: Path, content: str | None, message: str
) -> None:
    ca_cert = tmp_path / "ca.pem"
    if content:
        ca_cert.write_text(content)

    with pytest.raises(InputError, match=message):
        find(upstream, {"host": host(upstream), "ca_cert": str(ca_cert)})


def test_a_name_that_is_nobodys_is_said(push: Push) -> None:
    assert "the name of registry.invalid cannot be resolved" in error_of(push("docker://registry.invalid/team/app:1"))


def test_a_registry_that_does_not_listen_is_said(push: Push) -> None:
    error = error_of(push("docker://127.0.0.1:1/team/app:1"))

    assert error.startswith("cannot connect to 127.0.0.1:1: connection refused. Check the image's name")


def test_a_registry_that_falls_silent_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        upstreams = Upstreams(upstreams_of({"host": place, "plain_http": True}), timeout=0.1, patience=0.0)
        with closing(upstreams), pytest.raises(K8scrError, match=r"was interrupted: no response in time"):
            upstreams.open(parse_reference(f"{place}/team/app:1"))


def test_a_proxy_of_the_environment_is_used(upstream: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)

    upstreams = Upstreams(upstreams_of({"host": "registry.invalid", "plain_http": True}))
    with closing(upstreams), pytest.raises(K8scrError, match="there is no image 1"):
        upstreams.open(parse_reference("registry.invalid/team/none:1"))

    assert upstream.asked("HEAD") == ["HEAD /v2/team/none/manifests/1"]


@pytest.mark.parametrize(
    "hosts", [["https://example.com"], ["example.com/team"], ["registry"], [""], ["docker.io", "index.docker.io"]]
)
def test_an_upstream_that_is_no_host_is_refused(hosts: list[str]) -> None:
    with pytest.raises(InputError):
        upstreams_of(*({"host": each} for each in hosts))


def test_a_mirror_that_is_no_host_is_refused() -> None:
    with pytest.raises(InputError, match=r"'http://m.example.com' in upstreams is not a registry"):
        upstreams_of({"host": "docker.io", "mirrors": ["http://m.example.com"]})
