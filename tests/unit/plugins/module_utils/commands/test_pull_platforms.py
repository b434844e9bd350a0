# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_pull`` of images with several platforms."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from unit.plugins.module_utils.support.copies import read_location
from unit.plugins.module_utils.support.images import (
    Image,
    make_image,
    make_index,
    read_tar,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Pull = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_pull_writes_all_platforms_by_default(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image, transport: str
) -> None:
    server.fill("team/app", "1", multi)

    pull({"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app"})

    assert read_location(f"{transport}:{tmp_path}/app") == multi.contents


def test_pull_error_lists_platforms_for_index_to_docker_archive(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("team/app", "1", multi)
    dest = f"docker-archive:{tmp_path}/app.tar:team/app:1"

    failed = pull({"name": "team/app:1", "dest": dest})
    pull({"name": "team/app:1", "dest": dest, "platforms": ["linux/amd64"]})

    assert "select one with platforms (linux/amd64, linux/arm64)" in failed["msg"]
    assert json.loads(read_tar(tmp_path / "app.tar")["manifest.json"])[0]["RepoTags"] == ["docker.io/team/app:1"]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_pull_writes_only_selected_platform(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image, transport: str
) -> None:
    server.fill("team/app", "1", multi)
    entry = {"name": "team/app:1", "dest": f"{transport}:{tmp_path}/app", "platforms": ["linux/arm64"]}

    planned = pull(entry, check_mode=True)
    pulled = copy.deepcopy(pull(entry))
    repeated = pull(entry)

    arm64 = multi.manifest["manifests"][1]["digest"]
    assert planned == pulled
    assert pulled["images"][0]["digest"] == arm64
    assert not repeated["changed"]
    assert arm64 in read_location(f"{transport}:{tmp_path}/app")
    assert len(read_location(f"{transport}:{tmp_path}/app")) == 4


def test_pull_reduces_index_to_selected_platforms(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": other_image, "linux/s390x": make_image()})
    server.fill("team/app", "1", index)
    entry = {
        "name": f"team/app@{index.digest}",
        "dest": f"oci:{tmp_path}/app",
        "platforms": ["linux/amd64", "linux/arm64"],
    }

    pulled = copy.deepcopy(pull(entry))

    (result,) = pulled["images"]
    assert result["target"] == f"oci:{tmp_path}/app:{result['digest']}"
    content = json.loads(read_location(f"oci:{tmp_path}/app")[result["digest"]])
    assert [child["digest"] for child in content["manifests"]] == [image.digest, other_image.digest]
    assert not pull(entry)["changed"]


def test_pull_writes_image_without_index_for_only_platform(
    pull: Pull, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", make_index({"linux/amd64": image}))

    result = pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app", "platforms": ["linux/amd64"]})

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_pull_error_lists_platforms_when_selected_one_is_missing(
    pull: Pull, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("team/app", "1", multi)

    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}/app", "platforms": ["linux/s390x"]})

    expected = "does not have the platform linux/s390x. Select from its platforms: linux/amd64, linux/arm64"
    assert expected in result["msg"]
    assert not (tmp_path / "app").exists()


def test_pull_rejects_same_target_for_different_platforms(pull: Pull, tmp_path: Path) -> None:
    entry = {"name": "team/app:1", "dest": f"oci:{tmp_path}/app"}

    with pytest.raises(InputError, match="would both be written to"):
        pull({**entry, "platforms": ["linux/amd64"]}, {**entry, "platforms": ["linux/arm64"]})
