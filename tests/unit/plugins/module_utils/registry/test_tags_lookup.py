# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The selection of tags for the lookup."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.tags import find_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, RegistryError, SourceError
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.upstream_servers import BasicGuard, TokenServer, host, settings

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

TAGS = ("latest", "1.0", "1.9.0", "1.10.0", "1.11.0-rc.1", "2.0.0")


@pytest.fixture
def upstream(upstream: RegistryServer, image: Image) -> RegistryServer:
    """An upstream registry whose repository ``team/api`` has :data:`TAGS`."""
    for tag in TAGS:
        upstream.fill("team/api", tag, image)
    return upstream


def select(upstream: RegistryServer, *repositories: str, **options: Any) -> list[str]:
    """Select tags of repositories, by default of ``team/api``."""
    names = [f"{host(upstream)}/{repository}" for repository in repositories or ["team/api"]]
    return find_tags(names, {"upstreams": settings(upstream), **options})


def test_lookup_selects_tags_with_one_request(upstream: RegistryServer) -> None:
    assert select(upstream, semver=">=1.2 <2", newest=3) == ["1.10.0", "1.9.0"]
    assert upstream.received("GET", "HEAD") == ["GET /v2/team/api/tags/list"]


def test_lookup_selects_tags_of_several_repositories(upstream: RegistryServer, image: Image) -> None:
    upstream.fill("team/web", "3.1", image)

    assert select(upstream, "team/web", "team/api", newest=1) == ["3.1", "2.0.0"]


def test_lookup_accepts_repository_with_transport(upstream: RegistryServer) -> None:
    names = [f"docker://{host(upstream)}/team/api"]

    assert find_tags(names, {"upstreams": settings(upstream), "newest": "1"}) == ["2.0.0"]


def test_lookup_lists_all_pages(upstream: RegistryServer, image: Image) -> None:
    upstream.manifests["team/api"].update(
        {f"5.{number}": upstream.manifests["team/api"]["latest"] for number in range(10_000)}
    )

    assert select(upstream, newest=2) == ["5.9999", "5.9998"]


def test_lookup_logs_in(upstream: RegistryServer) -> None:
    upstream.guard = BasicGuard("puller", "s3cret-word")

    assert find_tags(
        [f"{host(upstream)}/team/api"],
        {"upstreams": settings(upstream, username="puller", password="s3cret-word"), "newest": 1},
    ) == ["2.0.0"]


def test_lookup_gets_token_for_list(upstream: RegistryServer) -> None:
    with TokenServer(users={"puller": "s3cret-word"}).running() as tokens:
        upstream.guard = tokens

        found = find_tags(
            [f"{host(upstream)}/team/api"],
            {"upstreams": settings(upstream, username="puller", password="s3cret-word"), "newest": 1},
        )

    assert found == ["2.0.0"]
    assert [request.values["scope"] for request in tokens.received] == [["repository:team/api:pull"]]


def test_lookup_fails_without_access(upstream: RegistryServer) -> None:
    upstream.fail("GET", "tags/list", error_response(403, "DENIED"))

    with pytest.raises(RegistryError, match="denies access to team/api: status 403"):
        select(upstream, newest=1)


def test_lookup_fails_without_repository(upstream: RegistryServer) -> None:
    with pytest.raises(SourceError, match="there are no tags in repository team/missing"):
        select(upstream, "team/missing")


@pytest.mark.parametrize(
    ("repositories", "options", "reason"),
    [
        ([], {}, "the lookup of tags has no repository"),
        (["team/api:1"], {}, "'team/api:1' is not the name of a repository"),
        ([None], {}, "'None' is not the name of a repository"),
        (["team/api"], {"newset": 1}, "unknown options: newset. Known options are semver, match, "),
        (["team/api"], {"newest": "many"}, "'newest' is of type str"),
        (["team/api"], {"newest": 0}, "newest is 0"),
        (["team/api"], {"semver": ">="}, "is not a comparison"),
        (["team/api"], {"timeout": 0}, "timeout is 0"),
        (["team/api"], {"upstreams": [{"host": "x/y"}]}, "'x/y' in upstreams is not a registry"),
    ],
)
def test_lookup_rejects_options(repositories: list[Any], options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        find_tags(repositories, options)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "upstreams",
    [
        "host=registry.example.com,password=s3cret-word,unclosed='",
        [{"host": "registry.example.com", "username": "u", "password": {"inner": "s3cret-word"}, "ca": "s3cret-word"}],
        [{"host": "registry.example.com", "pasword": "s3cret-word"}],
        [["s3cret-word"]],
    ],
)
def test_lookup_error_has_no_password(upstreams: Any) -> None:
    with pytest.raises(InputError) as caught:
        find_tags(["team/api"], {"upstreams": upstreams})

    assert "s3cret" not in json.dumps([str(caught.value), repr(caught.value), caught.value.message])


@pytest.mark.parametrize("prefix", ["", "docker://", "docker:"])
def test_lookup_error_has_no_credentials_of_repository(prefix: str) -> None:
    with pytest.raises(InputError, match="has credentials before its registry") as caught:
        find_tags([f"{prefix}me:s3cret-word@registry.example.com/team/api"], {})

    assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "username and password in upstreams" in str(caught.value)
