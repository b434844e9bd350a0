# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of Docker and Podman engines: pushes to the cluster and pulls from it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout
from cluster.waiting import free_port
from images.sizes import MIB

from .conftest import Task
from .engines import (
    DOCKER,
    Engine,
    certificates,
    docker_engine,
    newer_docker_engine,
    podman_engine,
)
from .host_registries import host_registry
from .separate_process import MEMORY, peak_memory
from .ssh_server import SshServer

Transfer = Callable[..., dict[str, Any]]

CONFIG_IDS = ("docker", "docker_with_layouts", "podman")
"""The engines whose image IDs are digests of configs; those of the other engine are digests of manifests."""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str, Path]]:
    """A Docker engine, its additional address (TCP with TLS), and a folder with certificates for clients."""
    folder = tmp_path_factory.mktemp("certificates")
    address = f"tcp://127.0.0.1:{free_port()}"
    with docker_engine("-H", address, *certificates(folder)) as engine:
        yield engine, address, folder


@pytest.fixture(scope="module")
def docker(remote: tuple[Engine, str, Path]) -> Engine:
    """A Docker engine."""
    return remote[0]


@pytest.fixture(scope="module")
def podman() -> Iterator[Engine]:
    """A Podman engine."""
    with podman_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_with_layouts() -> Iterator[Engine]:
    """A Docker engine of a version that saves images as OCI layouts."""
    with newer_docker_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_with_manifests() -> Iterator[Engine]:
    """A Docker engine that stores images in containerd and thus has their manifests."""
    with newer_docker_engine(containerd=True) as engine:
        yield engine


@pytest.fixture(params=[*CONFIG_IDS, "docker_with_manifests"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Podman, and Docker with each method of storing and saving images."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def name(repository: str) -> str:
    """The name of an image that exists neither in the cluster nor in an engine."""
    return f"docker.io/{repository}:1"


@pytest.fixture
def push(task: Task, engine: Engine) -> Transfer:
    """Pushes an image from the engine and returns the image's entry in the result."""

    def run(image: str, **options: Any) -> dict[str, Any]:
        return entry_of(task("k8scr_push", images=[image], **{"docker_host": engine.host, **options}))

    return run


@pytest.fixture
def pull(task: Task, engine: Engine) -> Transfer:
    """Pulls an image into the engine and returns the image's entry in the result."""

    def run(image: str, **options: Any) -> dict[str, Any]:
        return entry_of(task("k8scr_pull", images=[image], **{"docker_host": engine.host, **options}))

    return run


@pytest.fixture
def push_from(task: Task) -> Transfer:
    """Pushes an image with options that select the engine and returns the image's entry in the result."""

    def run(image: str, **options: Any) -> dict[str, Any]:
        return entry_of(task("k8scr_push", images=[image], **options))

    return run


def entry_of(result: dict[str, Any]) -> dict[str, Any]:
    assert "images" in result, result.get("msg")
    (entry,) = result["images"]
    assert isinstance(entry, dict)
    return entry


def load(engine: Engine, name: str, image: str = "busybox") -> str:
    original = images.ensure(image)
    return engine.load(original.docker_archive, original.tag, name)


def push_layout(task: Task, image: str, name: str) -> None:
    """Push a test image from its OCI layout to the cluster."""
    result = task("k8scr_push", images=[{"source": f"oci:{images.ensure(image).layout}", "name": name}])
    assert result["changed"], result.get("msg")


def ids_in_cluster(address: str, name: str) -> list[str]:
    """Return the digests of the manifest and the config in the cluster; one of them is an engine's image ID."""
    reference = f"{address}/{name.partition('/')[2]}"
    manifest = subprocess.run(
        [str(layout.BIN / "crane"), "manifest", reference], check=True, capture_output=True
    ).stdout
    return [f"sha256:{hashlib.sha256(manifest).hexdigest()}", json.loads(manifest)["config"]["digest"]]


def test_push_preserves_image_id(engine: Engine, push: Transfer, name: str, address: str, tmp_path: Path) -> None:
    image_id = load(engine, name, "debian")

    pushed = push(name)

    assert pushed["changed"], pushed.get("error")
    assert image_id in ids_in_cluster(address, name)
    # skopeo verifies every digest.
    source, copy = f"docker://{address}/{name.partition('/')[2]}", f"dir:{tmp_path}"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", source, copy], check=True)


def test_push_result_equals_check_mode_result(engine: Engine, push: Transfer, name: str) -> None:
    load(engine, name)

    planned = push(name, check_mode=True, compression="none")
    pushed = push(name, compression="none")

    assert pushed["changed"], pushed.get("error")
    assert planned == pushed


def test_push_of_several_images_needs_space_for_as_many_exports_as_connections(
    task: Task, engine: Engine, repository: str, tmp_path: Path
) -> None:
    names = [f"docker.io/{repository}:{number}" for number in range(5)]
    for each in names:
        load(engine, each)
    size = images.ensure("busybox").docker_archive.stat().st_size * 2
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)], check=True)
    options = {"docker_host": engine.host, "tmp_dest": str(tmp_path), "connections": 1, "compression": "none"}
    try:
        planned = task("k8scr_push", check_mode=True, images=names, **options)
        pushed = task("k8scr_push", images=names, **options)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert pushed["changed"], pushed.get("msg")
    assert planned["images"] == pushed["images"]


def test_push_does_not_export_existing_image(engine: Engine, push: Transfer, name: str) -> None:
    load(engine, name)
    first = push(name, compression="gzip")

    # An export would fail, because its folder is missing.
    second = push(name, tmp_dest="/no/such/folder")

    assert (second.get("error"), second["changed"], second["digest"]) == (None, False, first["digest"])


@pytest.mark.parametrize("engine", CONFIG_IDS, indirect=True)
def test_push_recognizes_existing_image_by_id_after_push_from_layout(
    task: Task, engine: Engine, push: Transfer, name: str
) -> None:
    load(engine, name)
    push_layout(task, "busybox", name)

    pushed = push(name, tmp_dest="/no/such/folder")

    assert (pushed.get("error"), pushed["changed"]) == (None, False)
    assert pushed["digest"] == images.ensure("busybox").digest


def test_pull_preserves_image_id(task: Task, engine: Engine, pull: Transfer, name: str) -> None:
    push_layout(task, "debian", name)

    planned = pull(name, check_mode=True)
    pulled = pull(name)
    again = pull(name)

    assert pulled["changed"], pulled.get("error")
    assert planned == pulled
    assert engine.id_of(name) in (images.ensure("debian").digest, images.ensure("debian").config_digest)
    assert not again["changed"]


@pytest.mark.parametrize("engine", CONFIG_IDS, indirect=True)
def test_pull_tags_existing_image_without_download(task: Task, engine: Engine, pull: Transfer, name: str) -> None:
    image_id = load(engine, f"localhost/{name.partition('/')[2]}")
    push_layout(task, "busybox", name)

    pulled = pull(name)

    assert (pulled["changed"], pulled["sent"]["blobs"]) == (True, 0)
    assert engine.id_of(name) == image_id


def test_pull_of_index_loads_image_for_platform_of_engine(
    task: Task, engine: Engine, pull: Transfer, name: str
) -> None:
    push_layout(task, "multi", name)

    pulled = pull(name)

    assert pulled["changed"], pulled.get("error")
    assert engine.docker("image", "inspect", "--format={{.Os}}/{{.Architecture}}", name) == "linux/amd64"
    assert not pull(name)["changed"]


def test_push_fails_when_image_is_missing_in_engine(engine: Engine, push: Transfer, name: str) -> None:
    assert f"at {engine.host} has no image {name}" in push(name)["error"]


def test_push_finds_localhost_image_of_podman_by_short_name(
    push_from: Transfer, podman: Engine, repository: str
) -> None:
    load(podman, f"localhost/{repository}:1")

    pushed = push_from(f"{repository}:1", docker_host=podman.host)

    assert (pushed.get("error"), pushed["target"]) == (None, f"{repository}:1")


def test_push_connects_to_engine_over_tls(push_from: Transfer, remote: tuple[Engine, str, Path], name: str) -> None:
    engine, address, folder = remote
    load(engine, name)

    pushed = push_from(name, docker_host=address, docker_cert_path=str(folder))

    assert pushed["changed"], pushed.get("error")


def test_push_fails_without_client_certificate_for_engine(
    push_from: Transfer, remote: tuple[Engine, str, Path], name: str, tmp_path: Path
) -> None:
    _engine, address, folder = remote
    (tmp_path / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())

    pushed = push_from(name, docker_host=address, docker_cert_path=str(tmp_path))

    assert "certificate required" in pushed["error"].lower() or "bad certificate" in pushed["error"].lower()


def test_push_fails_when_certificate_of_engine_is_not_trusted(
    push_from: Transfer, remote: tuple[Engine, str, Path], name: str, tmp_path: Path
) -> None:
    pushed = push_from(name, docker_host=remote[1], docker_cert_path=str(tmp_path))

    assert "certificate verify failed" in pushed["error"]


def test_push_connects_to_engine_of_docker_context(
    push_from: Transfer,
    remote: tuple[Engine, str, Path],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, address, folder = remote
    load(engine, name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    files = ",".join(f"{option}={folder}/{option}.pem" for option in ("ca", "cert", "key"))
    subprocess.run([DOCKER, "context", "create", "lab", "--docker", f"host={address},{files}"], check=True)

    pushed = push_from(name, docker_context="lab")
    subprocess.run([DOCKER, "context", "use", "lab"], check=True)
    by_default = push_from(name)

    assert (pushed.get("error"), pushed["changed"]) == (None, True)
    assert (by_default.get("error"), by_default["changed"]) == (None, False)


def test_push_and_pull_connect_to_engine_over_ssh(
    task: Task, push_from: Transfer, docker: Engine, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(docker, name)
    host = f"ssh://engine{docker.socket}"
    with SshServer(tmp_path) as server:
        monkeypatch.setenv("PATH", f"{server.programs}{os.pathsep}{os.environ['PATH']}")

        pushed = push_from(name, docker_host=host)
        docker.docker("rmi", name)
        pulled = entry_of(task("k8scr_pull", images=[name], docker_host=host))

    assert pushed["changed"], pushed.get("error")
    assert pulled["changed"], pulled.get("error")
    assert docker.id_of(name) == images.ensure("busybox").config_digest


@pytest.mark.parametrize("engine", ["docker", "docker_with_manifests", "podman"], indirect=True)
def test_memory_stays_constant_with_large_image(engine: Engine, task: Task, name: str, tmp_path: Path) -> None:
    large = images.ensure_random(128 * MIB, layers=1)
    with host_registry("distribution-3", tmp_path, "engines") as registry:
        options = {"docker_host": engine.host, **registry.options}
        source = {"source": f"oci:{large.layout}", "name": name}
        assert task("k8scr_push", images=[source], **registry.options)["changed"]

        pulled = peak_memory("k8scr_pull", images=[name], **options)
        pushed = peak_memory("k8scr_push", images=[{"source": name, "name": f"{name}-again"}], **options)

    engine.docker("rmi", name)
    assert (pulled < MEMORY, pushed < MEMORY) == (True, True), (pulled, pushed)
