# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images reduced to the platforms that are wanted, from sources of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    layer,
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Push = Callable[..., dict[str, Any]]
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm", "windows/amd64")


@pytest.fixture
def parts() -> dict[str, Image]:
    """The images of some platforms."""
    return {
        platform: make_image(layer("bin/app", platform.encode()), architecture=platform.partition("/")[2])
        for platform in PLATFORMS
    }


@pytest.fixture
def many(parts: dict[str, Image]) -> Image:
    """An index of them."""
    return make_index(parts)


def wanted(folder: Path, *platforms: str) -> dict[str, Any]:
    return {"source": f"oci:{folder}:app:1", "platforms": list(platforms)}


def index_of(entries: list[dict[str, Any]], *images: Image) -> Image:
    """Return an index whose entries are these JSON objects."""
    content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    contents = {digest: part for image in images for digest, part in image.contents.items()}
    return Image(Descriptor(OCI_INDEX, digest_of(content), len(content)), {**contents, digest_of(content): content})


def error_of(result: dict[str, Any]) -> str:
    assert result["failed"]
    return str(result["images"][0]["error"])


def test_an_index_is_reduced_to_the_platforms_that_are_wanted(
    push: Push, server: RegistryServer, tmp_path: Path, many: Image, parts: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": many})

    result = push(wanted(tmp_path, "linux/arm64", "linux/amd64"))

    media_type, content = server.manifests["library/app"]["1"]
    index = json.loads(content)
    assert media_type == OCI_INDEX
    # Byte for byte as they were listed, in their order.
    assert index == {**many.manifest, "manifests": many.manifest["manifests"][:2]}
    assert result["images"][0]["digest"] == digest_of(content) != many.digest
    assert set(server.manifests["library/app"]) == {
        "1",
        digest_of(content),
        parts["linux/amd64"].digest,
        parts["linux/arm64"].digest,
    }


def test_what_is_left_is_the_same_in_every_run(push: Push, tmp_path: Path, many: Image) -> None:
    write_layout(tmp_path, {"app:1": many})
    entry = wanted(tmp_path, "linux/amd64", "linux/arm64")

    planned = push(entry, check_mode=True)
    first = push(entry)
    second = push(entry)

    assert not second["changed"]
    assert {result["images"][0]["digest"] for result in (planned, first, second)} == {first["images"][0]["digest"]}


def test_of_one_platform_the_image_itself_is_left(
    push: Push, server: RegistryServer, tmp_path: Path, many: Image, parts: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": many})

    result = push(wanted(tmp_path, "linux/arm64"))

    assert result["images"][0]["digest"] == parts["linux/arm64"].digest == server.digest_of("library/app", "1")


def test_when_all_are_wanted_the_index_stays(push: Push, tmp_path: Path, many: Image) -> None:
    write_layout(tmp_path, {"app:1": many})

    assert push(wanted(tmp_path, *PLATFORMS))["images"][0]["digest"] == many.digest


def test_no_platforms_are_all_platforms(push: Push, tmp_path: Path, many: Image) -> None:
    write_layout(tmp_path, {"app:1": many})

    assert push(wanted(tmp_path))["images"][0]["digest"] == many.digest


def test_other_platforms_need_not_be_there(push: Push, tmp_path: Path, many: Image, parts: dict[str, Image]) -> None:
    lacking = [digest for name in PLATFORMS[2:] for digest in parts[name].contents]
    write_layout(tmp_path, {"app:1": many}, leave_out=lacking)

    assert push(wanted(tmp_path, "linux/amd64", "linux/arm64"))["changed"]
    assert error_of(push(f"oci:{tmp_path}:app:1")) == (
        f"the folder {tmp_path} has no image for linux/arm: manifest {parts['linux/arm'].digest} is missing."
        " Select its existing platforms with platforms: [linux/amd64, linux/arm64]."
    )


def test_a_platform_that_the_image_does_not_have_is_said(push: Push, tmp_path: Path, many: Image) -> None:
    write_layout(tmp_path, {"app:1": many})

    assert error_of(push(wanted(tmp_path, "linux/amd64", "linux/s390x"))) == (
        f"image {many.digest} in the folder {tmp_path} does not have the platform linux/s390x."
        " Select from its platforms: linux/amd64, linux/arm64, linux/arm, windows/amd64."
    )


def test_an_image_without_index_is_known_by_its_config(push: Push, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path, {"app:1": image})

    assert push(wanted(tmp_path, "linux/amd64"))["images"][0]["digest"] == image.digest
    error = error_of(push(wanted(tmp_path, "linux/amd64", "linux/arm64")))
    assert "does not have the platform linux/arm64. Select from its platforms: linux/amd64" in error


def test_an_image_of_a_docker_archive_is_known_by_its_config(push: Push, tmp_path: Path, image: Image) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])
    source = f"docker-archive:{tmp_path}/app.tar"

    assert push({"source": source, "platforms": ["linux/amd64"]})["changed"]
    assert "does not have the platform linux/arm64" in error_of(push({"source": source, "platforms": ["linux/arm64"]}))


def test_what_is_made_for_no_platform_stays_as_it_is(push: Push, tmp_path: Path) -> None:
    config = b"no JSON"
    chart = make_image(config=describe(config, "application/vnd.cncf.helm.config.v1+json"))
    chart = Image(chart.root, {**chart.contents, digest_of(config): config})
    write_layout(tmp_path, {"app:1": chart})

    assert push(wanted(tmp_path, "linux/arm64"))["images"][0]["digest"] == chart.digest


def test_an_entry_that_names_no_platform_is_known_by_its_config(
    push: Push, tmp_path: Path, parts: dict[str, Image]
) -> None:
    amd64, arm64 = parts["linux/amd64"], parts["linux/arm64"]
    write_layout(tmp_path, {"app:1": index_of([amd64.root.to_json(), arm64.root.to_json()], amd64, arm64)})

    assert push(wanted(tmp_path, "linux/arm64"))["images"][0]["digest"] == arm64.digest


def test_attestations_of_an_index_are_left_out(push: Push, tmp_path: Path, parts: dict[str, Image]) -> None:
    amd64 = parts["linux/amd64"]
    unknown = {"architecture": "unknown", "os": "unknown"}
    entries = [
        {**amd64.root.to_json(), "platform": {"os": "linux", "architecture": "amd64"}},
        {**parts["linux/arm"].root.to_json(), "platform": unknown},
    ]
    write_layout(tmp_path, {"app:1": index_of(entries, *parts.values())})

    assert push(wanted(tmp_path, "linux/amd64"))["images"][0]["digest"] == amd64.digest


def test_an_index_within_an_index_is_looked_through(
    push: Push, tmp_path: Path, many: Image, parts: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": index_of([many.root.to_json()], many)})

    assert push(wanted(tmp_path, "linux/arm64"))["images"][0]["digest"] == parts["linux/arm64"].digest


def test_properties_that_we_do_not_know_are_kept(
    push: Push, server: RegistryServer, tmp_path: Path, parts: dict[str, Image]
) -> None:
    windows = parts["windows/amd64"].root.to_json()
    entries = [
        {**windows, "platform": {"os": "windows", "architecture": "amd64", "os.version": version}, "x-made-by": "us"}
        for version in ("10.0.20348.1", "10.0.17763.1")
    ] + [{**parts["linux/arm"].root.to_json(), "platform": {"os": "linux", "architecture": "arm"}}]
    write_layout(tmp_path, {"app:1": index_of(entries, *parts.values())})

    push(wanted(tmp_path, "windows/amd64"))

    assert json.loads(server.manifests["library/app"]["1"][1])["manifests"] == entries[:2]


def test_only_what_is_needed_is_asked_of_a_registry(
    push: Push, server: RegistryServer, many: Image, parts: dict[str, Image]
) -> None:
    with RegistryServer().running() as upstream:
        upstream.fill("team/app", "1", many)
        host = upstream.url.partition("//")[2]
        entry = {"source": f"docker://{host}/team/app@{many.digest}", "platforms": ["linux/amd64"]}

        result = push(entry, upstreams=[{"host": host, "plain_http": True}])

    amd64 = parts["linux/amd64"]
    assert result["images"][0]["target"] == f"team/app@{amd64.digest}", result.get("msg")
    asked = [path.rpartition("/")[2] for path in upstream.asked("GET")]
    assert set(asked) <= {many.digest, *amd64.contents}
    assert server.blobs["team/app"] == amd64.blobs


def test_one_image_of_many_that_lacks_a_platform_does_not_stop_the_others(
    push: Push, tmp_path: Path, many: Image, image: Image
) -> None:
    write_layout(tmp_path, {"app:1": many, "web:1": image})

    result = push({"source": f"oci:{tmp_path}", "platforms": ["linux/arm64"]})

    assert [each["changed"] for each in result["images"]] == [True, False]


def test_an_index_that_lists_itself_over_and_over_is_read_once(
    push: Push, server: RegistryServer, tmp_path: Path
) -> None:
    # Followed each time, it would be 20 to the power of 6.
    nested = make_index({"linux/amd64": make_image()})
    for _level in range(6):
        nested = index_of([nested.root.to_json()] * 20, nested)
    write_layout(tmp_path, {"app:1": nested})

    assert not push(wanted(tmp_path, "linux/amd64")).get("failed")


def test_half_a_character_in_an_index_is_no_text_of_it(push: Push, tmp_path: Path, parts: dict[str, Image]) -> None:
    entries = [image.root.to_json() for image in parts.values()]
    entries[0]["annotations"] = {"half": "\ud83d"}
    write_layout(tmp_path, {"app:1": index_of(entries, *parts.values())})

    assert "the manifest is not JSON" in error_of(push(wanted(tmp_path, "linux/amd64")))
