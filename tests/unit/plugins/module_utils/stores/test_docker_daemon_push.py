# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push images from an engine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.engine_server import (
    EngineServer,
    Exported,
    Fault,
    classic,
    keeping_manifests,
)
from unit.plugins.module_utils.support.images import Image, encode, make_image, make_index, write_docker_archive
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response

NAME = "docker.io/library/app:1"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def exports_folder(tmp_path: Path) -> Path:
    """An empty folder for exports."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def push_from(push: Run, engine: EngineServer, exports_folder: Path) -> Run:
    """Pushes an image of the engine, and returns its entry in the module's result."""

    def run(source: Any = "app:1", **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = push(
            source, **{"docker_host": engine.host, "tmp_dest": str(exports_folder), **options}
        )
        image: dict[str, Any] = result["images"][0]
        return image

    return run


def exports(engine: EngineServer) -> list[str]:
    return [request for request in engine.requests if request.endswith("/get")]


def test_push_keeps_image_id(push_from: Run, engine: EngineServer, image: Image, server: RegistryServer) -> None:
    engine.add(NAME, classic(image))

    result = push_from()

    assert (result["name"], result["target"], result["changed"]) == (NAME, "library/app:1", True)
    manifest = json.loads(server.manifests["library/app"]["1"][1])
    assert manifest["config"]["digest"] == digest_of(image.config)
    assert [gzip.decompress(server.blobs["library/app"][layer["digest"]]) for layer in manifest["layers"]] == list(
        image.files
    )


@pytest.mark.parametrize("source", ["app:1", "docker-daemon:app:1", "docker.io/library/app:1", {"source": "app:1"}])
def test_push_reads_bare_name_from_the_engine(push_from: Run, engine: EngineServer, image: Image, source: Any) -> None:
    engine.add(NAME, classic(image))

    assert push_from(source)["target"] == "library/app:1"


def test_push_does_not_export_existing_image(push_from: Run, engine: EngineServer, image: Image) -> None:
    engine.add(NAME, classic(image))
    first = push_from()
    engine.requests.clear()

    second = push_from()

    assert (second["changed"], second["digest"]) == (False, first["digest"])
    assert exports(engine) == []


def test_push_does_not_export_image_that_another_tool_pushed_compressed(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    engine.add(NAME, classic(image))
    server.fill("library/app", "1", image)

    result = push_from()

    assert (result["changed"], result["digest"]) == (False, image.digest)
    assert exports(engine) == []


def test_check_mode_predicts_the_push_from_an_engine(
    push_from: Run, engine: EngineServer, image: Image, exports_folder: Path
) -> None:
    engine.add(NAME, classic(image))

    planned = push_from(check_mode=True, compression="none")
    done = push_from(compression="none")

    assert planned == done
    assert list(exports_folder.iterdir()) == []


def test_push_accepts_image_id_of_podman_without_algorithm(push_from: Run, engine: EngineServer, image: Image) -> None:
    exported = classic(image)
    engine.add(NAME, Exported(exported.id.partition(":")[2], exported.archive))

    push_from()
    engine.requests.clear()

    assert not push_from()["changed"]
    assert exports(engine) == []


@pytest.mark.parametrize(
    ("written", "stored"), [("app:1", "localhost/app:1"), ("team/app", "localhost/team/app:latest")]
)
def test_push_finds_image_that_podman_built_by_short_name(
    push_from: Run, engine: EngineServer, image: Image, written: str, stored: str
) -> None:
    engine.add(stored, classic(image))

    assert push_from(written)["changed"]


def test_push_does_not_search_full_name_under_localhost(push_from: Run, engine: EngineServer, image: Image) -> None:
    engine.add("localhost/app:1", classic(image))

    assert "has no image docker.io/library/app:1" in push_from("docker.io/library/app:1")["error"]


def test_push_by_image_id_uses_the_given_name(push_from: Run, engine: EngineServer, image: Image) -> None:
    exported = classic(image)
    engine.add(NAME, exported)

    unnamed = push_from(f"docker-daemon:{exported.id}")
    named = push_from({"source": f"docker-daemon:{exported.id}", "name": "team/api:1.2"})

    assert "has no name" in unnamed["error"]
    assert named["target"] == "team/api:1.2"


def test_push_does_not_export_image_other_than_locked(
    push_from: Run, engine: EngineServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock.json"
    engine.add(NAME, classic(image))
    push_from(lock=lock)
    engine.add(NAME, classic(other_image))
    engine.requests.clear()

    result = push_from(lock=lock, locked=True)

    assert f"has {digest_of(other_image.config)} for {NAME}, and the lock file {lock} has" in result["error"]
    assert digest_of(image.config) in result["error"]
    assert exports(engine) == []


def test_push_mounts_config_that_engine_with_manifests_exported_before(
    push_from: Run, push: Run, engine: EngineServer, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    engine.add(NAME, keeping_manifests(image))
    push_from()
    archive = write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])

    copied = push({"source": f"docker-archive:{archive}", "name": "other/app:1"}, compression="none")["images"][0]

    actions = {blob["digest"]: blob["action"] for blob in copied["blobs"]}
    assert actions[digest_of(image.config)] == "mounted"


def test_push_from_engine_with_manifests_keeps_the_original_manifest(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    engine.add(NAME, keeping_manifests(image))

    first = push_from()
    engine.requests.clear()
    second = push_from()

    assert (first["digest"], second["changed"]) == (image.digest, False)
    assert exports(engine) == []
    assert server.blobs["library/app"].keys() == image.blobs.keys()


def test_push_of_index_pushes_the_image_in_the_engine(push_from: Run, engine: EngineServer, image: Image) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": make_image(architecture="arm64")})
    engine.add(NAME, keeping_manifests(index, image))

    first = push_from()
    engine.requests.clear()
    second = push_from()

    assert (first["digest"], second["changed"]) == (image.digest, False)
    assert exports(engine) == []


def test_push_reports_platform_that_the_engine_does_not_export(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    engine.add(NAME, keeping_manifests(make_index({"linux/amd64": image, "linux/arm64": other}), image, other))

    rejected = push_from({"source": "app:1", "platforms": ["linux/arm64"]})
    sent = server.received("PUT", "POST")
    accepted = push_from({"source": "app:1", "platforms": ["linux/amd64"]})

    assert f"image {image.digest} in" in rejected["error"]
    assert "does not have the platform linux/arm64. Select from its platforms: linux/amd64" in rejected["error"]
    assert sent == []
    assert accepted["digest"] == image.digest


def test_push_of_complete_index_is_unchanged_after_an_export(
    push_from: Run, engine: EngineServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    index = make_index({"linux/amd64": image, "linux/arm64": other})
    engine.add(NAME, keeping_manifests(index, image, other))

    first = push_from()
    second = push_from()

    assert (first["changed"], first["digest"], second["changed"]) == (True, image.digest, False)


def test_push_reports_missing_image(push_from: Run, engine: EngineServer) -> None:
    assert push_from()["error"] == (
        f"the Docker engine at {engine.host} has no image {NAME}. Pull, build or load it there first. For an image of a"
        " registry, write docker://app:1."
    )


def test_push_rejects_docker_daemon_without_name(push_from: Run) -> None:
    assert "needs the name of an image" in push_from("docker-daemon:")["error"]


def test_push_reports_missing_socket_with_advice(push_from: Run, tmp_path: Path) -> None:
    error = push_from(docker_host=f"unix://{tmp_path}/none.sock")["error"]

    assert f"the Docker engine at unix://{tmp_path}/none.sock is not available: No such file or directory" in error
    assert "podman.sock" in error


def test_push_reports_stopped_engine(push_from: Run, tmp_path: Path) -> None:
    with EngineServer(tmp_path / "scratch").running() as ended:
        pass

    assert "is not available: Connection refused" in push_from(docker_host=ended.host)["error"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(500, encode({"message": "the disk\nis broken"})), "rejected the request (500): the disk is broken"),
        (Fault(403, b"<html>"), "rejected the request (403): Forbidden"),
        (Fault(403, b" " * (5 << 20)), "rejected the request (403): Forbidden"),
        (Fault(200, b"<html>"), "is not a JSON object"),
        (Fault(200, b"[]"), "is not a JSON object"),
        (Fault(200, b"[" * 100_000), "is not a JSON object"),
        (Fault(200, encode({"Id": "sha256:short"})), "unexpected response from the Docker engine at"),
        (Fault(200, encode({})), "unexpected response from the Docker engine at"),
        (Fault(200, encode({"Id": "a" * 64, "Manifests": 7})), "unexpected response from the Docker engine at"),
        (
            Fault(200, encode({"Id": "a" * 64, "Manifests": [{"Available": 1, "Kind": "image"}]})),
            "unexpected response from the Docker engine at",
        ),
        (Fault(200, b"{" + b" " * (5 << 20)), "exceeds 4194304 bytes"),
        (Fault(200, b"{", cut=True), "the connection to the Docker engine at"),
    ],
)
def test_push_reports_invalid_response_in_one_line(
    push_from: Run, engine: EngineServer, fault: Fault, words: str
) -> None:
    engine.faults["GET", "/json"] = fault

    error = push_from()["error"]

    assert words in error
    assert error.isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda archive: Fault(200, archive[:5000]), "is truncated"),
        (lambda archive: Fault(200, archive[:5000], cut=True), "the connection to the Docker engine at"),
        (lambda _archive: Fault(500, encode({"message": "no space left on device"})), "no space left on device"),
        (lambda _archive: Fault(404, encode({"message": "gone"})), "no longer has the image"),
        (
            lambda archive: Fault(200, archive[:5120] + b'{"errorDetail":{"message":"layer lost"}}\r\n'),
            "failed: layer lost",
        ),
        (lambda _archive: Fault(200, b""), "it is empty"),
        (lambda _archive: Fault(200, b"<html>"), "it is shorter than one header"),
    ],
)
def test_push_reports_failed_export_and_leaves_no_file(
    push_from: Run,
    engine: EngineServer,
    image: Image,
    exports_folder: Path,
    change: Callable[[bytes], Fault],
    words: str,
) -> None:
    exported = classic(image)
    engine.add(NAME, exported)
    engine.faults["GET", "/get"] = change(exported.archive)

    result = push_from()

    assert words in result["error"]
    assert not result["changed"]
    assert list(exports_folder.iterdir()) == []


@pytest.fixture
def large_export(engine: EngineServer, large_image: Image) -> None:
    """An image in the engine that does not fit on a full disk."""
    engine.add(NAME, classic(large_image))


@pytest.mark.usefixtures("large_export", "full_disk")
def test_push_reports_full_export_folder_with_its_option(push_from: Run, exports_folder: Path) -> None:
    error = push_from()["error"]

    assert f"cannot be stored in {exports_folder}: File too large" in error
    assert "tmp_dest" in error
    assert list(exports_folder.iterdir()) == []


def test_push_exports_to_the_folder_in_tmpdir(
    push_from: Run, engine: EngineServer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add(NAME, classic(image))
    monkeypatch.setenv("TMPDIR", "/no/such/folder")

    assert "cannot be stored in /no/such/folder: No such file" in push_from(tmp_dest=None)["error"]


def test_push_exports_to_an_unnamed_file(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image, exports_folder: Path
) -> None:
    engine.add(NAME, classic(image))
    seen: list[list[Path]] = []

    def look(response: Response) -> Response:
        seen.append(list(exports_folder.iterdir()))
        return response

    server.fail("PUT", "manifests", look)

    push_from()

    assert seen == [[]]
