# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_archive_info``: the entries of images and archives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import (
    archive_entries,
    read_archive,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_archive import BundleArchive
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_folder import BundleFolder
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import BundleImage, OmittedBlob
from unit.plugins.module_utils.support.bundles import description, write_bundle
from unit.plugins.module_utils.support.images import (
    Image,
    make_image,
    make_index,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.stores import put

NAME = "docker.io/library/app:1"


def image_entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of an archive's images."""
    return read_archive(path)[0]


def test_image_entries_have_digest_for_oci_archive(tmp_path: Path) -> None:
    image = make_image()
    (entry,) = image_entries(write_oci_archive(tmp_path / "app.tar", {NAME: image}))
    assert entry["name"] == NAME
    assert entry["digest"] == image.digest
    assert entry["config_digests"] == [digest_of(image.config)]


def test_image_entries_skip_platforms_missing_from_archive(tmp_path: Path) -> None:
    one, other = make_image(), make_image(architecture="arm64")
    index = make_index({"linux/amd64": one, "linux/arm64": other})
    path = write_oci_archive(tmp_path / "app.tar", {NAME: index}, leave_out=[other.digest])
    (entry,) = image_entries(path)
    assert entry["digest"] == index.digest
    assert entry["config_digests"] == [digest_of(one.config)]


def test_image_entries_have_config_digest_and_each_name_for_docker_archive(tmp_path: Path) -> None:
    image = make_image()
    entries = image_entries(write_docker_archive(tmp_path / "app.tar", [(["app:1", "app:2"], image)]))
    assert [entry["name"] for entry in entries] == ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert [entry["digest"] for entry in entries] == ["", ""]
    assert entries[0]["config_digests"] == [digest_of(image.config)]


def test_image_entries_have_file_name_that_depends_on_content(tmp_path: Path) -> None:
    (first,) = image_entries(write_oci_archive(tmp_path / "app.tar", {NAME: make_image()}))
    (again,) = image_entries(write_oci_archive(tmp_path / "app.tar", {NAME: make_image()}))
    (other,) = image_entries(write_oci_archive(tmp_path / "app.tar", {NAME: make_image(architecture="arm64")}))
    assert first["file"] == again["file"] != other["file"]
    assert first["file"].endswith("-app.tar")


def test_image_entries_rejects_image_without_full_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a full name"):
        image_entries(write_oci_archive(tmp_path / "app.tar", {"latest": make_image()}))


def test_image_entries_rejects_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not an archive"):
        image_entries(write_layout(tmp_path, {NAME: make_image()}))


def test_image_entries_names_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        image_entries(tmp_path / "missing.tar")


def test_image_entries_have_different_file_names_for_same_images_with_different_names(tmp_path: Path) -> None:
    image = make_image()
    (first,) = image_entries(write_oci_archive(tmp_path / "app.tar", {"docker.io/library/app:1": image}))
    (other,) = image_entries(write_oci_archive(tmp_path / "app.tar", {"docker.io/library/app:2": image}))

    assert first["file"] != other["file"]


def test_archive_entries_keep_unique_base_names() -> None:
    entries = archive_entries([Path("/media/a/app.tar"), Path("/media/a/registry.tar")])

    assert [entry["name"] for entry in entries] == ["app.tar", "registry.tar"]
    assert [entry["shared"] for entry in entries] == [False, False]


def test_archive_entries_have_different_names_for_same_base_name() -> None:
    entries = archive_entries([Path("/media/a/app.tar"), Path("/media/b/app.tar"), Path("/media/a/registry.tar")])

    names = [entry["name"] for entry in entries]
    assert len({*names, "app.tar"}) == 4
    assert all(name.endswith("-app.tar") for name in names[:2])
    assert [entry["other_name"] for entry in entries[:2]] == ["app.tar", "app.tar"]
    assert [entry["shared"] for entry in entries] == [True, True, False]


def test_archive_entries_have_previous_name_after_list_changed() -> None:
    shared, _other = archive_entries([Path("/media/a/app.tar"), Path("/media/b/app.tar")])

    (alone,) = archive_entries([Path("/media/a/app.tar")])

    assert (alone["name"], alone["other_name"]) == (shared["other_name"], shared["name"])


def test_archive_entries_ignore_duplicate_archives() -> None:
    assert [entry["name"] for entry in archive_entries([Path("/media/app.tar")] * 2)] == ["app.tar"]


def test_archive_info_describes_delta_bundle(tmp_path: Path, image: Image) -> None:
    omitted = image.layers[0]
    size = len(image.contents[omitted])
    store = BundleArchive(tmp_path / "delta.tar")
    store.omitted = {omitted}
    put(store, Image(image.root, {key: data for key, data in image.contents.items() if key != omitted}), NAME)
    base = BundleImage("example.com/team/base:1", image.digest, 1)
    store.finish(replace(description((NAME, image)), base=(base,), omitted={omitted: OmittedBlob(size)}))
    store.close()

    images, bundle = read_archive(tmp_path / "delta.tar")

    assert [each["name"] for each in images] == [NAME]
    assert bundle == {
        "base": [{"name": "example.com/team/base:1", "digest": image.digest}],
        "omitted": 1,
        "omitted_bytes": size,
        "extras": [],
    }


def test_archive_info_names_bundle_in_folder(tmp_path: Path, image: Image) -> None:
    write_bundle(BundleFolder(tmp_path / "bundle"), (NAME, image))

    with pytest.raises(InputError, match=r"is a bundle in a folder, not an archive. k8scr_push reads it in place"):
        read_archive(tmp_path / "bundle")
