# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images reduced to the selected platforms, from every kind of source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.image_config import ConfigPlatforms
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    index_of,
    layer,
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.upstream_servers import error_of, host, settings

Push = Callable[..., dict[str, Any]]
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm", "windows/amd64")


@pytest.fixture
def platform_images() -> dict[str, Image]:
    """One image for each platform."""
    return {
        platform: make_image(layer("bin/app", platform.encode()), architecture=platform.partition("/")[2])
        for platform in PLATFORMS
    }


@pytest.fixture
def full_index(platform_images: dict[str, Image]) -> Image:
    """An index of the images for all platforms."""
    return make_index(platform_images)


def layout_entry(folder: Path, *platforms: str) -> dict[str, Any]:
    """Return the entry of ``images`` for these platforms of the image app:1 in a layout."""
    return {"source": f"oci:{folder}:app:1", "platforms": list(platforms)}


def test_push_reduces_index_to_selected_platforms(
    push: Push, server: RegistryServer, tmp_path: Path, full_index: Image, platform_images: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": full_index})

    result = push(layout_entry(tmp_path, "linux/arm64", "linux/amd64"))

    media_type, content = server.manifests["library/app"]["1"]
    index = json.loads(content)
    assert media_type == OCI_INDEX
    # The entries are unchanged and in the same order.
    assert index == {**full_index.manifest, "manifests": full_index.manifest["manifests"][:2]}
    assert result["images"][0]["digest"] == digest_of(content) != full_index.digest
    assert set(server.manifests["library/app"]) == {
        "1",
        digest_of(content),
        platform_images["linux/amd64"].digest,
        platform_images["linux/arm64"].digest,
    }


def test_reduced_index_is_the_same_in_every_run(push: Push, tmp_path: Path, full_index: Image) -> None:
    write_layout(tmp_path, {"app:1": full_index})
    entry = layout_entry(tmp_path, "linux/amd64", "linux/arm64")

    planned = push(entry, check_mode=True)
    first = push(entry)
    second = push(entry)

    assert not second["changed"]
    assert {result["images"][0]["digest"] for result in (planned, first, second)} == {first["images"][0]["digest"]}


def test_push_copies_image_without_index_for_one_platform(
    push: Push, server: RegistryServer, tmp_path: Path, full_index: Image, platform_images: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": full_index})

    result = push(layout_entry(tmp_path, "linux/arm64"))

    assert (
        result["images"][0]["digest"] == platform_images["linux/arm64"].digest == server.digest_of("library/app", "1")
    )


def test_index_is_unchanged_with_all_platforms_selected(push: Push, tmp_path: Path, full_index: Image) -> None:
    write_layout(tmp_path, {"app:1": full_index})

    assert push(layout_entry(tmp_path, *PLATFORMS))["images"][0]["digest"] == full_index.digest


def test_index_is_unchanged_without_selected_platforms(push: Push, tmp_path: Path, full_index: Image) -> None:
    write_layout(tmp_path, {"app:1": full_index})

    assert push(layout_entry(tmp_path))["images"][0]["digest"] == full_index.digest


def test_push_succeeds_when_other_platforms_are_missing(
    push: Push, tmp_path: Path, full_index: Image, platform_images: dict[str, Image]
) -> None:
    missing = [digest for name in PLATFORMS[2:] for digest in platform_images[name].contents]
    write_layout(tmp_path, {"app:1": full_index}, leave_out=missing)

    assert push(layout_entry(tmp_path, "linux/amd64", "linux/arm64"))["changed"]
    assert error_of(push(f"oci:{tmp_path}:app:1")) == (
        f"the folder {tmp_path} has no image for linux/arm: manifest {platform_images['linux/arm'].digest} is missing."
        " Select its existing platforms with platforms: [linux/amd64, linux/arm64]."
    )


def test_push_error_lists_platforms_when_selected_one_is_missing(push: Push, tmp_path: Path, full_index: Image) -> None:
    write_layout(tmp_path, {"app:1": full_index})

    assert error_of(push(layout_entry(tmp_path, "linux/amd64", "linux/s390x"))) == (
        f"image {full_index.digest} in the folder {tmp_path} does not have the platform linux/s390x."
        " Select from its platforms: linux/amd64, linux/arm64, linux/arm, windows/amd64."
    )


def test_platform_is_read_from_config_without_index(push: Push, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path, {"app:1": image})

    assert push(layout_entry(tmp_path, "linux/amd64"))["images"][0]["digest"] == image.digest
    error = error_of(push(layout_entry(tmp_path, "linux/amd64", "linux/arm64")))
    assert "does not have the platform linux/arm64. Select from its platforms: linux/amd64" in error


def test_platform_is_read_from_config_in_docker_archive(push: Push, tmp_path: Path, image: Image) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])
    source = f"docker-archive:{tmp_path}/app.tar"

    assert push({"source": source, "platforms": ["linux/amd64"]})["changed"]
    assert "does not have the platform linux/arm64" in error_of(push({"source": source, "platforms": ["linux/arm64"]}))


def test_artifact_without_platform_is_unchanged(push: Push, tmp_path: Path) -> None:
    config = b"no JSON"
    chart = make_image(config=describe(config, "application/vnd.cncf.helm.config.v1+json"))
    chart = Image(chart.root, {**chart.contents, digest_of(config): config})
    write_layout(tmp_path, {"app:1": chart})

    assert push(layout_entry(tmp_path, "linux/arm64"))["images"][0]["digest"] == chart.digest


def test_platform_is_read_from_config_for_entry_without_platform(
    push: Push, tmp_path: Path, platform_images: dict[str, Image]
) -> None:
    amd64, arm64 = platform_images["linux/amd64"], platform_images["linux/arm64"]
    write_layout(tmp_path, {"app:1": index_of([amd64.root.to_json(), arm64.root.to_json()], amd64, arm64)})

    assert push(layout_entry(tmp_path, "linux/arm64"))["images"][0]["digest"] == arm64.digest


@pytest.mark.parametrize("platform", [None, {}, {"os": "", "architecture": ""}, {"os": "linux"}])
def test_platform_is_read_from_config_for_entry_without_complete_platform(
    push: Push, tmp_path: Path, platform_images: dict[str, Image], platform: object
) -> None:
    amd64, arm64 = platform_images["linux/amd64"], platform_images["linux/arm64"]
    entries = [{**each.root.to_json(), "platform": platform} for each in (amd64, arm64)]
    write_layout(tmp_path, {"app:1": index_of(entries, amd64, arm64)})

    assert push(layout_entry(tmp_path, "linux/arm64"))["images"][0]["digest"] == arm64.digest


def test_configs_with_platforms_are_read_up_to_a_total_size(
    push: Push, tmp_path: Path, platform_images: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list(platform_images.values())
    write_layout(tmp_path, {"app:1": index_of([image.root.to_json() for image in images], *images)})
    monkeypatch.setattr(f"{ConfigPlatforms.__module__}._MAXIMUM_BYTES", len(images[0].config) + 1)

    message = push(layout_entry(tmp_path, "linux/arm64"))["msg"]

    assert f"the configs of its images have more than {len(images[0].config) + 1} bytes" in message


def test_reduced_index_has_no_attestations(push: Push, tmp_path: Path, platform_images: dict[str, Image]) -> None:
    amd64 = platform_images["linux/amd64"]
    unknown = {"architecture": "unknown", "os": "unknown"}
    entries = [
        {**amd64.root.to_json(), "platform": {"os": "linux", "architecture": "amd64"}},
        {**platform_images["linux/arm"].root.to_json(), "platform": unknown},
    ]
    write_layout(tmp_path, {"app:1": index_of(entries, *platform_images.values())})

    assert push(layout_entry(tmp_path, "linux/amd64"))["images"][0]["digest"] == amd64.digest


def test_push_finds_platform_in_nested_index(
    push: Push, tmp_path: Path, full_index: Image, platform_images: dict[str, Image]
) -> None:
    write_layout(tmp_path, {"app:1": index_of([full_index.root.to_json()], full_index)})

    assert push(layout_entry(tmp_path, "linux/arm64"))["images"][0]["digest"] == platform_images["linux/arm64"].digest


def test_reduced_index_keeps_unknown_properties(
    push: Push, server: RegistryServer, tmp_path: Path, platform_images: dict[str, Image]
) -> None:
    windows = platform_images["windows/amd64"].root.to_json()
    entries = [
        {
            **windows,
            "platform": {"os": "windows", "architecture": "amd64", "os.version": version},
            "x-made-by": "example",
        }
        for version in ("10.0.20348.1", "10.0.17763.1")
    ] + [{**platform_images["linux/arm"].root.to_json(), "platform": {"os": "linux", "architecture": "arm"}}]
    write_layout(tmp_path, {"app:1": index_of(entries, *platform_images.values())})

    push(layout_entry(tmp_path, "windows/amd64"))

    assert json.loads(server.manifests["library/app"]["1"][1])["manifests"] == entries[:2]


def test_push_requests_only_selected_platform_from_registry(
    push: Push, server: RegistryServer, upstream: RegistryServer, full_index: Image, platform_images: dict[str, Image]
) -> None:
    upstream.fill("team/app", "1", full_index)
    entry = {"source": f"docker://{host(upstream)}/team/app@{full_index.digest}", "platforms": ["linux/amd64"]}

    result = push(entry, upstreams=settings(upstream))

    amd64 = platform_images["linux/amd64"]
    assert result["images"][0]["target"] == f"team/app@{amd64.digest}", result.get("msg")
    requested = [path.rpartition("/")[2] for path in upstream.received("GET")]
    assert set(requested) <= {full_index.digest, *amd64.contents}
    assert server.blobs["team/app"] == amd64.blobs


def test_push_copies_other_images_when_platform_of_one_is_missing(
    push: Push, tmp_path: Path, full_index: Image, image: Image
) -> None:
    write_layout(tmp_path, {"app:1": full_index, "web:1": image})

    result = push({"source": f"oci:{tmp_path}", "platforms": ["linux/arm64"]})

    assert [each["changed"] for each in result["images"]] == [True, False]


def test_nested_index_is_read_once_when_listed_again(push: Push, server: RegistryServer, tmp_path: Path) -> None:
    # Without a record of what was read, this would take 20 to the power of 6 reads.
    nested = make_index({"linux/amd64": make_image()})
    for _level in range(6):
        nested = index_of([nested.root.to_json()] * 20, nested)
    write_layout(tmp_path, {"app:1": nested})

    assert not push(layout_entry(tmp_path, "linux/amd64")).get("failed")


def test_push_rejects_index_with_lone_surrogate(push: Push, tmp_path: Path, platform_images: dict[str, Image]) -> None:
    entries = [image.root.to_json() for image in platform_images.values()]
    entries[0]["annotations"] = {"half": "\ud83d"}
    write_layout(tmp_path, {"app:1": index_of(entries, *platform_images.values())})

    assert "the manifest is not JSON" in error_of(push(layout_entry(tmp_path, "linux/amd64")))
