# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reject invalid Docker archives."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DigestMismatchError,
    K8scrError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import (
    DockerArchiveSource,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_manifest import read_archive_entries
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    tar,
)

OpenArchive = Callable[..., DockerArchiveSource]
OpenLayer = Callable[[bytes], tuple[DockerArchiveSource, Descriptor]]

CONFIG = encode({"rootfs": {"diff_ids": [digest_of(b"layer")]}})


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
def test_compressed_layer_with_wrong_diff_id_is_rejected(
    open_compressed_layer: OpenLayer, image: Image, tampered: Callable[[bytes], bytes], why: str, offset: int
) -> None:
    content = tampered(image.files[0])
    source, layer = open_compressed_layer(content)

    for expected in (rf"^one in .* does not match its diff ID in the image's config: .*{why}", "^one in"):
        with source.open_blob(layer, offset) as blocks, pytest.raises(SourceError, match=expected):
            b"".join(blocks)


def test_configs_with_different_diff_ids_for_a_layer_are_rejected(open_archive: OpenArchive) -> None:
    other = encode({"rootfs": {"diff_ids": [digest_of(b"other")]}})
    listed = [{"Config": name, "Layers": ["layer"]} for name in ("config", "other")]

    with pytest.raises(SourceError, match=r"the configs have different diff IDs for the layer layer"):
        open_archive(listed, config=CONFIG, other=other, layer=gzip.compress(b"layer"))


def test_current_archive_with_damaged_manifest_is_rejected(open_current_archive: OpenArchive, image: Image) -> None:
    path = f"blobs/{image.digest.replace(':', '/')}"

    with pytest.raises(DigestMismatchError, match=f"manifest {image.digest} in .* is damaged"):
        open_current_archive(**{path: image.contents[image.digest] + b" "})


@pytest.mark.parametrize("name", ["{}.json", "sha256:{}", "blobs/sha256/{}"])
def test_config_is_rejected_with_digest_other_than_in_its_path(open_archive: OpenArchive, name: str) -> None:
    path = name.format(digest_of(CONFIG)[7:])
    listed = [{"Config": path, "Layers": ["layer"]}]

    open_archive(listed, layer=b"layer", **{path: CONFIG})
    with pytest.raises(SourceError, match=rf"the content of {path} has the digest sha256:"):
        open_archive(listed, layer=b"layer", **{path: CONFIG + b" "})


def test_compressed_layer_is_rejected_with_digest_other_than_in_its_path(open_archive: OpenArchive) -> None:
    compressed = gzip.compress(b"layer", mtime=0)
    path = f"blobs/sha256/{digest_of(compressed)[7:]}"
    listed = [{"Config": "config", "Layers": [path]}]

    open_archive(listed, config=CONFIG, **{path: compressed})
    with pytest.raises(SourceError, match=rf"the content of {path} has the digest sha256:"):
        open_archive(listed, config=CONFIG, **{path: gzip.compress(b"layer", mtime=1)})


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
        [{"Config": "../../etc/passwd", "Layers": ["layer"]}],
        [{"Config": "/etc/passwd", "Layers": ["layer"]}],
        [{"Config": "config", "Layers": ["../../../etc/passwd"]}],
        [{"Config": "config", "Layers": ["missing"]}],
        [{"Config": "config", "Layers": []}],
        [{"Config": "config", "Layers": None}],
        [{"Config": "config", "Layers": ["layer", "layer"]}],
        [{"Config": "layer", "Layers": ["layer"]}],
        [{"Config": "a\nb\x1b[31m", "Layers": ["layer"]}],
    ],
)
def test_malformed_docker_archive_is_rejected_in_one_line(open_archive: OpenArchive, manifest: object) -> None:
    with pytest.raises(SourceError) as failure:
        open_archive(manifest, config=CONFIG, layer=b"layer")

    assert "app.tar" in str(failure.value)
    assert str(failure.value).isprintable()


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b'{"rootfs": 7}',
        b'{"rootfs": {"diff_ids": [7]}}',
        b'{"rootfs": {"diff_ids": ["sha256:../../x"]}}',
        b"[" * 100_000,
    ],
)
def test_invalid_config_is_rejected(open_archive: OpenArchive, config: bytes) -> None:
    with pytest.raises(SourceError, match="config is not the config of an image"):
        open_archive([{"Config": "config", "Layers": ["layer"]}], config=config, layer=b"layer")


def test_docker_archive_with_too_many_images_is_rejected(
    open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{read_archive_entries.__module__}._MAXIMUM_PARTS", 10)

    with pytest.raises(SourceError, match="more than 10 configs and layers"):
        open_archive([{"Config": "config", "Layers": ["layer"]}] * 6, config=CONFIG, layer=b"layer")


def test_archive_without_manifest_json_is_rejected(path: Path) -> None:
    path.write_bytes(tar(("repositories", b"{}")))

    with pytest.raises(SourceError, match=r"has no manifest.json"):
        DockerArchiveSource(TarFiles(path))


def test_error_of_docker_archive_is_a_k8scr_error(open_archive: OpenArchive) -> None:
    manifest: list[dict[str, Any]] = [{"Config": "config", "Layers": ["layer"], "RepoTags": [7]}]

    with pytest.raises(K8scrError, match=r"app.tar is not a readable Docker archive: manifest.json: .* is not a str"):
        open_archive(manifest, config=CONFIG, layer=b"layer")


def test_invalid_name_in_docker_archive_is_an_error_of_that_name(open_archive: OpenArchive) -> None:
    manifest = [{"Config": "config", "Layers": ["layer"], "RepoTags": ["A B", "app:1", "<none>:<none>"]}]

    named, unnamed = open_archive(manifest, config=CONFIG, layer=b"layer").images()

    assert (str(named.name), unnamed.name) == ("docker.io/library/app:1", None)
    assert "'<none>:<none>' is not a valid image name" in str(unnamed.name_error)
