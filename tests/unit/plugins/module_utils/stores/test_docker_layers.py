# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers of Docker archives that other tools than Docker compressed."""

from __future__ import annotations

import bz2
import json
import lzma
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import decompression, unpacking
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_LAYER
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import DockerArchiveSource
from unit.plugins.module_utils.support.images import encode, layer, tar
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.stores import read_blob
from unit.plugins.module_utils.support.tar_entries import open_files

OpenArchive = Callable[..., DockerArchiveSource]
Compress = Callable[[bytes], bytes]

MIB = 1 << 20
LAYER = layer("etc/os-release", b"NAME=Example\n" * 200)
LISTED = [{"Config": "config", "RepoTags": ["example.com/base:1"], "Layers": ["layer"]}]

EXPLAINED = "is the layer .*, as after podman import of a compressed file. No runtime can unpack the image"


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def config_of(*diff_ids: str) -> bytes:
    return encode({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})


CONFIG = config_of(digest_of(LAYER))
without_media_type = pytest.mark.parametrize(
    ("name", "compress"), [("xz", lzma.compress), ("bzip2", bz2.compress)], ids=["xz", "bzip2"]
)


@without_media_type
@pytest.mark.parametrize("offset", [0, 7, 600, len(LAYER)])
def test_layer_without_media_type_is_decompressed_from_any_offset(
    open_archive: OpenArchive, name: str, compress: Compress, offset: int
) -> None:
    source = open_archive(LISTED, config=CONFIG, layer=compress(LAYER))

    (found,) = source.fetch_manifest(source.images()[0].root).layers
    content = read_blob(source, found, offset)

    assert (found.media_type, found.digest, found.size) == (OCI_LAYER, digest_of(LAYER), len(LAYER))
    assert source.has_blob(found)
    assert content == LAYER[offset:]


@without_media_type
def test_layer_without_media_type_is_not_open_after_a_reader_stopped_early(
    open_archive: OpenArchive, path: Path, name: str, compress: Compress
) -> None:
    source = open_archive(LISTED, config=CONFIG, layer=compress(LAYER))
    (found,) = source.fetch_manifest(source.images()[0].root).layers

    with source.open_blob(found) as blocks:
        next(blocks)
    source.close()

    assert path.stat().st_ino not in [each.st_ino for each in open_files()]
    assert list(blocks) == []


@without_media_type
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_push_keeps_the_config_of_an_image_with_a_decompressed_layer(
    push: Callable[..., dict[str, Any]],
    server: RegistryServer,
    path: Path,
    name: str,
    compress: Compress,
    compression: str,
) -> None:
    path.write_bytes(tar(("manifest.json", encode(LISTED)), ("config", CONFIG), ("layer", compress(LAYER))))

    result = push(str(path), compression=compression)

    assert not result.get("failed"), result["msg"]
    _media_type, manifest = server.manifests["base"]["1"]
    assert json.loads(manifest)["config"]["digest"] == digest_of(CONFIG)
    expected = {"gzip": f"{OCI_LAYER}+gzip", "none": OCI_LAYER}[compression]
    assert [part["mediaType"] for part in json.loads(manifest)["layers"]] == [expected]


@without_media_type
def test_layer_with_the_diff_id_of_the_compressed_file_is_explained(
    open_archive: OpenArchive, name: str, compress: Compress
) -> None:
    compressed = compress(LAYER)

    with pytest.raises(SourceError, match=rf"^layer in the archive .*app\.tar {EXPLAINED}"):
        open_archive(LISTED, config=config_of(digest_of(compressed)), layer=compressed)


@without_media_type
def test_layer_that_podman_imported_and_saved_is_explained(
    open_archive: OpenArchive, name: str, compress: Compress
) -> None:
    # Podman 4.3: podman import rootfs.tar.xz; podman save
    file = f"{digest_of(LAYER).partition(':')[2]}.tar"
    listed = [{"Config": "config", "RepoTags": None, "Layers": [file]}]

    with pytest.raises(SourceError, match=rf"^{file} in the archive .*app\.tar {EXPLAINED}"):
        open_archive(listed, config=config_of(digest_of(compress(LAYER))), **{file: LAYER})


def test_uncompressed_layer_with_another_name_is_accepted(open_archive: OpenArchive) -> None:
    file = f"{'0' * 64}.tar"
    source = open_archive([{"Config": "config", "RepoTags": None, "Layers": [file]}], config=CONFIG, **{file: LAYER})

    (found,) = source.fetch_manifest(source.images()[0].root).layers

    assert read_blob(source, found) == LAYER


def test_uncompressed_layer_with_several_diff_ids_is_read_once(
    open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{'a' * 64}.tar"
    opened: list[str] = []
    open_file = TarFiles.open

    def noted(files: TarFiles, file: str, offset: int = 0) -> AbstractContextManager[Blocks]:
        opened.append(file)
        return open_file(files, file, offset)

    monkeypatch.setattr(TarFiles, "open", noted)
    diff_ids = [digest_of(b"%d" % number) for number in range(9)]

    open_archive([{**LISTED[0], "Layers": [name] * 9}], config=config_of(*diff_ids), **{name: LAYER})

    # The first bytes show that it is not compressed.
    assert opened.count(name) == 2


@without_media_type
@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda compress: compress(LAYER + b"more"), "does not match its diff ID .* has the digest sha256:"),
        (lambda compress: compress(LAYER)[:-3], "is damaged: the .* stream is truncated"),
        (lambda compress: compress(LAYER) + b"more", "is damaged"),
        (lambda compress: compress(LAYER)[:-20] + bytes(20), "is damaged"),
    ],
)
def test_damaged_layer_without_media_type_is_rejected_with_its_name(
    open_archive: OpenArchive, name: str, compress: Compress, tampered: Callable[[Compress], bytes], why: str
) -> None:
    with pytest.raises(SourceError, match=rf"^layer in the archive .*app\.tar {why}"):
        open_archive(LISTED, config=CONFIG, layer=tampered(compress))


@without_media_type
def test_layer_is_rejected_above_the_size_limit_with_little_memory(
    open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch, name: str, compress: Compress
) -> None:
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 8 * MIB)
    bomb = compress(bytes(64 * MIB))
    tracemalloc.start()

    with pytest.raises(SourceError, match=r"layer in the archive .*app\.tar decompresses to more than"):
        open_archive(LISTED, config=CONFIG, layer=bomb)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The dictionary of xz takes 8 MiB.
    assert peak < 16 * MIB


@without_media_type
def test_layer_without_library_is_rejected_with_advice(
    open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch, name: str, compress: Compress
) -> None:
    monkeypatch.setattr(decompression, "_import", lambda _name: None)

    with pytest.raises(SourceError, match=rf"layer in the archive .* is compressed with {name}, which needs a Python"):
        open_archive(LISTED, config=CONFIG, layer=compress(LAYER))


@pytest.mark.parametrize("offset", [0, 7])
@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda: zstd(LAYER + b"more"), "its content has the digest sha256:"),
        (lambda: zstd(LAYER)[:-3], "the zstd stream is truncated"),
        (lambda: zstd(LAYER) + b"more of something", "Unknown frame descriptor"),
        (lambda: zstd(bytes(64 * MIB)), "its content has the digest sha256:"),
    ],
)
def test_zstd_layer_with_wrong_diff_id_is_rejected(
    open_archive: OpenArchive, tampered: Callable[[], bytes], why: str, offset: int
) -> None:
    source = open_archive(LISTED, config=CONFIG, layer=tampered())
    (found,) = source.fetch_manifest(source.images()[0].root).layers

    with pytest.raises(SourceError, match=rf"^layer in .*app\.tar does not match its diff ID .*{why}"):
        read_blob(source, found, offset)


@pytest.mark.parametrize("frames", [zstd(LAYER), zstd(LAYER[:5]) + zstd(LAYER[5:])])
def test_zstd_layer_with_right_diff_id_stays_compressed(open_archive: OpenArchive, frames: bytes) -> None:
    source = open_archive(LISTED, config=CONFIG, layer=frames)

    (found,) = source.fetch_manifest(source.images()[0].root).layers

    assert (found.media_type, found.digest) == (f"{OCI_LAYER}+zstd", digest_of(frames))
    assert [read_blob(source, found, offset) for offset in (0, 7)] == [frames, frames[7:]]


def test_zstd_layer_stays_compressed_without_library(
    open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "_import", lambda _name: None)
    source = open_archive(LISTED, config=CONFIG, layer=zstd(LAYER))

    (found,) = source.fetch_manifest(source.images()[0].root).layers

    assert read_blob(source, found) == zstd(LAYER)


def test_uncompressed_layer_whose_first_name_looks_compressed_stays_unchanged(open_archive: OpenArchive) -> None:
    content = layer("BZh9/file", b"content")
    source = open_archive(LISTED, config=config_of(digest_of(content)), layer=content)

    (found,) = source.fetch_manifest(source.images()[0].root).layers

    assert read_blob(source, found) == content
