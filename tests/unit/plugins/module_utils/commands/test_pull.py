# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_pull``: results, destinations, names and failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.copies import read_location
from unit.plugins.module_utils.support.images import (
    Image,
    read_tar,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Pull = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_pull_writes_image_to_every_kind_of_destination(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, transport: str
) -> None:
    server.fill("team/app", "1", image)

    result = pull({"name": "example.com/team/app:1", "dest": f"{transport}:{tmp_path}/app"})

    assert result["changed"] is True
    assert read_location(f"{transport}:{tmp_path}/app:example.com/team/app:1") == image.contents


def test_pull_result_has_actions_and_digests(pull: Pull, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    server.fill("team/app", "1", image)

    result = pull({"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"})

    (pulled,) = result["images"]
    blobs = pulled.pop("blobs")
    assert pulled == {
        "name": "docker.io/team/app:1",
        "repository": "team/app",
        "tag": "1",
        "dest": f"oci-archive:{tmp_path}/app.tar",
        "target": f"oci-archive:{tmp_path}/app.tar:docker.io/team/app:1",
        "changed": True,
        "digest": image.digest,
        "digest_before": None,
        "present": {"blobs": 0, "bytes": 0},
        "mounted": {"blobs": 0, "bytes": 0},
        "sent": {"blobs": 3, "bytes": sum(map(len, image.blobs.values()))},
    }
    assert [blob["digest"] for blob in blobs] == list(image.blobs)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_second_pull_changes_nothing(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, transport: str
) -> None:
    server.fill("team/app", "1", image)
    entry = {"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app"}
    pull(entry)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    server.requests.clear()

    result = pull(entry)

    assert result["changed"] is False
    assert [str(request) for request in server.requests] == ["HEAD /v2/team/app/manifests/1"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_check_mode_returns_result_of_pull_without_writing(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, transport: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", other_image)
    entries = [{"name": f"team/app:{tag}", "dest": f"{transport}:{tmp_path}/app"} for tag in ("1", "2", "missing")]

    planned = pull(*entries, check_mode=True)

    assert list(tmp_path.iterdir()) == []
    assert planned == pull(*entries)
    assert [pulled.get("present") for pulled in planned["images"]] == [
        {"blobs": 0, "bytes": 0},
        {"blobs": 1, "bytes": len(image.blobs[image.layers[0]])},
        None,
    ]


def test_pull_downloads_common_blob_of_two_images_once(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("one", "1", image)
    server.fill("two", "1", other_image)

    pull(*({"name": f"example.com/{name}:1", "dest": f"oci-archive:{tmp_path}/app.tar"} for name in ("one", "two")))

    assert len([request for request in server.received("GET") if "/blobs/" in request]) == 5
    assert read_location(f"{tmp_path}/app.tar:example.com/two:1") == other_image.contents


def test_pull_writes_other_images_when_one_is_missing(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    dest = f"oci-archive:{tmp_path}/app.tar"

    result = pull({"name": "team/missing:1", "dest": dest}, {"name": "team/app:1", "dest": dest})

    assert (
        "1 of 2 images failed.\ndocker.io/team/missing:1: there is no image 1 in repository team/missing"
        in result["msg"]
    )
    assert "Push it first" in result["msg"]
    assert read_location(dest) == image.contents


def test_failed_pull_keeps_existing_archive(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    before = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image}).read_bytes()
    server.fill("team/app", "1", other_image)
    server.fail("GET", other_image.layers[1], lambda response: replace(response, body=response.body[:-1] + b"!"))

    result = pull({"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"})

    assert result["changed"] is False
    assert f"blob {other_image.layers[1]} from repository team/app in the registry is damaged" in result["msg"]
    assert (tmp_path / "app.tar").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "app.tar"]


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_pull_keeps_existing_archive_when_disk_is_full(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, large_image: Image, transport: str
) -> None:
    before = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image}).read_bytes()
    server.fill("team/app", "1", large_image)

    result = pull({"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app.tar"})

    assert "app.tar cannot be written: File too large. The previous content is unchanged" in result["msg"]
    assert (tmp_path / "app.tar").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "app.tar"]


@pytest.mark.usefixtures("full_disk")
def test_pull_keeps_existing_layout_when_disk_is_full(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, large_image: Image
) -> None:
    write_layout(tmp_path, {"docker.io/team/app:1": image})
    server.fill("team/app", "1", large_image)

    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}"})

    assert "cannot be written: File too large" in result["msg"]
    assert read_location(f"oci:{tmp_path}:docker.io/team/app:1") == image.contents
    assert not list(tmp_path.rglob(".*"))


def test_pull_skips_blobs_of_failed_pull(pull: Pull, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", image.layers[1], lambda response: replace(response, body=b"?" * len(response.body)), times=1)
    entry = {"name": "team/app:1", "dest": f"oci:{tmp_path}/app"}
    assert pull(entry)["failed"]

    result = pull(entry)

    assert [(blob["digest"], blob["action"]) for blob in result["images"][0]["blobs"]] == [
        (digest_of(image.config), "present"),
        (image.layers[0], "present"),
        (image.layers[1], "sent"),
    ]
    assert read_location(f"oci:{tmp_path}/app") == image.contents


def test_pull_writes_no_archive_when_one_of_its_images_fails(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("one", "1", image)
    server.fill("two", "1", other_image)
    server.fail("GET", other_image.layers[1], lambda response: replace(response, body=b""))

    result = pull(
        {"name": "example.com/one:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
        {"name": "example.com/two:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
        {"name": "example.com/one:1", "dest": f"oci:{tmp_path}/layout"},
    )

    assert result["images"][0]["error"] == "not copied, because example.com/two:1 failed"
    assert [pulled["changed"] for pulled in result["images"]] == [False, False, True]
    assert list(tmp_path.iterdir()) == [tmp_path / "layout"]


def test_pull_writes_name_of_destination_to_archive(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)

    pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app.tar:app"})

    assert json.loads(read_tar(tmp_path / "app.tar")["manifest.json"])[0]["RepoTags"] == [
        "docker.io/library/app:latest"
    ]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_pull_by_tag_and_digest_uses_digest_and_keeps_tag(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, transport: str
) -> None:
    server.fill("team/app", "1", other_image)
    server.fill("team/app", None, image)

    pull({"name": f"team/app:1@{image.digest}", "dest": f"{transport}:{tmp_path}/app"})

    assert read_location(f"{transport}:{tmp_path}/app:docker.io/team/app:1") == image.contents


def test_pull_by_digest_names_image_by_digest(pull: Pull, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    server.fill("team/app", None, image)

    pull({"name": f"team/app@{image.digest}", "dest": f"oci:{tmp_path}/app"})

    assert read_location(f"oci:{tmp_path}/app:{image.digest}") == image.contents


def test_pull_requests_qualified_repository_with_host(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("example.com/team/app", "1", image)

    result = pull({"name": "example.com/team/app:1", "dest": f"oci:{tmp_path}/app"}, qualify=True)

    assert result["images"][0]["repository"] == "example.com/team/app"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("oci:{}/app:1", "oci:{}/app:1"),
        ("oci:{}/app:1", "oci:{}/../{}/app:1"),
        ("docker-archive:{}/app:team/app", "docker-archive:{}/app:docker.io/team/app:latest"),
    ],
)
def test_pull_rejects_two_images_with_same_target(pull: Pull, tmp_path: Path, first: str, second: str) -> None:
    names = [first.replace("{}", str(tmp_path), 1), second.replace("{}", str(tmp_path), 1).replace("{}", tmp_path.name)]

    with pytest.raises(InputError, match="would both be written to"):
        pull(*({"name": f"team/{number}:1", "dest": dest} for number, dest in enumerate(names)))


def test_pull_rejects_two_kinds_of_archive_in_one_file(pull: Pull, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"app.tar cannot be oci-archive: and docker-archive: at once"):
        pull(
            {"name": "team/one:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
            {"name": "team/two:1", "dest": f"docker-archive:{tmp_path}/app.tar"},
        )


def test_pull_fails_only_images_of_invalid_destinations(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    (tmp_path / "thesis.txt").touch()

    result = pull(
        {"name": "team/app:1", "dest": f"oci:{tmp_path}"},
        {"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/missing/app.tar"},
        {"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
    )

    assert [pulled.get("error", "").partition(".")[0] for pulled in result["images"]] == [
        f"{tmp_path} has files but no OCI layout",
        f"the folder {tmp_path}/missing does not exist",
        "",
    ]
    assert result["images"][2]["changed"] is True
