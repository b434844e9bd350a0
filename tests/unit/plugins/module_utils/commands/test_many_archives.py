# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks with more archives than a process may have open files. macOS allows 256 by default, Linux 1,024."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import open_source, parse_location
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_docker_archive, write_oci_archive
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tasks import run_with_few_files

LIMIT = 256
COUNT = 300


@pytest.fixture
def numbered(server: RegistryServer) -> list[str]:
    """The names of images in the registry, more than the limit of open files."""
    for number in range(COUNT):
        server.fill(f"library/app-{number}", "1", make_image(layer("number", b"%d" % number)))
    return [f"app-{number}" for number in range(COUNT)]


def test_push_reads_more_archives_than_the_limit_of_open_files(server: RegistryServer, tmp_path: Path) -> None:
    archives = []
    for number in range(COUNT):
        image = make_image(layer("number", b"%d" % number))
        archive = write_docker_archive(tmp_path / f"{number}.tar", [([f"example.com/app-{number}:1"], image)])
        if number % 2:
            archive.write_bytes(gzip.compress(archive.read_bytes()))
        archives.append(str(archive))

    result = run_with_few_files(LIMIT, "push", server.url, tmp_path, archives)

    assert not result.get("failed"), result["msg"]
    assert all(server.digest_of(f"app-{number}", "1") for number in range(COUNT))


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_pull_writes_more_destinations_than_the_limit_of_open_files(
    server: RegistryServer, numbered: list[str], tmp_path: Path, transport: str
) -> None:
    images = [{"name": f"{name}:1", "dest": f"{transport}:{tmp_path}/{name}"} for name in numbered]

    result = run_with_few_files(LIMIT, "pull", server.url, tmp_path, images)

    assert not result.get("failed"), result["msg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(numbered)


def test_pull_adds_to_more_archives_than_the_limit_of_open_files(
    server: RegistryServer, numbered: list[str], tmp_path: Path, image: Image
) -> None:
    for name in numbered:
        write_oci_archive(tmp_path / name, {"app:1": image})
    images = [{"name": f"{name}:1", "dest": f"oci-archive:{tmp_path}/{name}"} for name in numbered]

    result = run_with_few_files(LIMIT, "pull", server.url, tmp_path, images)

    assert not result.get("failed"), result["msg"]
    source = open_source(parse_location(f"{tmp_path}/{numbered[-1]}"))
    assert len(source.images()) == 2
