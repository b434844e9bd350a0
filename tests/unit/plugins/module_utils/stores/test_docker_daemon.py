# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images in an engine: found by their IDs, exported when they have to be, and loaded."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.engine_server import (
    EngineServer,
    Exported,
    Fault,
    classic,
    keeping_manifests,
)
from unit.plugins.module_utils.support.images import Image, encode, make_image, make_index, read_tar
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer

NAME = "docker.io/library/app:1"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    """An engine without images."""
    with EngineServer(tmp_path).running() as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder for exports."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def push_from(push: Run, engine: EngineServer, scratch: Path) -> Run:
    """Pushes an image of the engine, and returns the entry for it in the module's result."""

    def run(source: Any = "app:1", **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = push(source, **{"docker_host": engine.host, "tmp_dest": str(scratch), **options})
        image: dict[str, Any] = result["images"][0]
        return image

    return run


@pytest.fixture
def pull_into(pull: Run, engine: EngineServer) -> Run:
    """Pulls an image into the engine, and returns the entry for it in the module's result."""

    def run(image: Any = "app:1", **options: Any) -> dict[str, Any]:
        entry: dict[str, Any] = pull(image, docker_host=engine.host, **options)["images"][0]
        return entry

    return run


def exports(engine: EngineServer) -> list[str]:
    return [request for request in engine.requests if request.endswith("/get")]


def test_an_image_keeps_its_id_in_the_cluster(
    push_from: Run, engine: EngineServer, image: Image, server: RegistryServer
) -> None:
    engine.add(NAME, classic(image))

    result = push_from()

    assert (result["name"], result["target"], result["changed"]) == (NAME, "library/app:1", True)
    manifest = json.loads(server.manifests["library/app"]["1"][1])
    assert manifest["config"]["digest"] == digest_of(image.config)
    assert [gzip.decompress(server.blobs["library/app"][layer["digest"]]) for layer in manifest["layers"]] == list(
        image.files
    )


@pytest.mark.parametrize("source", ["app:1", "docker-daemon:app:1", "docker.io/library/app:1", {"source": "app:1"}])
def test_a_bare_name_means_the_engine(push_from: Run, engine: EngineServer, image: Image, source: Any) -> None:
    engine.add(NAME, classic(image))

    assert push_from(source)["target"] == "library/app:1"


def test_an_image_that_is_there_is_not_exported(push_from: Run, engine: EngineServer, image: Image) -> None:
    engine.add(NAME, classic(image))
    first = push_from()
    engine.requests.clear()

    second = push_from()

    assert (second["changed"], second["digest"]) == (False, first["digest"])
    assert exports(engine) == []


def test_an_image_that_another_tool_pushed_compressed_is_not_exported(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    engine.add(NAME, classic(image))
    server.fill("library/app", "1", image)

    result = push_from()

    assert (result["changed"], result["digest"]) == (False, image.digest)
    assert exports(engine) == []


def test_check_mode_and_the_push_say_the_same(
    push_from: Run, engine: EngineServer, image: Image, scratch: Path
) -> None:
    engine.add(NAME, classic(image))

    planned = push_from(check_mode=True, compression="none")
    done = push_from(compression="none")

    assert planned == done
    assert list(scratch.iterdir()) == []


def test_podmans_id_without_its_algorithm_is_understood(push_from: Run, engine: EngineServer, image: Image) -> None:
    exported = classic(image)
    engine.add(NAME, Exported(exported.id.partition(":")[2], exported.archive))

    push_from()
    engine.requests.clear()

    assert not push_from()["changed"]
    assert exports(engine) == []


@pytest.mark.parametrize(
    ("written", "there"), [("app:1", "localhost/app:1"), ("team/app", "localhost/team/app:latest")]
)
def test_what_podman_built_under_localhost_is_found_by_its_short_name(
    push_from: Run, engine: EngineServer, image: Image, written: str, there: str
) -> None:
    engine.add(there, classic(image))

    assert push_from(written)["changed"]


def test_a_full_name_is_not_looked_for_under_localhost(push_from: Run, engine: EngineServer, image: Image) -> None:
    engine.add("localhost/app:1", classic(image))

    assert "has no image docker.io/library/app:1" in push_from("docker.io/library/app:1")["error"]


def test_an_image_is_pushed_by_its_id_under_the_name_that_is_given(
    push_from: Run, engine: EngineServer, image: Image
) -> None:
    exported = classic(image)
    engine.add(NAME, exported)

    unnamed = push_from(f"docker-daemon:{exported.id}")
    named = push_from({"source": f"docker-daemon:{exported.id}", "name": "team/api:1.2"})

    assert "has no name" in unnamed["error"]
    assert named["target"] == "team/api:1.2"


def test_an_image_that_is_not_the_locked_one_is_not_exported(
    push_from: Run, engine: EngineServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock.json"
    engine.add(NAME, classic(image))
    push_from(lock=lock)
    engine.add(NAME, classic(other_image))
    engine.requests.clear()

    result = push_from(lock=lock, locked=True)

    assert f"has {digest_of(other_image.config)} for {NAME}, and the lock file {lock} says" in result["error"]
    assert digest_of(image.config) in result["error"]
    assert exports(engine) == []


def test_an_engine_that_keeps_manifests_gives_the_original_one(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    engine.add(NAME, keeping_manifests(image))

    first = push_from()
    engine.requests.clear()
    second = push_from()

    assert (first["digest"], second["changed"]) == (image.digest, False)
    assert exports(engine) == []
    assert server.blobs["library/app"].keys() == image.blobs.keys()


def test_of_an_index_the_image_that_the_engine_has_is_pushed(
    push_from: Run, engine: EngineServer, image: Image
) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": make_image(architecture="arm64")})
    engine.add(NAME, keeping_manifests(index, image))

    first = push_from()
    engine.requests.clear()
    second = push_from()

    assert (first["digest"], second["changed"]) == (image.digest, False)
    assert exports(engine) == []


def test_a_platform_that_the_engine_does_not_give_is_told(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    engine.add(NAME, keeping_manifests(make_index({"linux/amd64": image, "linux/arm64": other}), image, other))

    refused = push_from({"source": "app:1", "platforms": ["linux/arm64"]})
    sent = server.asked("PUT", "POST")
    taken = push_from({"source": "app:1", "platforms": ["linux/amd64"]})

    assert f"has image {image.digest} not for linux/arm64. Ask for what it has: linux/amd64" in refused["error"]
    assert sent == []
    assert taken["digest"] == image.digest


def test_of_an_index_the_engine_gets_the_platform_that_is_asked_for(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    server.fill("library/app", "1", make_index({"linux/amd64": image, "linux/arm64": other}))

    foreign = pull_into({"name": "app:1", "platforms": ["linux/arm64"]})

    assert foreign["digest"] == other.digest
    assert engine.images[NAME].id == digest_of(other.config)


def test_an_index_that_the_engine_has_whole_is_known_again_by_what_it_exports(
    push_from: Run, engine: EngineServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    index = make_index({"linux/amd64": image, "linux/arm64": other})
    engine.add(NAME, keeping_manifests(index, image, other))

    first = push_from()
    second = push_from()

    assert (first["changed"], first["digest"], second["changed"]) == (True, image.digest, False)


def test_an_image_that_is_not_there_is_told(push_from: Run, engine: EngineServer) -> None:
    assert push_from()["error"] == (
        f"the Docker engine at {engine.host} has no image {NAME}. Pull, build or load it there first."
    )


def test_the_daemon_without_a_name_is_told(push_from: Run) -> None:
    assert "does not say which image" in push_from("docker-daemon:")["error"]


def test_no_engine_is_told_with_where_one_may_be(push_from: Run, tmp_path: Path) -> None:
    error = push_from(docker_host=f"unix://{tmp_path}/none.sock")["error"]

    assert f"the Docker engine at unix://{tmp_path}/none.sock is not available: No such file or directory" in error
    assert "podman.sock" in error


def test_an_engine_that_ended_is_told(push_from: Run, tmp_path: Path) -> None:
    with EngineServer(tmp_path / "scratch").running() as ended:
        pass

    assert "is not available: Connection refused" in push_from(docker_host=ended.host)["error"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(500, encode({"message": "the disk\nis broken"})), "rejected the request (500): the disk is broken"),
        (Fault(403, b"<html>"), "rejected the request (403): Forbidden"),
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
def test_an_engine_that_misbehaves_is_told_in_one_line(
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
def test_an_export_that_fails_is_told_and_leaves_nothing(
    push_from: Run, engine: EngineServer, image: Image, scratch: Path, change: Callable[[bytes], Fault], words: str
) -> None:
    exported = classic(image)
    engine.add(NAME, exported)
    engine.faults["GET", "/get"] = change(exported.archive)

    result = push_from()

    assert words in result["error"]
    assert not result["changed"]
    assert list(scratch.iterdir()) == []


@pytest.fixture
def large_export(engine: EngineServer, large_image: Image) -> None:
    """The engine has an image that a full disk has no room for."""
    engine.add(NAME, classic(large_image))


@pytest.mark.usefixtures("large_export", "full_disk")
def test_a_full_folder_for_exports_is_told_with_the_option_for_another(push_from: Run, scratch: Path) -> None:
    error = push_from()["error"]

    assert f"cannot be stored in {scratch}: File too large" in error
    assert "tmp_dest" in error
    assert list(scratch.iterdir()) == []


def test_exports_go_to_the_folder_of_the_environment(
    push_from: Run, engine: EngineServer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add(NAME, classic(image))
    monkeypatch.setenv("TMPDIR", "/no/such/folder")

    assert "cannot be stored in /no/such/folder: No such file" in push_from(tmp_dest=None)["error"]


def test_an_export_has_no_name_while_it_is_pushed(
    push_from: Run, engine: EngineServer, server: RegistryServer, image: Image, scratch: Path
) -> None:
    engine.add(NAME, classic(image))
    seen: list[list[Path]] = []

    def look(answer: Answer) -> Answer:
        seen.append(list(scratch.iterdir()))
        return answer

    server.fail("PUT", "manifests", look)

    push_from()

    assert seen == [[]]


def archive_of(engine: EngineServer) -> dict[str, bytes]:
    (loaded,) = engine.loaded
    return read_tar(io.BytesIO(loaded))


def test_a_pulled_image_is_loaded_under_its_name(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)

    result = pull_into()

    files = archive_of(engine)
    (entry,) = json.loads(files["manifest.json"])
    assert (result.get("error"), result["changed"], result["digest"]) == (None, True, image.digest)
    assert result["sent"]["blobs"] == 3
    assert entry["RepoTags"] == [NAME]
    assert files[entry["Config"]] == image.config
    assert [files[path] for path in entry["Layers"]] == [image.contents[layer] for layer in image.layers]
    assert json.loads(files["index.json"])["manifests"][0]["digest"] == image.digest


@pytest.mark.parametrize("dest", [None, "docker-daemon:", "docker-daemon:app:1", "app:1", "docker.io/library/app:1"])
def test_a_pulled_image_has_the_name_that_dest_says(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, dest: str | None
) -> None:
    server.fill("library/app", "1", image)

    result = pull_into({"name": "app:1", "dest": dest})

    assert result["target"] == f"docker-daemon:{NAME}"
    assert NAME in engine.images


def test_an_image_that_the_engine_has_is_not_sent(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)
    engine.add(NAME, classic(image))
    asked = len(server.requests)

    result = pull_into()

    assert (result["changed"], result["digest"], result["digest_before"]) == (
        False,
        image.digest,
        digest_of(image.config),
    )
    assert engine.loaded == []
    assert not any("blobs" in request.path for request in server.requests[asked:])


def test_an_image_that_the_engine_has_under_another_name_is_only_named(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)
    engine.add("docker.io/library/other:1", classic(image))

    planned = pull_into(check_mode=True)
    done = pull_into()

    assert planned == done
    assert (done["changed"], done["sent"]["blobs"], done["present"]["blobs"]) == (True, 0, 3)
    assert engine.loaded == []
    assert engine.images[NAME].id == digest_of(image.config)


def test_another_image_of_that_name_is_replaced(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, other_image: Image
) -> None:
    server.fill("library/app", "1", image)
    engine.add(NAME, classic(other_image))

    result = pull_into()

    assert (result["changed"], result["digest_before"]) == (True, digest_of(other_image.config))
    assert engine.images[NAME].id == digest_of(image.config)


def test_check_mode_loads_nothing(pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image) -> None:
    server.fill("library/app", "1", image)

    planned = pull_into(check_mode=True)

    assert (planned["changed"], planned["sent"]["blobs"]) == (True, 3)
    assert engine.loaded == []


def test_of_an_index_the_engine_gets_the_image_for_its_platform(
    pull_into: Run, engine: EngineServer, server: RegistryServer, multi: Image
) -> None:
    server.fill("library/app", "1", multi)
    amd64 = Descriptor.from_json(multi.manifest["manifests"][0])

    result = pull_into()

    assert (result.get("error"), result["digest"]) == (None, amd64.digest)
    assert not pull_into()["changed"]


def test_an_index_without_the_engines_platform_is_refused_with_those_it_has(
    pull_into: Run, engine: EngineServer, server: RegistryServer
) -> None:
    server.fill("library/app", "1", make_index({"linux/arm64": make_image(architecture="arm64")}))

    error = pull_into()["error"]

    assert f"{NAME} has no image for linux/amd64, which the Docker engine at" in error
    assert "Select one with platforms (linux/arm64)" in error


def test_what_is_no_container_image_is_refused(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    config = {**image.manifest["config"], "mediaType": "application/vnd.cncf.helm.config.v1+json"}
    server.fill("library/app", "1", make_image(*image.files, config=config))

    assert "not application/vnd.cncf.helm.config.v1+json" in pull_into(check_mode=True)["error"]


@pytest.mark.parametrize(
    "entry",
    [
        "app@sha256:" + "a" * 64,
        {"name": "app:1", "dest": "docker-daemon:app@sha256:" + "a" * 64},
        {"name": "app@sha256:" + "a" * 64, "dest": "docker-daemon:"},
    ],
)
def test_the_engine_wants_a_name_with_a_tag(pull_into: Run, entry: Any) -> None:
    with pytest.raises(InputError, match=r"has no tag alone.*docker-daemon:NAME:TAG"):
        pull_into(entry)


def test_two_images_for_one_name_are_refused(pull: Run, engine: EngineServer) -> None:
    with pytest.raises(InputError, match=f"would both be written to docker-daemon:{NAME}"):
        pull("app:1", {"name": "other:1", "dest": "app:1"}, docker_host=engine.host)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Fault(
                200, b'{"stream":"Loading"}\r\n{"errorDetail":{"message":"no space left"},"error":"no space left"}\r\n'
            ),
            "cannot load the image: no space left",
        ),
        (Fault(500, encode({"message": "no\nway", "cause": "no"})), "rejected the request (500): no way"),
        (Fault(200, b'{"stream":"Loaded image"}'), "but has another image, or none, with that name"),
        (Fault(200, b"{", cut=True), "the connection to the Docker engine at"),
    ],
)
def test_a_load_that_fails_is_told(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, fault: Fault, words: str
) -> None:
    server.fill("library/app", "1", image)
    engine.faults["POST", "/load"] = fault

    result = pull_into()

    assert words in result["error"]
    assert not result["changed"]


def test_a_damaged_layer_ends_the_load_unfinished(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)
    server.blobs["library/app"][image.layers[1]] = b"x" * len(image.contents[image.layers[1]])

    result = pull_into()

    assert f"blob {image.layers[1]}" in result["error"]
    assert engine.loaded == []


def test_one_image_that_fails_does_not_hold_up_the_others(
    pull: Run, engine: EngineServer, server: RegistryServer, image: Image, other_image: Image
) -> None:
    server.fill("library/app", "1", image)
    server.fill("library/other", "1", other_image)
    server.blobs["library/app"].pop(image.layers[1])

    result = pull("app:1", "other:1", docker_host=engine.host)

    assert [entry["changed"] for entry in result["images"]] == [False, True]
    assert "docker.io/library/other:1" in engine.images
