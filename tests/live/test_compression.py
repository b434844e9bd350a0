# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers that are compressed on the way are what others make of them, who unpack and verify them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import images
import pytest

from .conftest import Task
from .host_registries import MAKES, HostRegistry, host_registry
from .memory import MEMORY, memory_of

MIB = 1 << 20


@pytest.fixture(scope="module", params=MAKES)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each make."""
    with host_registry(request.param, tmp_path_factory.mktemp("registry"), "makes") as registry:
        yield registry


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """CNCF distribution 3."""
    with host_registry("distribution-3", tmp_path_factory.mktemp("registry"), "compressing") as registry:
        yield registry


def test_every_registry_takes_a_layer_before_its_digest_is_known(
    task: Task, make: HostRegistry, repository: str, tmp_path: Path
) -> None:
    push_and_unpack(task, make, repository, tmp_path, "gzip")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_skopeo_unpacks_what_was_compressed_or_not(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, compression: str
) -> None:
    push_and_unpack(task, host, repository, tmp_path, compression)


def push_and_unpack(task: Task, host: HostRegistry, repository: str, folder: Path, compression: str) -> None:
    image = images.ensure("many")
    wanted = {"source": f"docker-archive:{image.docker_archive}:localhost/team/api:1.0", "name": f"{repository}:1"}

    pushed = task("k8scr_push", images=[wanted], compression=compression, **host.options)
    again = task("k8scr_push", images=[wanted], compression="auto", **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert not again["changed"], again.get("msg")
    source = f"docker://{host.address}/{pushed['images'][0]['repository']}:1"
    copy = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-decompress",
        source,
        f"dir:{folder}/copied",
    ]
    subprocess.run(copy, check=True)
    manifest = json.loads((folder / "copied/manifest.json").read_bytes())
    config = json.loads((folder / "copied" / manifest["config"]["digest"].partition(":")[2]).read_bytes())
    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]


def test_memory_does_not_grow_with_the_size_of_layers(host: HostRegistry, repository: str, tmp_path: Path) -> None:
    source = {"source": f"docker-archive:{write_archive(tmp_path)}", "name": f"{repository}:1"}

    assert memory_of("k8scr_push", images=[source], **host.options) < MEMORY


def write_archive(folder: Path) -> Path:
    """Write an archive of four layers of 96 MiB, of which parts can be compressed well and others not at all."""
    layers = []
    for number in range(4):
        layer = folder / f"{number}.tar"
        with tarfile.open(layer, "w") as files:
            for _number in range(96):
                content = random.randbytes(MIB // 2) + str(random.randrange(10**9)).encode() * (MIB // 18)
                entry = tarfile.TarInfo(f"{number}/{len(files.getmembers())}")
                entry.size = len(content)
                files.addfile(entry, io.BytesIO(content))
        layers.append(layer)
    diff_ids = [f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}" for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    (folder / "config.json").write_text(json.dumps(config))
    manifest = {"Config": "config.json", "RepoTags": ["large:1"], "Layers": [layer.name for layer in layers]}
    (folder / "manifest.json").write_text(json.dumps([manifest]))
    with tarfile.open(folder / "archive.tar", "w") as archive:
        for path in (folder / "config.json", *layers, folder / "manifest.json"):
            archive.add(path, path.name)
    return folder / "archive.tar"
