# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import (
    describe,
    name_archives,
    refuse_collisions,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.images import (
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)

NAME = "docker.io/library/app:1"
ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


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


def test_archives_with_same_images_under_different_names_are_staged_separately(tmp_path: Path) -> None:
    image = make_image()
    (first,) = describe(write_oci_archive(tmp_path / "app.tar", {"docker.io/library/app:1": image}))
    (other,) = describe(write_oci_archive(tmp_path / "app.tar", {"docker.io/library/app:2": image}))

    assert first["file"] != other["file"]


def test_archive_keeps_its_base_name_if_no_other_has_it() -> None:
    entries = name_archives([Path("/media/a/app.tar"), Path("/media/a/registry.tar")])

    assert [entry["name"] for entry in entries] == ["app.tar", "registry.tar"]
    assert [entry["shared"] for entry in entries] == [False, False]


def test_archives_with_same_base_name_get_different_names() -> None:
    entries = name_archives([Path("/media/a/app.tar"), Path("/media/b/app.tar"), Path("/media/a/registry.tar")])

    names = [entry["name"] for entry in entries]
    assert len({*names, "app.tar"}) == 4
    assert all(name.endswith("-app.tar") for name in names[:2])
    assert [entry["other_name"] for entry in entries[:2]] == ["app.tar", "app.tar"]
    assert [entry["shared"] for entry in entries] == [True, True, False]


def test_archive_is_found_under_its_other_name_after_list_changed() -> None:
    shared, _other = name_archives([Path("/media/a/app.tar"), Path("/media/b/app.tar")])

    (alone,) = name_archives([Path("/media/a/app.tar")])

    assert (alone["name"], alone["other_name"]) == (shared["other_name"], shared["name"])


def test_archive_named_twice_does_not_share_its_base_name() -> None:
    assert [entry["name"] for entry in name_archives([Path("/media/app.tar")] * 2)] == ["app.tar"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"digest": ONE, "config_digests": [ONE]}, {"digest": TWO, "config_digests": [ONE]}),
        ({"digest": "", "config_digests": [ONE]}, {"digest": "", "config_digests": [TWO]}),
        ({"digest": ONE, "config_digests": [ONE]}, {"digest": "", "config_digests": [TWO]}),
    ],
)
def test_archives_with_different_images_under_one_name_are_refused(
    first: dict[str, object], second: dict[str, object]
) -> None:
    images = [
        {**first, "name": NAME, "archive": "/media/a/app.tar", "file": "1-app.tar"},
        {**second, "name": NAME, "archive": "/media/b/app.tar", "file": "2-app.tar"},
    ]

    with pytest.raises(InputError, match=f"/media/a/app.tar and /media/b/app.tar have different images named {NAME}"):
        refuse_collisions(images)


@pytest.mark.parametrize(
    "second",
    [
        {"name": NAME, "digest": ONE, "config_digests": [TWO], "archive": None, "file": "2-app.tar"},
        {"name": NAME, "digest": "", "config_digests": [TWO], "archive": None, "file": "2-app.tar"},
        {"name": f"{NAME}.1", "digest": TWO, "config_digests": [ONE], "archive": None, "file": "2-app.tar"},
    ],
)
def test_archives_with_same_image_or_different_names_are_accepted(second: dict[str, object]) -> None:
    first = {"name": NAME, "digest": ONE, "config_digests": [ONE, TWO], "archive": None, "file": "1-app.tar"}

    refuse_collisions([first, second])
