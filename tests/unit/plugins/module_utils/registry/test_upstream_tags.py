# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of ``images`` that select tags of a repository."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_entries import read_source_entries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import Push, error_of, host, settings

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

TAGS = ("latest", "v1.9.0", "v1.10.0", "v1.10.1", "v1.11.0-rc.1", "v2.0.0")


@pytest.fixture
def upstream(upstream: RegistryServer, image: Image) -> RegistryServer:
    """An upstream registry whose repository ``team/api`` has :data:`TAGS`."""
    for tag in TAGS:
        upstream.fill("team/api", tag, image)
    return upstream


def entry(upstream: RegistryServer, name: str | None = None, **tags: Any) -> dict[str, Any]:
    """Return an entry that selects tags of ``team/api``."""
    return {"source": f"docker://{host(upstream)}/team/api", "name": name, "tags": tags}


def test_push_copies_selected_tags(push: Push, server: RegistryServer, upstream: RegistryServer) -> None:
    result = push(entry(upstream, semver=">=1.2 <2", newest=2), upstreams=settings(upstream))

    assert [each["target"] for each in result["images"]] == ["team/api:v1.10.1", "team/api:v1.10.0"], result.get("msg")
    assert [each["source"] for each in result["images"]] == [
        f"docker://{host(upstream)}/team/api:v1.10.1",
        f"docker://{host(upstream)}/team/api:v1.10.0",
    ]
    assert {tag for tag in server.manifests["team/api"] if ":" not in tag} == {"v1.10.1", "v1.10.0"}
    assert result["selections"] == [
        {
            "source": f"docker://{host(upstream)}/team/api",
            "tags": ["v1.10.1", "v1.10.0"],
            "left_out": {"unversioned": 1, "prereleases": 1, "out_of_range": 1, "older": 1},
        }
    ]


def test_push_requests_only_selected_tags(push: Push, upstream: RegistryServer) -> None:
    options = settings(upstream)
    push(entry(upstream, newest=1), upstreams=options)
    upstream.requests.clear()

    again = push(entry(upstream, newest=1), upstreams=options)

    assert not again["changed"]
    assert upstream.received("HEAD", "GET") == [
        "GET /v2/team/api/tags/list",
        "HEAD /v2/team/api/manifests/v2.0.0",
    ]


def test_push_renames_repository_of_selected_tags(push: Push, server: RegistryServer, upstream: RegistryServer) -> None:
    result = push(entry(upstream, "registry.example.com/prod/api", newest=1), upstreams=settings(upstream))

    assert [each["name"] for each in result["images"]] == ["registry.example.com/prod/api:v2.0.0"]
    assert server.digest_of("prod/api", "v2.0.0")


def test_push_selects_tags_of_mirror(push: Push, upstream: RegistryServer, image: Image) -> None:
    with RegistryServer().running() as empty:
        mirrors = [f"{host(empty)}/hub", host(upstream)]
        options = [{"host": "docker.io", "mirrors": mirrors}, *settings(upstream), *settings(empty)]

        result = push({"source": "docker://team/api", "tags": {"newest": 1}}, upstreams=options)

    assert [each["name"] for each in result["images"]] == ["docker.io/team/api:v2.0.0"], result.get("msg")
    assert empty.received("GET")[0] == "GET /v2/hub/team/api/tags/list"


def test_push_selects_newest_of_unsorted_pages(push: Push, upstream: RegistryServer, image: Image) -> None:
    names = [f"v3.{number}.0" for number in range(500)]
    random.Random(7).shuffle(names)
    for name in names:
        upstream.manifests["team/api"][name] = upstream.manifests["team/api"]["latest"]
    upstream.page = 77

    result = push(entry(upstream, semver="^3", newest=2), upstreams=settings(upstream))

    assert [each["tag"] for each in result["images"]] == ["v3.499.0", "v3.498.0"], result.get("msg")
    assert result["selections"][0]["left_out"]["older"] == 498


def test_push_waits_before_next_list_of_tags_after_429(push: Push, upstream: RegistryServer) -> None:
    upstream.fail("GET", "tags/list", Response(429, {"Retry-After": "7"}), times=1)

    result = push(entry(upstream, newest=1), upstreams=settings(upstream))

    assert [each["tag"] for each in result["images"]] == ["v2.0.0"], result.get("msg")
    (retried,) = result["retries"]
    assert "429" in retried["why"]


def test_push_reports_selection_that_fails_and_pushes_other_images(
    push: Push, server: RegistryServer, upstream: RegistryServer
) -> None:
    result = push(
        entry(upstream, semver=">=3"),
        entry(upstream, at_most=2),
        {**entry(upstream, newest=1), "source": f"docker://{host(upstream)}/team/missing"},
        f"docker://{host(upstream)}/team/api:v1.9.0",
        upstreams=settings(upstream),
    )

    errors = [each.get("error", "") for each in result["images"]]
    assert f"no tag of {host(upstream)}/team/api is selected: " in errors[0]
    assert "6 tags of" in errors[1]
    assert "v1.10.1, v1.10.0, v1.9.0, latest" in errors[1]
    assert f"there are no tags in repository team/missing in {host(upstream)}" in errors[2]
    assert errors[3] == ""
    assert server.digest_of("team/api", "v1.9.0")


def test_push_reports_registry_without_list_of_tags(push: Push, upstream: RegistryServer) -> None:
    upstream.fail("GET", "tags/list", Response(404, {}, b"{}"))

    result = push(entry(upstream, newest=1), upstreams=settings(upstream))

    assert "there are no tags in repository team/api" in error_of(result)


def test_push_records_selected_tags_in_lock_file(
    push: Push, upstream: RegistryServer, image: Image, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock.json"

    push(entry(upstream, semver="1.10.x"), upstreams=settings(upstream), lock=lock)

    assert json.loads(lock.read_text()) == {
        f"{host(upstream)}/team/api:v1.10.0": image.digest,
        f"{host(upstream)}/team/api:v1.10.1": image.digest,
    }


@pytest.mark.parametrize("name", [None, "registry.example.com/prod/api"])
def test_locked_push_selects_tags_of_lock_file_without_list(
    push: Push, upstream: RegistryServer, image: Image, tmp_path: Path, name: str | None
) -> None:
    lock = tmp_path / "images.lock.json"
    selected = entry(upstream, name, semver="<2", newest=2)
    push(selected, upstreams=settings(upstream), lock=lock)
    entries = {**json.loads(lock.read_text()), f"{host(upstream)}/team/apiary:v1.99": image.digest}
    lock.write_text(json.dumps(entries))
    upstream.manifests["team/api"]["v1.12.0"] = upstream.manifests["team/api"]["latest"]
    upstream.requests.clear()

    result = push(selected, upstreams=settings(upstream), lock=lock, locked=True)

    assert [each["tag"] for each in result["images"]] == ["v1.10.1", "v1.10.0"], result.get("msg")
    assert upstream.received("GET") == []
    assert not result["changed"]


def test_locked_push_fails_without_tag_in_lock_file(push: Push, upstream: RegistryServer, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.json"
    lock.write_text(json.dumps({}))

    result = push(entry(upstream, newest=1), upstreams=settings(upstream), lock=lock, locked=True)

    assert f"has no tag of {host(upstream)}/team/api" in error_of(result)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "oci:/x"}, "tags can only be selected in the repository of a registry"),
        ({"source": "docker://team/api:1"}, "'team/api:1' is not the name of a repository"),
        ({"source": f"docker://team/api@sha256:{'0' * 64}"}, "is not the name of a repository"),
        ({"source": "docker://"}, "'' is not the name of a repository"),
        ({"source": "docker://localhost:5000"}, "is not the name of a repository"),
        ({"name": "prod/api:1"}, "'prod/api:1' is not the name of a repository"),
        ({"tags": {"semver": "newest"}}, "'newest' in the range of versions"),
        ({"tags": {"semver": [["1"]]}}, r"semver is \[\['1'\]\]"),
        ({"tags": {"semver": True}}, "semver is True"),
        ({"tags": {"semver": 1.10}}, "semver is 1.1. Write a string in quotes"),
        ({"tags": {"match": "("}}, r"match is '\(', which is not a regular expression"),
        ({"tags": {"exclude": ["x", "a{99999999999}"]}}, r"exclude is 'a\{99999999999\}', which is not a regular"),
        ({"tags": {"match": 1.10}}, "match is 1.1. Write a string in quotes"),
        ({"tags": {"match": ["x"]}}, r"match is \['x'\]. Write one regular expression"),
        ({"tags": {"match": "x" * 1001}}, "match has more than 1000 characters"),
        ({"tags": {"newest": 0}}, "newest is 0"),
        ({"tags": {"at_most": 0}}, "at_most is 0"),
        ({"tags": {"latest": 3}}, "unknown keys in tags: latest; known keys: semver, match, exclude"),
        ({"tags": "1.x"}, "tags"),
    ],
)
def test_entry_with_tags_is_rejected(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=rf"^images\[0\] \(.*\) cannot be used: .*{reason}"):
        read_source_entries([{"source": "docker://team/api", "tags": {}, **changes}])


def test_entry_reads_rules_with_commas_and_numbers() -> None:
    (read,) = read_source_entries(
        [{"source": "docker://team/api", "tags": {"semver": [">=1.2, <2", 3], "exclude": r"\d{1,3}-x"}}]
    )

    assert read.tags
    assert len(read.tags.ranges) == 2
    assert [pattern.pattern for pattern in read.tags.exclude] == [r"\d{1,3}-x"]
