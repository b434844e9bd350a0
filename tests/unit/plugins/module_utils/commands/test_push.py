# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_push``: sources, results, failures and mounts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import tar_reader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_content import open_content
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.images import (
    Image,
    make_index,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response

Push = Callable[..., dict[str, Any]]


def sources(folder: Path, image: Image) -> list[str]:
    """Write an image to every kind of source. Return the sources, as users write them."""
    write_layout(folder / "layout", {"example.com/team/app:1": image})
    write_oci_archive(folder / "oci.tar", {"example.com/team/app:1": image})
    write_docker_archive(folder / "docker.tar", [(["example.com/team/app:1"], image)])
    return [f"oci:{folder}/layout", f"oci-archive:{folder}/oci.tar", f"docker-archive:{folder}/docker.tar"]


def test_push_uploads_image_from_every_kind_of_source(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    for source in sources(tmp_path, image):
        server.manifests.clear()

        result = push(source)

        (pushed,) = result["images"]
        assert result["changed"] is True
        assert pushed["digest"] == server.digest_of("team/app", "1")
        assert pushed["digest_before"] is None


def test_push_opens_archive_of_several_entries_once(
    push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, image: Image, other_image: Image
) -> None:
    archive = write_oci_archive(tmp_path / "oci.tar", {"app:1": image, "app:2": other_image})
    opened = Mock(wraps=open_content)
    monkeypatch.setattr(tar_reader, "open_content", opened)

    result = push(f"oci-archive:{archive}:app:1", f"oci-archive:{archive}:app:2")

    assert [pushed["digest"] for pushed in result["images"]] == [image.digest, other_image.digest]
    opened.assert_called_once()


def test_push_result_has_actions_and_digests(push: Push, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path, {"example.com/team/app:1": image})
    size = sum(map(len, image.blobs.values()))

    result = push(f"oci:{tmp_path}")

    assert result == {
        "changed": True,
        "images": [
            {
                "name": "example.com/team/app:1",
                "source": f"oci:{tmp_path}",
                "repository": "team/app",
                "tag": "1",
                "target": "team/app:1",
                "changed": True,
                "digest": image.digest,
                "digest_before": None,
                "present": {"blobs": 0, "bytes": 0},
                "mounted": {"blobs": 0, "bytes": 0},
                "sent": {"blobs": 3, "bytes": size},
                "blobs": [
                    {"digest": digest, "size": len(content), "action": "sent"}
                    for digest, content in image.blobs.items()
                ],
            }
        ],
        "diff": {"before": "", "after": f"team/app:1 {image.digest} (2 of 2 layers, {size} bytes to copy)\n"},
        "retries": [],
        "selections": [],
    }
    assert json.loads(json.dumps(result)) == result


def test_second_push_changes_nothing(push: Push, tmp_path: Path, image: Image) -> None:
    for source in sources(tmp_path, image):
        push(source)

        result = push(source)

        assert result["changed"] is False
        assert result["images"][0]["digest"] == result["images"][0]["digest_before"]
        assert result["diff"] == {"before": "", "after": ""}


def test_push_of_docker_archive_changes_nothing_for_existing_image(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    _layout, _archive, docker = sources(tmp_path, image)
    server.fill("team/app", "1", image)

    result = push(docker)

    assert result["changed"] is False
    assert result["images"][0]["digest"] == image.digest


def test_push_moves_tag_and_reports_diff(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    write_layout(tmp_path, {"example.com/team/app:1": other_image})

    result = push(f"oci:{tmp_path}")

    assert result["images"][0]["digest_before"] == image.digest
    size = result["images"][0]["sent"]["bytes"]
    assert result["diff"] == {
        "before": f"team/app:1 {image.digest}\n",
        "after": f"team/app:1 {other_image.digest} (1 of 2 layers, {size} bytes to copy)\n",
    }
    assert server.digest_of("team/app", "1") == other_image.digest


def test_check_mode_returns_result_of_push_without_changes(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    server.fill("present", "1", image)
    server.fill("changed", "1", image)
    images = {
        "present:1": image,
        "changed:1": other_image,
        "new:1": multi,
        "copy:1": make_index({"linux/amd64": image}),
    }
    source = write_layout(tmp_path, images)
    before = {name: dict(manifests) for name, manifests in server.manifests.items()}
    server.requests.clear()

    planned = push(f"oci:{source}", f"oci:{source}:missing:1", check_mode=True)

    assert {request.method for request in server.requests} == {"HEAD"}
    assert {name: manifests for name, manifests in server.manifests.items() if manifests} == before
    assert planned == push(f"oci:{source}", f"oci:{source}:missing:1")


@pytest.mark.parametrize(("qualify", "repository"), [(False, "team/app"), (True, "registry.example.com_5000/team/app")])
def test_repository_has_host_of_name_only_with_qualify(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, qualify: bool, repository: str
) -> None:
    write_layout(tmp_path, {"registry.example.com:5000/team/app:1": image})

    push(f"oci:{tmp_path}", qualify=qualify)

    assert server.digest_of(repository, "1") == image.digest


def test_push_stores_image_under_name_of_entry(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"1.0": image})

    result = push({"source": f"oci:{tmp_path}:1.0", "name": "example.com/team/api"})

    assert result["images"][0]["target"] == "team/api:latest"
    assert server.digest_of("team/api", "latest") == image.digest


def test_push_rejects_other_digest_than_source_has(push: Push, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path, {"1.0": image})

    result = push({"source": f"oci:{tmp_path}", "name": f"team/api:1@{digest_of(b'other')}"})

    assert f"has {image.digest}, not the digest of docker.io/team/api:1@sha256:" in result["msg"]


def test_push_uploads_all_images_of_archive_in_order(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1", "app:one"], image), (["app:2"], other_image)])

    result = push(f"{tmp_path}/app.tar")

    assert [pushed["target"] for pushed in result["images"]] == ["library/app:1", "library/app:one", "library/app:2"]
    assert server.digest_of("library/app", "1") == server.digest_of("library/app", "one")


def test_push_fails_only_image_without_name(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_docker_archive(tmp_path / "app.tar", [([], image), (["app:2"], other_image)])

    result = push(f"{tmp_path}/app.tar")

    assert "1 of 2 images failed" in result["msg"]
    assert "has no name. Set its name with the option name" in result["msg"]
    assert server.digest_of("library/app", "2")


def test_push_rejects_one_name_for_two_images(push: Push, tmp_path: Path, image: Image, other_image: Image) -> None:
    write_layout(tmp_path, {"app:1": image, "app:2": other_image})

    result = push({"source": f"oci:{tmp_path}", "name": "app:3"})

    assert "has 2 images, which cannot all have the same name" in result["msg"]
    assert f"oci:{tmp_path}:@0 is the first of docker.io/library/app:1, docker.io/library/app:2." in result["msg"]


def test_push_lists_ten_of_many_names_to_choose_from(
    push: Push, tmp_path: Path, image: Image, other_image: Image
) -> None:
    images = {f"app:{number}": image if number else other_image for number in range(13)}
    write_layout(tmp_path, images)

    result = push({"source": f"oci:{tmp_path}", "name": "app:latest"})

    assert "library/app:9 and 3 more." in result["msg"]
    assert "library/app:10" not in result["msg"]


def test_push_rejects_different_images_with_same_target(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path, {"docker.io/team/app:1": image, "quay.io/team/app:1": other_image})

    with pytest.raises(
        InputError,
        match=r"different images with the same target team/app:1.*keep their registries apart with qualify: true",
    ):
        push(f"oci:{tmp_path}")

    assert server.requests == []


def test_push_separates_equal_paths_of_two_registries_with_qualify(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path, {"docker.io/team/app:1": image, "quay.io/team/app:1": other_image})

    push(f"oci:{tmp_path}", qualify=True)

    assert server.digest_of("docker.io/team/app", "1") == image.digest
    assert server.digest_of("quay.io/team/app", "1") == other_image.digest


def test_push_accepts_same_image_twice(push: Push, server: RegistryServer, tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path, {"docker.io/team/app:1": image, "quay.io/team/app:1": image})

    result = push(f"oci:{tmp_path}", f"oci:{tmp_path}:quay.io/team/app:1")

    assert "failed" not in result
    assert len(server.uploads) == 3


def test_push_uploads_other_images_when_source_is_missing(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path / "layout", {"app:1": image})

    result = push("oci-archive:/media/missing.tar", "Not A Source", f"oci:{tmp_path}/layout")

    assert result["failed"] is True
    assert result["msg"].startswith(
        "2 of 3 images failed.\noci-archive:/media/missing.tar: /media/missing.tar does not"
    )
    assert [bool(pushed.get("error")) for pushed in result["images"]] == [True, True, False]
    assert server.digest_of("library/app", "1") == image.digest


def test_push_fails_only_image_with_missing_layer(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    write_layout(tmp_path / "one", {"one:1": image}, leave_out=[image.layers[0]])
    write_layout(tmp_path / "two", {"two:1": other_image})

    result = push(f"oci:{tmp_path}/one", f"oci:{tmp_path}/two")

    assert result["changed"] is True
    assert [pushed["changed"] for pushed in result["images"]] == [False, True]
    assert f"does not have the blob {image.layers[0]}" in result["images"][0]["error"]
    assert server.digest_of("library/one", "1") is None
    assert server.digest_of("library/two", "1") == other_image.digest


def test_push_message_shows_error_of_registry_in_one_line(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fail("PUT", "/blobs/uploads/", error_response(403, "DENIED", "not\nyou"))
    write_layout(tmp_path, {"app:1": image})

    result = push(f"oci:{tmp_path}")

    count, line = result["msg"].split("\n")
    assert count == "1 of 1 images failed."
    assert line.isprintable()
    assert line.startswith("docker.io/library/app:1: blob sha256:")
    assert "the registry responded with 403: not you" in line


def test_push_closes_sources(push: Push, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(TarFiles, "close", lambda files: closed.append(files.path.name))
    _layout, archive, docker = sources(tmp_path, image)

    push(archive, {"source": docker, "name": "app:2"}, f"{archive}:missing")

    assert sorted(closed) == ["docker.tar", "oci.tar"]


def test_push_mounts_blobs_from_repositories_of_mount_from(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"example.com/team/app:1": image})
    server.fill("team/base", None, image)

    planned = push(f"oci:{tmp_path}", mount_from=["team/none", "team/base"], check_mode=True)
    pushed = push(f"oci:{tmp_path}", mount_from=["team/none", "team/base"])

    assert planned["images"] == pushed["images"]
    assert pushed["images"][0]["mounted"]["blobs"] == len(image.blobs)
    assert server.received("PATCH") == []


def test_push_uploads_in_same_session_after_rejected_mount(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"example.com/team/app:1": image})
    server.fill("team/base", None, image)
    server.mounts = False

    pushed = push(f"oci:{tmp_path}", mount_from=["team/base"])

    assert pushed["images"][0]["sent"]["blobs"] == len(image.blobs)
    assert len(server.received("POST")) == len(image.blobs)


def test_push_mounts_blobs_of_image_pushed_under_other_name(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"example.com/team/app:1": image})
    push(f"oci:{tmp_path}")

    renamed = push({"source": f"oci:{tmp_path}", "name": "example.com/team/renamed:1"})

    assert renamed["changed"]
    assert renamed["images"][0]["mounted"]["blobs"] == len(image.blobs)


def test_push_accepts_same_image_from_layout_and_docker_archive(
    push: Push, pull: Callable[..., dict[str, Any]], tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path / "layout", {"example.com/team/app:1": image})
    push(f"oci:{tmp_path}/layout")
    archive = f"docker-archive:{tmp_path}/app.tar"
    pull({"name": "example.com/team/app:1", "dest": archive})

    again = push(f"oci:{tmp_path}/layout", archive)

    assert not again["changed"]
