# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils.node.archives import describe
from ansible_collections.k8scr.core.plugins.module_utils.oci.digest import digest_of
from unit.plugins.module_utils.support.images import (
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)

NAME = "docker.io/library/app:1"


def test_an_image_of_an_oci_archive_is_known_by_its_digest(tmp_path: Path) -> None:
    image = make_image()
    (entry,) = describe(write_oci_archive(tmp_path / "app.tar", {NAME: image}))
    assert entry["name"] == NAME
    assert entry["digest"] == image.digest
    assert entry["config_digests"] == [digest_of(image.config)]


def test_platforms_that_were_not_saved_are_passed_over(tmp_path: Path) -> None:
    one, other = make_image(), make_image(architecture="arm64")
    index = make_index({"linux/amd64": one, "linux/arm64": other})
    path = write_oci_archive(tmp_path / "app.tar", {NAME: index}, leave_out=[other.digest])
    (entry,) = describe(path)
    assert entry["digest"] == index.digest
    assert entry["config_digests"] == [digest_of(one.config)]


def test_an_image_of_a_docker_archive_is_known_by_its_config_under_each_name(tmp_path: Path) -> None:
    image = make_image()
    entries = describe(write_docker_archive(tmp_path / "app.tar", [(["app:1", "app:2"], image)]))
    assert [entry["name"] for entry in entries] == ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert [entry["digest"] for entry in entries] == ["", ""]
    assert entries[0]["config_digests"] == [digest_of(image.config)]


def test_archives_of_one_name_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    (first,) = describe(write_oci_archive(tmp_path / "app.tar", {NAME: make_image()}))
    (again,) = describe(write_oci_archive(tmp_path / "app.tar", {NAME: make_image()}))
    (other,) = describe(write_oci_archive(tmp_path / "app.tar", {NAME: make_image(architecture="arm64")}))
    assert first["file"] == again["file"] != other["file"]
    assert first["file"].endswith("-app.tar")


def test_an_image_that_no_pod_would_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a full name"):
        describe(write_oci_archive(tmp_path / "app.tar", {"latest": make_image()}))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not an archive"):
        describe(write_layout(tmp_path, {NAME: make_image()}))


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        describe(tmp_path / "missing.tar")
