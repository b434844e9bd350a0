# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests of stores: paths, archives and an engine."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import DockerArchiveSource
from unit.plugins.module_utils.support.engine_server import EngineServer
from unit.plugins.module_utils.support.images import Image, encode, layout_files, tar

OpenArchive = Callable[..., DockerArchiveSource]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The path of a layout that does not exist yet."""
    return tmp_path / "layout"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of an archive that does not exist yet, in an empty folder."""
    return tmp_path / "app.tar"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    """An engine without images."""
    with EngineServer(tmp_path).running() as running:
        yield running


@pytest.fixture
def open_archive(path: Path) -> OpenArchive:
    """Opens a Docker archive with this ``manifest.json`` and these other files."""

    def write(manifest: object, **files: bytes) -> DockerArchiveSource:
        content = manifest if isinstance(manifest, bytes) else encode(manifest)
        path.write_bytes(tar(("manifest.json", content), *files.items()))
        return DockerArchiveSource(TarFiles(path))

    return write


@pytest.fixture
def open_current_archive(path: Path, image: Image) -> OpenArchive:
    """Opens a Docker archive as written by Docker 25 and later: an OCI layout with ``manifest.json``.

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
def open_compressed_layer(
    open_archive: OpenArchive, image: Image
) -> Callable[[bytes], tuple[DockerArchiveSource, Descriptor]]:
    """Opens a Docker archive with this content for the first of two layers; returns the archive and that layer."""

    def write(first: bytes) -> tuple[DockerArchiveSource, Descriptor]:
        files = {"config": image.config, "one": first, "two": gzip.compress(image.files[1])}
        source = open_archive([{"Config": "config", "RepoTags": None, "Layers": ["one", "two"]}], **files)
        return source, source.fetch_manifest(source.images()[0].root).layers[0]

    return write
