# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers that a push compresses: other clients unpack and verify them."""

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
from images.sizes import MIB

from .conftest import Task
from .host_registries import IMPLEMENTATIONS, HostRegistry, host_registry
from .image_tasks import push, push_entry
from .separate_process import peak_memory

MEMORY = 70
"""The limit of a task's resident memory in MiB while it compresses four layers at once."""


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def each_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each implementation."""
    with host_registry(request.param, tmp_path_factory.mktemp("registry"), "implementations") as registry:
        yield registry


def test_registry_accepts_layer_before_its_digest_is_known(
    task: Task, each_host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    push_and_unpack(task, each_host, repository, tmp_path, "gzip")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_skopeo_unpacks_pushed_layers(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, compression: str
) -> None:
    push_and_unpack(task, host, repository, tmp_path, compression)


def push_and_unpack(task: Task, host: HostRegistry, repository: str, folder: Path, compression: str) -> None:
    """Push a Docker archive with a compression, and compare the layers that skopeo unpacks with the config."""
    archive = f"docker-archive:{images.ensure('many').docker_archive}:localhost/team/api:1.0"

    pushed = push(task, archive, repository, compression=compression, **host.options)
    again = push(task, archive, repository, compression="auto", **host.options)

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


def test_push_memory_stays_constant_with_large_layers(host: HostRegistry, repository: str, tmp_path: Path) -> None:
    entry = push_entry(f"docker-archive:{write_archive(tmp_path)}", repository)

    assert peak_memory("k8scr_push", images=[entry], **host.options) < MEMORY


def write_archive(folder: Path) -> Path:
    """Write an archive of four layers of 96 MiB with both compressible and incompressible content."""
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
