# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read Docker archives."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveSource,
)
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    make_image,
    make_index,
    write_docker_archive,
)
from unit.plugins.module_utils.support.stores import read_image

OpenArchive = Callable[..., DockerArchiveSource]
OpenLayer = Callable[[bytes], tuple[DockerArchiveSource, Descriptor]]

CONFIG = encode({"rootfs": {"diff_ids": [digest_of(b"layer")]}})


@pytest.fixture
def two_images(path: Path, image: Image, other_image: Image) -> DockerArchiveSource:
    """An archive of two images with a common layer. The first image has two names."""
    tags = (["app:1", "example.com/team/app:1"], image), (["app:2"], other_image)
    return DockerArchiveSource(TarFiles(write_docker_archive(path, tags)))


def test_docker_archive_lists_all_names_of_all_images(two_images: DockerArchiveSource) -> None:
    assert [str(found.name) for found in two_images.images()] == [
        "docker.io/library/app:1",
        "example.com/team/app:1",
        "docker.io/library/app:2",
    ]


@pytest.mark.parametrize("name", ["app:2", "library/app:2", "docker.io/library/app:2"])
def test_image_is_found_by_short_or_full_name(two_images: DockerArchiveSource, other_image: Image, name: str) -> None:
    assert [found.config_digest for found in two_images.images(name)] == [digest_of(other_image.config)]


def test_image_is_found_by_position(two_images: DockerArchiveSource, other_image: Image) -> None:
    assert [found.config_digest for found in two_images.images("@1")] == [digest_of(other_image.config)]


@pytest.mark.parametrize("name", ["app:3", "@2", "@-1", "@²", "@", "@99999999999999999999"])
def test_missing_image_is_reported_with_existing_images(two_images: DockerArchiveSource, name: str) -> None:
    with pytest.raises(SourceError, match=rf"no image '{name}'. It has 2 images: app:1, example.com/team/app:1, app:2"):
        two_images.images(name)


def test_image_without_name_is_listed(path: Path, image: Image) -> None:
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [([], image)])))

    assert [(found.name, found.config_digest) for found in source.images()] == [(None, digest_of(image.config))]


def test_image_of_old_archive_has_its_config_and_uncompressed_layers(path: Path, image: Image) -> None:
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)])))

    root = source.images()[0].root
    contents = read_image(source, root)

    manifest = parse_manifest(contents.pop(root.digest))
    assert contents == {digest_of(part): part for part in (image.config, *image.files)}
    assert [layer.digest for layer in manifest.layers] == [digest_of(file) for file in image.files]
    assert [layer.media_type for layer in manifest.layers] == ["application/vnd.oci.image.layer.v1.tar"] * 2


def test_same_archive_generates_the_same_manifest(path: Path, image: Image) -> None:
    roots = {
        DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)]))).images()[0].root.digest
        for _time in range(2)
    }

    assert len(roots) == 1


def test_compressed_layer_of_old_archive_stays_compressed(open_archive: OpenArchive, image: Image) -> None:
    compressed = [gzip.compress(file, mtime=0) for file in image.files]
    source = open_archive(
        [{"Config": "config", "RepoTags": None, "Layers": ["one", "two"]}],
        config=image.config,
        one=compressed[0],
        two=compressed[1],
    )

    root = source.images()[0].root
    contents = read_image(source, root)

    layers = parse_manifest(contents[root.digest]).layers
    assert [contents[layer.digest] for layer in layers] == compressed
    assert {layer.media_type for layer in layers} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def in_parts(content: bytes) -> bytes:
    return gzip.compress(content[:5]) + gzip.compress(content[5:])


@pytest.mark.parametrize("offset", [0, 7])
@pytest.mark.parametrize("compress", [gzip.compress, in_parts])
def test_compressed_layer_with_right_diff_id_is_read_from_any_offset(
    open_compressed_layer: OpenLayer, image: Image, compress: Callable[[bytes], bytes], offset: int
) -> None:
    source, layer = open_compressed_layer(compress(image.files[0]))

    for _time in range(2):
        with source.open_blob(layer, offset) as blocks:
            assert b"".join(blocks) == compress(image.files[0])[offset:]


def test_image_of_current_archive_has_its_original_manifest(open_current_archive: OpenArchive, image: Image) -> None:
    source = open_current_archive()

    (found,) = source.images("app:1")
    assert (found.root, found.config_digest) == (image.root, digest_of(image.config))
    assert read_image(source, found.root) == image.contents


def test_platform_of_completely_saved_index_has_its_original_manifest(
    open_current_archive: OpenArchive, image: Image
) -> None:
    source = open_current_archive(root=make_index({"linux/amd64": image}))

    assert source.images()[0].root == image.root


def test_index_with_missing_platforms_is_accepted(open_current_archive: OpenArchive, image: Image) -> None:
    other = make_image(architecture="arm64")
    missing = {f"blobs/{digest.replace(':', '/')}": None for digest in other.contents}

    source = open_current_archive(root=make_index({"linux/arm64": other, "linux/amd64": image}), **missing)

    (found,) = source.images()
    assert found.config_digest == digest_of(image.config)
    assert set(read_image(source, found.root)) > {*image.layers, digest_of(image.config)}


def test_index_with_other_artifacts_is_accepted(open_current_archive: OpenArchive, image: Image) -> None:
    thing = encode({"mediaType": "application/vnd.example.thing"})
    entry = {"mediaType": "application/vnd.example.thing", "digest": digest_of(thing), "size": len(thing)}

    source = open_current_archive(
        **{"index.json": encode({"manifests": [entry]}), f"blobs/{digest_of(thing).replace(':', '/')}": thing}
    )

    assert source.images()[0].config_digest == digest_of(image.config)


def test_repeated_file_is_read_once(open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = TarFiles.open

    def noted(files: TarFiles, name: str, offset: int = 0) -> AbstractContextManager[Blocks]:
        opened.append(name)
        return read(files, name, offset)

    monkeypatch.setattr(TarFiles, "open", noted)

    open_archive(
        [{"Config": "config", "Layers": ["layer"]}, {"Config": "./config", "Layers": ["x/../layer"]}] * 100,
        config=CONFIG,
        layer=gzip.compress(b"layer"),
    )

    assert sorted(opened) == ["config", "layer", "layer", "manifest.json"]
