# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write Docker archives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveDestination,
    DockerArchiveSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from unit.plugins.module_utils.support.images import (
    Image,
    read_tar,
)
from unit.plugins.module_utils.support.stores import put, read_image


def saved(path: Path, image: Image, *tags: str | None) -> dict[str, bytes]:
    """Write an image to an archive with these tags, and return the archive's files."""
    destination = DockerArchiveDestination(path)
    for tag in tags:
        put(destination, image, tag)
    destination.commit()
    return read_tar(path)


def test_written_archive_lists_image_for_docker(path: Path, image: Image) -> None:
    files = saved(path, image, "docker.io/library/app:1")

    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["docker.io/library/app:1"]
    assert files[entry["Config"]] == image.config
    assert [gzip.decompress(files[layer]) for layer in entry["Layers"]] == list(image.files)


def test_written_image_keeps_its_manifest(path: Path, image: Image) -> None:
    saved(path, image, "docker.io/library/app:1")

    (found,) = DockerArchiveSource(TarFiles(path)).images()
    assert (str(found.name), found.root) == ("docker.io/library/app:1", image.root)


def test_image_with_two_names_is_listed_once_with_both(path: Path, image: Image) -> None:
    files = saved(path, image, "docker.io/library/app:1", "docker.io/library/app:2")

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [
        ["docker.io/library/app:1", "docker.io/library/app:2"]
    ]


@pytest.mark.parametrize("tag", [None, "1.2", "example.com/app@sha256:" + "a" * 64])
def test_image_without_tag_is_listed_without_name(path: Path, image: Image, tag: str | None) -> None:
    # Docker rejects an archive in which a name has no tag.
    files = saved(path, image, tag)

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [[]]


def test_written_archive_keeps_its_other_images(path: Path, image: Image, other_image: Image) -> None:
    saved(path, image, "docker.io/library/app:1")

    files = saved(path, other_image, "docker.io/library/app:2")

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [
        ["docker.io/library/app:1"],
        ["docker.io/library/app:2"],
    ]
    assert read_image(OciLayoutSource(TarFiles(path)), image.root) == image.contents


def test_index_is_rejected_with_selectable_platforms(path: Path, multi: Image) -> None:
    destination = DockerArchiveDestination(path)

    with pytest.raises(DestinationError, match=r"select one with platforms \(linux/amd64, linux/arm64\)"):
        destination.require_support(parse_manifest(multi.contents[multi.digest]))
