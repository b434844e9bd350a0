# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of real engines, Docker's and Podman's, to the cluster and back."""

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

from .conftest import Task
from .engines import (
    DOCKER,
    Engine,
    certificates,
    docker_engine,
    free_port,
    newer_docker_engine,
    podman_engine,
    ssh_server,
)
from .host_registries import host_registry
from .layout_writer import MEBIBYTE
from .memory import MEMORY, memory_of

Delivered = Callable[..., dict[str, Any]]

KEEP_CONFIGS = ("docker", "docker_with_layouts", "podman")
"""The engines that know an image by its config; the other one knows it by its manifest."""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str, Path]]:
    """Docker's engine, where it listens beside its socket, over TCP with TLS, and a folder with certificates for it."""
    folder = tmp_path_factory.mktemp("certificates")
    address = f"tcp://127.0.0.1:{free_port()}"
    with docker_engine("-H", address, *certificates(folder)) as engine:
        yield engine, address, folder


@pytest.fixture(scope="module")
def docker(remote: tuple[Engine, str, Path]) -> Engine:
    """Docker's engine."""
    return remote[0]


@pytest.fixture(scope="module")
def podman() -> Iterator[Engine]:
    """Podman's engine."""
    with podman_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_with_layouts() -> Iterator[Engine]:
    """Docker's engine of a version that saves images as OCI layouts."""
    with newer_docker_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_with_manifests() -> Iterator[Engine]:
    """Docker's engine that has containerd keep images, and so has their manifests."""
    with newer_docker_engine(containerd=True) as engine:
        yield engine


@pytest.fixture(params=[*KEEP_CONFIGS, "docker_with_manifests"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine of each make, and Docker's of each way to keep and to save images."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def name(repository: str) -> str:
    """The name of an image that is nowhere yet."""
    return f"docker.io/{repository}:1"


@pytest.fixture
def push(task: Task, engine: Engine) -> Delivered:
    """Pushes an image of the engine, and returns the entry for it in the module's result."""

    def run(image: str, **options: Any) -> dict[str, Any]:
        return entry_of(task("k8scr_push", images=[image], **{"docker_host": engine.host, **options}))

    return run


@pytest.fixture
def pull(task: Task, engine: Engine) -> Delivered:
    """Pulls an image into the engine, and returns the entry for it in the module's result."""

    def run(image: str, **options: Any) -> dict[str, Any]:
        return entry_of(task("k8scr_pull", images=[image], **{"docker_host": engine.host, **options}))

    return run


def entry_of(result: dict[str, Any]) -> dict[str, Any]:
    assert "images" in result, result.get("msg")
    (entry,) = result["images"]
    assert isinstance(entry, dict)
    return entry


def load(engine: Engine, name: str, image: str = "busybox") -> str:
    made = images.ensure(image)
    return engine.load(made.docker_archive, made.tag, name)


def to_the_cluster(task: Task, image: str, name: str) -> None:
    result = task("k8scr_push", images=[{"source": f"oci:{images.ensure(image).layout}", "name": name}])
    assert result["changed"], result.get("msg")


def ids_in_the_cluster(address: str, name: str) -> list[str]:
    """The digests of an image's manifest and config there: engines call it by the one or the other."""
    reference = f"{address}/{name.partition('/')[2]}"
    manifest = subprocess.run(
        [str(layout.BIN / "crane"), "manifest", reference], check=True, capture_output=True
    ).stdout
    return [f"sha256:{hashlib.sha256(manifest).hexdigest()}", json.loads(manifest)["config"]["digest"]]


def test_an_image_has_in_the_cluster_the_id_that_the_engine_gave_it(
    engine: Engine, push: Delivered, name: str, address: str, tmp_path: Path
) -> None:
    image_id = load(engine, name, "debian")

    pushed = push(name)

    assert pushed["changed"], pushed.get("error")
    assert image_id in ids_in_the_cluster(address, name)
    # It checks every digest on the way.
    source, copy = f"docker://{address}/{name.partition('/')[2]}", f"dir:{tmp_path}"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", source, copy], check=True)


def test_check_mode_and_the_push_say_the_same(engine: Engine, push: Delivered, name: str) -> None:
    load(engine, name)

    planned = push(name, check_mode=True, compression="none")
    pushed = push(name, compression="none")

    assert pushed["changed"], pushed.get("error")
    assert planned == pushed


def test_an_image_that_is_there_is_not_exported(engine: Engine, push: Delivered, name: str) -> None:
    load(engine, name)
    first = push(name, compression="gzip")

    # An export would have no place to be kept in.
    second = push(name, tmp_dest="/no/such/folder")

    assert (second.get("error"), second["changed"], second["digest"]) == (None, False, first["digest"])


@pytest.mark.parametrize("engine", KEEP_CONFIGS, indirect=True)
def test_an_image_that_was_pushed_from_elsewhere_is_known_by_its_id(
    task: Task, engine: Engine, push: Delivered, name: str
) -> None:
    load(engine, name)
    to_the_cluster(task, "busybox", name)

    pushed = push(name, tmp_dest="/no/such/folder")

    assert (pushed.get("error"), pushed["changed"]) == (None, False)
    assert pushed["digest"] == images.ensure("busybox").digest


def test_an_image_comes_back_with_its_id(task: Task, engine: Engine, pull: Delivered, name: str) -> None:
    to_the_cluster(task, "debian", name)

    planned = pull(name, check_mode=True)
    pulled = pull(name)
    again = pull(name)

    assert pulled["changed"], pulled.get("error")
    assert planned == pulled
    assert engine.id_of(name) in (images.ensure("debian").digest, images.ensure("debian").config_digest)
    assert not again["changed"]


@pytest.mark.parametrize("engine", KEEP_CONFIGS, indirect=True)
def test_an_image_that_the_engine_has_is_named_without_fetching_it(
    task: Task, engine: Engine, pull: Delivered, name: str
) -> None:
    image_id = load(engine, f"localhost/{name.partition('/')[2]}")
    to_the_cluster(task, "busybox", name)

    pulled = pull(name)

    assert (pulled["changed"], pulled["sent"]["blobs"]) == (True, 0)
    assert engine.id_of(name) == image_id


def test_of_an_index_the_engine_gets_the_image_for_its_platform(
    task: Task, engine: Engine, pull: Delivered, name: str
) -> None:
    to_the_cluster(task, "multi", name)

    pulled = pull(name)

    assert pulled["changed"], pulled.get("error")
    assert engine.docker("image", "inspect", "--format={{.Os}}/{{.Architecture}}", name) == "linux/amd64"
    assert not pull(name)["changed"]


def test_an_image_that_the_engine_does_not_have(engine: Engine, push: Delivered, name: str) -> None:
    assert f"at {engine.host} has no image {name}" in push(name)["error"]


def test_what_podman_has_under_localhost_is_found_by_its_short_name(
    task: Task, podman: Engine, repository: str
) -> None:
    load(podman, f"localhost/{repository}:1")

    pushed = entry_of(task("k8scr_push", images=[f"{repository}:1"], docker_host=podman.host))

    assert (pushed.get("error"), pushed["target"]) == (None, f"{repository}:1")


def test_an_engine_over_tcp_with_tls(task: Task, remote: tuple[Engine, str, Path], name: str) -> None:
    engine, address, folder = remote
    load(engine, name)

    pushed = entry_of(task("k8scr_push", images=[name], docker_host=address, docker_cert_path=str(folder)))

    assert pushed["changed"], pushed.get("error")


def test_an_engine_that_does_not_know_us(
    task: Task, remote: tuple[Engine, str, Path], name: str, tmp_path: Path
) -> None:
    _engine, address, folder = remote
    (tmp_path / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())

    pushed = entry_of(task("k8scr_push", images=[name], docker_host=address, docker_cert_path=str(tmp_path)))

    assert "certificate required" in pushed["error"].lower() or "bad certificate" in pushed["error"].lower()


def test_an_engine_whose_certificate_is_not_trusted(
    task: Task, remote: tuple[Engine, str, Path], name: str, tmp_path: Path
) -> None:
    pushed = entry_of(task("k8scr_push", images=[name], docker_host=remote[1], docker_cert_path=str(tmp_path)))

    assert "certificate verify failed" in pushed["error"]


def test_an_engine_of_a_context_that_dockers_client_made(
    task: Task,
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

    pushed = entry_of(task("k8scr_push", images=[name], docker_context="lab"))
    subprocess.run([DOCKER, "context", "use", "lab"], check=True)
    in_use = entry_of(task("k8scr_push", images=[name]))

    assert (pushed.get("error"), pushed["changed"]) == (None, True)
    assert (in_use.get("error"), in_use["changed"]) == (None, False)


def test_an_engine_over_ssh(
    task: Task, docker: Engine, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(docker, name)
    host = f"ssh://engine{docker.socket}"
    with ssh_server(tmp_path) as programs:
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

        pushed = entry_of(task("k8scr_push", images=[name], docker_host=host))
        docker.docker("rmi", name)
        pulled = entry_of(task("k8scr_pull", images=[name], docker_host=host))

    assert pushed["changed"], pushed.get("error")
    assert pulled["changed"], pulled.get("error")
    assert docker.id_of(name) == images.ensure("busybox").config_digest


@pytest.mark.parametrize("engine", ["docker", "docker_with_manifests", "podman"], indirect=True)
def test_memory_does_not_grow_with_the_size_of_an_image(engine: Engine, task: Task, name: str, tmp_path: Path) -> None:
    large = images.ensure_random(128 * MEBIBYTE, layers=1)
    with host_registry("distribution-3", tmp_path, "engines") as registry:
        options = {"docker_host": engine.host, **registry.options}
        source = {"source": f"oci:{large.layout}", "name": name}
        assert task("k8scr_push", images=[source], **registry.options)["changed"]

        pulled = memory_of("k8scr_pull", images=[name], **options)
        pushed = memory_of("k8scr_push", images=[{"source": name, "name": f"{name}-again"}], **options)

    engine.docker("rmi", name)
    assert (pulled < MEMORY, pushed < MEMORY) == (True, True), (pulled, pushed)
