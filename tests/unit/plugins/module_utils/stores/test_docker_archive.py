# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``docker save`` writes and ``docker load`` reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
    DigestMismatchError,
    K8scrError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import parse_manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveDestination,
    DockerArchiveSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_manifest import read_archive_entries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    layout_files,
    make_image,
    make_index,
    read_tar,
    tar,
    write_docker_archive,
)
from unit.plugins.module_utils.support.stores import put, read_image

Open = Callable[..., DockerArchiveSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an archive is or shall be."""
    return tmp_path / "app.tar"


@pytest.fixture
def two(path: Path, image: Image, other_image: Image) -> DockerArchiveSource:
    """An archive of two images with a common layer, the first of which has two names."""
    tags = (["app:1", "example.com/team/app:1"], image), (["app:2"], other_image)
    return DockerArchiveSource(TarFiles(write_docker_archive(path, tags)))


@pytest.fixture
def modern(path: Path, image: Image) -> Callable[..., DockerArchiveSource]:
    """Opens an archive as Docker from version 25 on writes it: an OCI layout with ``manifest.json``.

    Its files can be changed or, with ``None``, left out.
    """

    def write(whole: Image = image, root: Image | None = None, **changes: bytes | None) -> DockerArchiveSource:
        listed = {
            "Config": f"blobs/{digest_of(whole.config).replace(':', '/')}",
            "RepoTags": ["app:1"],
            "Layers": [f"blobs/{digest.replace(':', '/')}" for digest in whole.layers],
        }
        files: dict[str, bytes | None] = {**layout_files({"app:1": root or whole}), "manifest.json": encode([listed])}
        files.update(changes)
        path.write_bytes(tar(*((name, content) for name, content in files.items() if content is not None)))
        return DockerArchiveSource(TarFiles(path))

    return write


@pytest.fixture
def open_hostile(path: Path) -> Callable[..., DockerArchiveSource]:
    """Opens an archive with this ``manifest.json`` and these other files."""

    def write(manifest: object, **files: bytes) -> DockerArchiveSource:
        content = manifest if isinstance(manifest, bytes) else encode(manifest)
        path.write_bytes(tar(("manifest.json", content), *files.items()))
        return DockerArchiveSource(TarFiles(path))

    return write


def test_every_name_of_every_image_is_found(two: DockerArchiveSource) -> None:
    assert [str(found.name) for found in two.images()] == [
        "docker.io/library/app:1",
        "example.com/team/app:1",
        "docker.io/library/app:2",
    ]


@pytest.mark.parametrize("name", ["app:2", "library/app:2", "docker.io/library/app:2"])
def test_an_image_is_found_by_its_name_however_much_of_it_is_written(
    two: DockerArchiveSource, other_image: Image, name: str
) -> None:
    assert [found.config_digest for found in two.images(name)] == [digest_of(other_image.config)]


def test_an_image_is_found_by_its_place(two: DockerArchiveSource, other_image: Image) -> None:
    assert [found.config_digest for found in two.images("@1")] == [digest_of(other_image.config)]


@pytest.mark.parametrize("name", ["app:3", "@2", "@-1", "@²", "@", "@99999999999999999999"])
def test_an_image_that_is_not_there_is_answered_with_those_that_are(two: DockerArchiveSource, name: str) -> None:
    with pytest.raises(SourceError, match=rf"no image '{name}'. It has 2 images: app:1, example.com/team/app:1, app:2"):
        two.images(name)


def test_an_image_without_a_name_is_found_among_all(path: Path, image: Image) -> None:
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [([], image)])))

    assert [(found.name, found.config_digest) for found in source.images()] == [(None, digest_of(image.config))]


def test_an_old_archives_image_is_its_config_and_its_layers_as_they_are(path: Path, image: Image) -> None:
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)])))

    root = source.images()[0].root
    contents = read_image(source, root)

    manifest = parse_manifest(contents.pop(root.digest))
    assert contents == {digest_of(part): part for part in (image.config, *image.files)}
    assert [layer.digest for layer in manifest.layers] == [digest_of(file) for file in image.files]
    assert [layer.media_type for layer in manifest.layers] == ["application/vnd.oci.image.layer.v1.tar"] * 2


def test_the_same_archive_makes_the_same_manifest(path: Path, image: Image) -> None:
    roots = {
        DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)]))).images()[0].root.digest
        for _time in range(2)
    }

    assert len(roots) == 1


def test_a_compressed_layer_in_an_old_archive_stays_compressed(open_hostile: Open, image: Image) -> None:
    compressed = [gzip.compress(file, mtime=0) for file in image.files]
    source = open_hostile(
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


def packed(open_hostile: Open, image: Image, first: bytes) -> tuple[DockerArchiveSource, Descriptor]:
    """An archive of an image with two layers, the first of which is there as ``first``, and that one."""
    files = {"config": image.config, "one": first, "two": gzip.compress(image.files[1])}
    source = open_hostile([{"Config": "config", "RepoTags": None, "Layers": ["one", "two"]}], **files)
    return source, source.fetch_manifest(source.images()[0].root).layers[0]


def in_parts(content: bytes) -> bytes:
    return gzip.compress(content[:5]) + gzip.compress(content[5:])


@pytest.mark.parametrize("offset", [0, 7])
@pytest.mark.parametrize("compress", [gzip.compress, in_parts])
def test_a_compressed_layer_that_unpacks_to_what_the_config_says_is_read_from_anywhere(
    open_hostile: Open, image: Image, compress: Callable[[bytes], bytes], offset: int
) -> None:
    source, layer = packed(open_hostile, image, compress(image.files[0]))

    for _time in range(2):
        with source.open_blob(layer, offset) as blocks:
            assert b"".join(blocks) == compress(image.files[0])[offset:]


@pytest.mark.parametrize("offset", [0, 7])
@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda file: gzip.compress(file + b"more"), r"its content has the digest sha256:"),
        (lambda file: gzip.compress(file)[:-9], r"the gzip stream is truncated"),
        (lambda file: gzip.compress(file) + b"more", r"incorrect header check"),
        (lambda _file: gzip.compress(bytes(64 << 20)), r"its content has the digest sha256:"),
    ],
)
def test_a_compressed_layer_that_unpacks_to_something_else_is_not_given_out(
    open_hostile: Open, image: Image, tampered: Callable[[bytes], bytes], why: str, offset: int
) -> None:
    content = tampered(image.files[0])
    source, layer = packed(open_hostile, image, content)

    for expected in (rf"^one in .* does not match its diff ID in the image's config: .*{why}", "^one in"):
        with source.open_blob(layer, offset) as blocks, pytest.raises(SourceError, match=expected):
            b"".join(blocks)


def test_configs_that_contradict_each_other_about_a_compressed_layer(open_hostile: Open) -> None:
    other = encode({"rootfs": {"diff_ids": [digest_of(b"other")]}})
    listed = [{"Config": name, "Layers": ["layer"]} for name in ("config", "other")]

    with pytest.raises(SourceError, match=r"the configs have different diff IDs for the layer layer"):
        open_hostile(listed, config=CONFIG, other=other, layer=gzip.compress(b"layer"))


def test_a_current_archive_gives_the_image_its_original_manifest(modern: Open, image: Image) -> None:
    source = modern()

    (found,) = source.images("app:1")
    assert (found.root, found.config_digest) == (image.root, digest_of(image.config))
    assert read_image(source, found.root) == image.contents


def test_one_platform_of_an_index_that_was_saved_whole_has_its_original_manifest(modern: Open, image: Image) -> None:
    source = modern(root=make_index({"linux/amd64": image}))

    assert source.images()[0].root == image.root


def test_an_index_whose_other_platforms_were_not_saved_does_no_harm(modern: Open, image: Image) -> None:
    other = make_image(architecture="arm64")
    lacking = {f"blobs/{digest.replace(':', '/')}": None for digest in other.contents}

    source = modern(root=make_index({"linux/arm64": other, "linux/amd64": image}), **lacking)

    (found,) = source.images()
    assert found.config_digest == digest_of(image.config)
    assert set(read_image(source, found.root)) > {*image.layers, digest_of(image.config)}


def test_a_current_archive_that_is_damaged_is_told(modern: Open, image: Image) -> None:
    path = f"blobs/{image.digest.replace(':', '/')}"

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} in .* is damaged"):
        modern(**{path: image.contents[image.digest] + b" "})


@pytest.mark.parametrize("name", ["{}.json", "sha256:{}", "blobs/sha256/{}"])
def test_config_is_refused_with_digest_other_than_in_its_name(open_hostile: Open, name: str) -> None:
    path = name.format(digest_of(CONFIG)[7:])
    listed = [{"Config": path, "Layers": ["layer"]}]

    open_hostile(listed, layer=b"layer", **{path: CONFIG})
    with pytest.raises(SourceError, match=rf"the content of {path} has the digest sha256:"):
        open_hostile(listed, layer=b"layer", **{path: CONFIG + b" "})


def test_compressed_layer_is_refused_with_digest_other_than_in_its_name(open_hostile: Open) -> None:
    compressed = gzip.compress(b"layer", mtime=0)
    path = f"blobs/sha256/{digest_of(compressed)[7:]}"
    listed = [{"Config": "config", "Layers": [path]}]

    open_hostile(listed, config=CONFIG, **{path: compressed})
    with pytest.raises(SourceError, match=rf"the content of {path} has the digest sha256:"):
        open_hostile(listed, config=CONFIG, **{path: gzip.compress(b"layer", mtime=1)})


def test_an_index_of_things_that_are_no_images_does_no_harm(modern: Open, image: Image) -> None:
    thing = encode({"mediaType": "application/vnd.example.thing"})
    entry = {"mediaType": "application/vnd.example.thing", "digest": digest_of(thing), "size": len(thing)}

    source = modern(
        **{"index.json": encode({"manifests": [entry]}), f"blobs/{digest_of(thing).replace(':', '/')}": thing}
    )

    assert source.images()[0].config_digest == digest_of(image.config)


CONFIG = encode({"rootfs": {"diff_ids": [digest_of(b"layer")]}})


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"NaN",
        b'["\\ud800"]',
        b"9" * 5000,
        b"[[[[",
        b"[" * 100_000,
        [1],
        [None],
        [{}],
        [{"Config": "config"}],
        [{"Config": 7, "Layers": ["layer"]}],
        [{"Config": {}, "Layers": ["layer"]}],
        [{"Config": "config", "Layers": 7}],
        [{"Config": "config", "Layers": [7]}],
        [{"Config": "config", "Layers": "layer"}],
        [{"Config": "config", "Layers": {"layer": 1}}],
        [{"Config": "config", "Layers": ["layer"], "RepoTags": 7}],
        [{"Config": "config", "Layers": ["layer"], "RepoTags": "app"}],
        [{"Config": "config", "Layers": ["layer"], "RepoTags": [{}]}],
        [{"Config": "config", "Layers": ["layer"], "RepoTags": ["<none>:<none>"]}],
        [{"Config": "../../etc/passwd", "Layers": ["layer"]}],
        [{"Config": "/etc/passwd", "Layers": ["layer"]}],
        [{"Config": "config", "Layers": ["../../../etc/passwd"]}],
        [{"Config": "config", "Layers": ["lacking"]}],
        [{"Config": "config", "Layers": []}],
        [{"Config": "config", "Layers": None}],
        [{"Config": "config", "Layers": ["layer", "layer"]}],
        [{"Config": "layer", "Layers": ["layer"]}],
        [{"Config": "a\nb\x1b[31m", "Layers": ["layer"]}],
    ],
)
def test_an_archive_that_makes_no_sense_is_refused_in_one_line(open_hostile: Open, manifest: object) -> None:
    with pytest.raises(SourceError) as failure:
        open_hostile(manifest, config=CONFIG, layer=b"layer")

    assert "app.tar" in str(failure.value)
    assert str(failure.value).isprintable()


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b'{"rootfs": 7}',
        b'{"rootfs": {"diff_ids": null}}',
        b'{"rootfs": {"diff_ids": [7]}}',
        b'{"rootfs": {"diff_ids": ["sha256:../../x"]}}',
        b"[" * 100_000,
    ],
)
def test_a_config_that_is_none_is_refused(open_hostile: Open, config: bytes) -> None:
    with pytest.raises(SourceError, match="config is not the config of an image"):
        open_hostile([{"Config": "config", "Layers": ["layer"]}], config=config, layer=b"layer")


def test_more_images_than_an_archive_has_are_refused(open_hostile: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{read_archive_entries.__module__}._MAXIMUM_PARTS", 10)

    with pytest.raises(SourceError, match="more than 10 configs and layers"):
        open_hostile([{"Config": "config", "Layers": ["layer"]}] * 6, config=CONFIG, layer=b"layer")


def test_a_file_that_is_named_again_and_again_is_read_once(open_hostile: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = TarFiles.open

    def noted(files: TarFiles, name: str, offset: int = 0) -> AbstractContextManager[Blocks]:
        opened.append(name)
        return read(files, name, offset)

    monkeypatch.setattr(TarFiles, "open", noted)

    open_hostile(
        [{"Config": "config", "Layers": ["layer"]}, {"Config": "./config", "Layers": ["x/../layer"]}] * 100,
        config=CONFIG,
        layer=gzip.compress(b"layer"),
    )

    assert sorted(opened) == ["config", "layer", "layer", "manifest.json"]


def test_an_archive_without_its_list_is_no_docker_archive(path: Path) -> None:
    path.write_bytes(tar(("repositories", b"{}")))

    with pytest.raises(SourceError, match=r"has no manifest.json"):
        DockerArchiveSource(TarFiles(path))


def saved(path: Path, image: Image, *tags: str | None) -> dict[str, bytes]:
    """Write an image to an archive under these tags and return its files."""
    destination = DockerArchiveDestination(path)
    for tag in tags:
        put(destination, image, tag)
    destination.commit()
    return read_tar(path)


def test_docker_finds_the_image_that_was_written(path: Path, image: Image) -> None:
    files = saved(path, image, "docker.io/library/app:1")

    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["docker.io/library/app:1"]
    assert files[entry["Config"]] == image.config
    assert [gzip.decompress(files[layer]) for layer in entry["Layers"]] == list(image.files)


def test_a_written_image_keeps_its_manifest(path: Path, image: Image) -> None:
    saved(path, image, "docker.io/library/app:1")

    (found,) = DockerArchiveSource(TarFiles(path)).images()
    assert (str(found.name), found.root) == ("docker.io/library/app:1", image.root)


def test_an_image_with_two_names_is_listed_once_with_both(path: Path, image: Image) -> None:
    files = saved(path, image, "docker.io/library/app:1", "docker.io/library/app:2")

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [
        ["docker.io/library/app:1", "docker.io/library/app:2"]
    ]


@pytest.mark.parametrize("tag", [None, "1.2", "example.com/app@sha256:" + "a" * 64])
def test_an_image_without_a_tagged_name_is_saved_without_one(path: Path, image: Image, tag: str | None) -> None:
    # Docker refuses to load an archive in which a name has no tag.
    files = saved(path, image, tag)

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [[]]


def test_an_archive_keeps_its_other_images(path: Path, image: Image, other_image: Image) -> None:
    saved(path, image, "docker.io/library/app:1")

    files = saved(path, other_image, "docker.io/library/app:2")

    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [
        ["docker.io/library/app:1"],
        ["docker.io/library/app:2"],
    ]
    assert read_image(OciLayoutSource(TarFiles(path)), image.root) == image.contents


def test_an_index_is_refused_with_what_can_be_had_instead(path: Path, multi: Image) -> None:
    destination = DockerArchiveDestination(path)

    with pytest.raises(DestinationError, match=r"select one with platforms \(linux/amd64, linux/arm64\)"):
        destination.require_support(parse_manifest(multi.contents[multi.digest]))


def test_an_error_of_an_archive_is_one_that_modules_catch(open_hostile: Open) -> None:
    manifest: list[dict[str, Any]] = [{"Config": "config", "Layers": ["layer"], "RepoTags": ["A B"]}]

    with pytest.raises(K8scrError, match=r"app.tar is not a readable Docker archive: 'A B' is not a valid image name"):
        open_hostile(manifest, config=CONFIG, layer=b"layer")
