# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that read compressed archives, such as those of k3s and RKE2."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import read_archive
from unit.plugins.module_utils.support.images import Image, write_docker_archive, write_oci_archive
from unit.plugins.module_utils.support.registry_server import RegistryServer

Push = Callable[..., dict[str, Any]]
Compress = Callable[[bytes], bytes]

NAME = "docker.io/rancher/hardened-pause:3.10"
COMPRESSIONS: dict[str, Compress] = {
    "gz": gzip.compress,
    "zst": lambda content: zstandard.ZstdCompressor().compress(content),
    "xz": lzma.compress,
    "bz2": bz2.compress,
}
each_suffix = pytest.mark.parametrize("suffix", COMPRESSIONS)


def write_archive(folder: Path, transport: str, image: Image, suffix: str) -> Path:
    """Write a compressed archive."""
    path = folder / "images.tar"
    if transport == "oci-archive":
        write_oci_archive(path, {NAME: image})
    else:
        write_docker_archive(path, [([NAME], image)])
    compressed = folder / f"images.linux-amd64.tar.{suffix}"
    compressed.write_bytes(COMPRESSIONS[suffix](path.read_bytes()))
    return compressed


@each_suffix
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("prefix", [True, False], ids=["transport", "path"])
def test_push_reads_compressed_archive(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, transport: str, suffix: str, prefix: bool
) -> None:
    archive = write_archive(tmp_path, transport, image, suffix)

    results = [push(f"{transport}:{archive}" if prefix else str(archive)) for _time in range(2)]

    assert [result["changed"] for result in results] == [True, False]
    assert server.digest_of("rancher/hardened-pause", "3.10")


@each_suffix
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_archive_info_reads_compressed_archive(tmp_path: Path, image: Image, transport: str, suffix: str) -> None:
    archive = write_archive(tmp_path, transport, image, suffix)

    (entry,) = read_archive(archive)[0]

    assert (entry["name"], entry["archive"]) == (NAME, str(archive))


def test_push_unpacks_archive_in_tmp_dest(
    push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, image: Image
) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    archive = write_archive(tmp_path, "docker-archive", image, "zst")

    failed, pushed = push(str(archive)), push(str(archive), tmp_dest=str(tmp_path))

    assert "cannot be decompressed in the folder /no/such/folder" in failed["msg"]
    assert pushed["changed"]
