# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``k8scr_pull`` makes of what the user writes, out of a real registry."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import open_source, parse_location
from unit.plugins.module_utils.support.images import (
    Image,
    make_image,
    make_index,
    read_tar,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.stores import read_image

Pull = Callable[..., dict[str, Any]]


def contents(location: str) -> dict[str, bytes]:
    """Return all that the one image at a location consists of."""
    source = open_source(parse_location(location))
    (found,) = source.images(parse_location(location).name)
    try:
        return read_image(source, found.root)
    finally:
        source.close()


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_every_kind_of_place_has_the_image_afterwards(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, transport: str
) -> None:
    server.fill("team/app", "1", image)

    result = pull({"name": "example.com/team/app:1", "dest": f"{transport}:{tmp_path}/app"})

    assert result["changed"] is True
    assert contents(f"{transport}:{tmp_path}/app:example.com/team/app:1") == image.contents


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_an_image_of_several_platforms_is_fetched_whole(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image, transport: str
) -> None:
    server.fill("team/app", "1", multi)

    pull({"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app"})

    assert contents(f"{transport}:{tmp_path}/app") == multi.contents


def test_a_result_says_what_became_of_the_image(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
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
def test_a_second_run_changes_nothing(
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
def test_check_mode_says_what_the_run_will_say_and_writes_nothing(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, transport: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", other_image)
    entries = [{"name": f"team/app:{tag}", "dest": f"{transport}:{tmp_path}/app"} for tag in ("1", "2", "lacking")]

    planned = pull(*entries, check_mode=True)

    assert list(tmp_path.iterdir()) == []
    assert planned == pull(*entries)
    assert [pulled.get("present") for pulled in planned["images"]] == [
        {"blobs": 0, "bytes": 0},
        {"blobs": 1, "bytes": len(image.blobs[image.layers[0]])},
        None,
    ]


def test_a_blob_that_two_images_share_is_fetched_once(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("one", "1", image)
    server.fill("two", "1", other_image)

    pull(*({"name": f"example.com/{name}:1", "dest": f"oci-archive:{tmp_path}/app.tar"} for name in ("one", "two")))

    assert len([request for request in server.asked("GET") if "/blobs/" in request]) == 5
    assert contents(f"{tmp_path}/app.tar:example.com/two:1") == other_image.contents


def test_a_missing_image_does_not_stop_the_others(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    dest = f"oci-archive:{tmp_path}/app.tar"

    result = pull({"name": "team/lacking:1", "dest": dest}, {"name": "team/app:1", "dest": dest})

    assert (
        "1 of 2 images failed. docker.io/team/lacking:1: there is no image 1 in repository team/lacking"
        in result["msg"]
    )
    assert "Push it first" in result["msg"]
    assert contents(dest) == image.contents


def test_a_failed_pull_leaves_the_archive_that_was_there(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    before = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image}).read_bytes()
    server.fill("team/app", "1", other_image)
    server.fail("GET", other_image.layers[1], lambda answer: replace(answer, body=answer.body[:-1] + b"!"))

    result = pull({"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"})

    assert result["changed"] is False
    assert f"blob {other_image.layers[1]} from repository team/app in the registry is damaged" in result["msg"]
    assert (tmp_path / "app.tar").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "app.tar"]


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_a_full_disk_leaves_the_archive_that_was_there(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, large_image: Image, transport: str
) -> None:
    before = write_oci_archive(tmp_path / "app.tar", {"docker.io/team/app:1": image}).read_bytes()
    server.fill("team/app", "1", large_image)

    result = pull({"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app.tar"})

    assert "app.tar cannot be written: File too large. The previous content is unchanged" in result["msg"]
    assert (tmp_path / "app.tar").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "app.tar"]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_layout_that_was_there(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, large_image: Image
) -> None:
    write_layout(tmp_path, {"docker.io/team/app:1": image})
    server.fill("team/app", "1", large_image)

    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}"})

    assert "cannot be written: File too large" in result["msg"]
    assert contents(f"oci:{tmp_path}:docker.io/team/app:1") == image.contents
    assert not list(tmp_path.rglob(".*"))


def test_a_pull_that_failed_is_gone_on_with(pull: Pull, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", image.layers[1], lambda answer: replace(answer, body=b"?" * len(answer.body)), times=1)
    entry = {"name": "team/app:1", "dest": f"oci:{tmp_path}/app"}
    assert pull(entry)["failed"]

    result = pull(entry)

    assert [(blob["digest"], blob["action"]) for blob in result["images"][0]["blobs"]] == [
        (digest_of(image.config), "present"),
        (image.layers[0], "present"),
        (image.layers[1], "sent"),
    ]
    assert contents(f"oci:{tmp_path}/app") == image.contents


def test_one_image_of_an_archive_that_fails_fails_the_archive(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("one", "1", image)
    server.fill("two", "1", other_image)
    server.fail("GET", other_image.layers[1], lambda answer: replace(answer, body=b""))

    result = pull(
        {"name": "example.com/one:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
        {"name": "example.com/two:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
        {"name": "example.com/one:1", "dest": f"oci:{tmp_path}/layout"},
    )

    assert result["images"][0]["error"] == "it was not delivered because example.com/two:1 failed"
    assert [pulled["changed"] for pulled in result["images"]] == [False, False, True]
    assert list(tmp_path.iterdir()) == [tmp_path / "layout"]


def test_an_index_for_docker_fails_with_what_can_be_had_instead(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("team/app", "1", multi)
    dest = f"docker-archive:{tmp_path}/app.tar:team/app:1"

    refused = pull({"name": "team/app:1", "dest": dest})
    pull({"name": "team/app:1", "dest": dest, "platforms": ["linux/amd64"]})

    assert "select one with platforms (linux/amd64, linux/arm64)" in refused["msg"]
    assert json.loads(read_tar(tmp_path / "app.tar")["manifest.json"])[0]["RepoTags"] == ["docker.io/team/app:1"]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_one_platform_comes_alone(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image, transport: str
) -> None:
    server.fill("team/app", "1", multi)
    wanted = {"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app", "platforms": ["linux/arm64"]}

    planned = pull(wanted, check_mode=True)
    pulled = copy.deepcopy(pull(wanted))
    again = pull(wanted)

    arm64 = multi.manifest["manifests"][1]["digest"]
    assert planned == pulled
    assert pulled["images"][0]["digest"] == arm64
    assert not again["changed"]
    assert arm64 in contents(f"{transport}:{tmp_path}/app")
    assert len(contents(f"{transport}:{tmp_path}/app")) == 4


def test_some_platforms_of_an_index_are_an_index_of_their_own(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": other_image, "linux/s390x": make_image()})
    server.fill("team/app", "1", index)
    wanted = {
        "name": f"team/app@{index.digest}",
        "dest": f"oci:{tmp_path}/app",
        "platforms": ["linux/amd64", "linux/arm64"],
    }

    pulled = copy.deepcopy(pull(wanted))

    (result,) = pulled["images"]
    assert result["target"] == f"oci:{tmp_path}/app:{result['digest']}"
    content = json.loads(contents(f"oci:{tmp_path}/app")[result["digest"]])
    assert [entry["digest"] for entry in content["manifests"]] == [image.digest, other_image.digest]
    assert not pull(wanted)["changed"]


def test_an_index_of_one_platform_gives_its_image_where_that_is_asked_for(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", make_index({"linux/amd64": image}))

    result = pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app", "platforms": ["linux/amd64"]})

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_a_platform_that_the_image_lacks_is_told_with_what_it_has(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("team/app", "1", multi)

    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}/app", "platforms": ["linux/s390x"]})

    expected = "does not have the platform linux/s390x. Select from its platforms: linux/amd64, linux/arm64"
    assert expected in result["msg"]
    assert not (tmp_path / "app").exists()


def test_one_name_for_different_platforms_is_refused(pull: Pull, tmp_path: Path) -> None:
    wanted = {"name": "team/app:1", "dest": f"oci:{tmp_path}/app"}

    with pytest.raises(InputError, match="would both be written to"):
        pull({**wanted, "platforms": ["linux/amd64"]}, {**wanted, "platforms": ["linux/arm64"]})


def test_the_name_in_the_archive_can_be_chosen(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)

    pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app.tar:app"})

    assert json.loads(read_tar(tmp_path / "app.tar")["manifest.json"])[0]["RepoTags"] == [
        "docker.io/library/app:latest"
    ]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_a_digest_beside_the_tag_chooses_the_image_and_not_its_name(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, transport: str
) -> None:
    server.fill("team/app", "1", other_image)
    server.fill("team/app", None, image)

    pull({"name": f"team/app:1@{image.digest}", "dest": f"{transport}:{tmp_path}/app"})

    assert contents(f"{transport}:{tmp_path}/app:docker.io/team/app:1") == image.contents


def test_an_image_that_is_named_by_its_digest_is_found_by_it(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", None, image)

    pull({"name": f"team/app@{image.digest}", "dest": f"oci:{tmp_path}/app"})

    assert contents(f"oci:{tmp_path}/app:{image.digest}") == image.contents


def test_a_qualified_repository_is_asked_for_with_its_host(
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
def test_two_images_under_one_name_are_refused(pull: Pull, tmp_path: Path, first: str, second: str) -> None:
    names = [first.replace("{}", str(tmp_path), 1), second.replace("{}", str(tmp_path), 1).replace("{}", tmp_path.name)]

    with pytest.raises(InputError, match="would both be written to"):
        pull(*({"name": f"team/{number}:1", "dest": dest} for number, dest in enumerate(names)))


def test_two_kinds_of_archive_in_one_file_are_refused(pull: Pull, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"app.tar cannot be oci-archive: and docker-archive: at once"):
        pull(
            {"name": "team/one:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
            {"name": "team/two:1", "dest": f"docker-archive:{tmp_path}/app.tar"},
        )


def test_a_place_that_cannot_be_written_to_fails_its_images_alone(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)
    (tmp_path / "thesis.txt").touch()

    result = pull(
        {"name": "team/app:1", "dest": f"oci:{tmp_path}"},
        {"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/lacking/app.tar"},
        {"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"},
    )

    assert [pulled.get("error", "").partition(".")[0] for pulled in result["images"]] == [
        f"{tmp_path} has files but no OCI layout",
        f"the folder {tmp_path}/lacking does not exist",
        "",
    ]
    assert result["images"][2]["changed"] is True
