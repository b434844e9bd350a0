# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull images into an engine."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.engine_server import (
    EngineServer,
    Fault,
    classic,
)
from unit.plugins.module_utils.support.images import Image, encode, index_of, make_image, make_index, read_tar
from unit.plugins.module_utils.support.registry_server import RegistryServer

NAME = "docker.io/library/app:1"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def pull_into(pull: Run, engine: EngineServer) -> Run:
    """Pulls an image into the engine, and returns its entry in the module's result."""

    def run(image: Any = "app:1", **options: Any) -> dict[str, Any]:
        entry: dict[str, Any] = pull(image, docker_host=engine.host, **options)["images"][0]
        return entry

    return run


def archive_of(engine: EngineServer) -> dict[str, bytes]:
    (loaded,) = engine.loaded
    return read_tar(io.BytesIO(loaded))


def test_pull_of_index_loads_the_requested_platform(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    server.fill("library/app", "1", make_index({"linux/amd64": image, "linux/arm64": other}))

    other_platform = pull_into({"name": "app:1", "platforms": ["linux/arm64"]})

    assert other_platform["digest"] == other.digest
    assert engine.images[NAME].id == digest_of(other.config)


def test_pull_loads_image_with_its_name(
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
def test_pull_loads_image_with_the_name_in_dest(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, dest: str | None
) -> None:
    server.fill("library/app", "1", image)

    result = pull_into({"name": "app:1", "dest": dest})

    assert result["target"] == f"docker-daemon:{NAME}"
    assert NAME in engine.images


def test_pull_does_not_load_existing_image(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)
    engine.add(NAME, classic(image))
    before = len(server.requests)

    result = pull_into()

    assert (result["changed"], result["digest"], result["digest_before"]) == (
        False,
        image.digest,
        digest_of(image.config),
    )
    assert engine.loaded == []
    assert not any("blobs" in request.path for request in server.requests[before:])


def test_pull_only_adds_name_to_image_with_another_name(
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


def test_pull_replaces_other_image_with_the_same_name(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, other_image: Image
) -> None:
    server.fill("library/app", "1", image)
    engine.add(NAME, classic(other_image))

    result = pull_into()

    assert (result["changed"], result["digest_before"]) == (True, digest_of(other_image.config))
    assert engine.images[NAME].id == digest_of(image.config)


def test_check_mode_does_not_load_image(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)

    planned = pull_into(check_mode=True)

    assert (planned["changed"], planned["sent"]["blobs"]) == (True, 3)
    assert engine.loaded == []


def test_pull_of_index_loads_the_engines_platform(
    pull_into: Run, engine: EngineServer, server: RegistryServer, multi: Image
) -> None:
    server.fill("library/app", "1", multi)
    amd64 = Descriptor.from_json(multi.manifest["manifests"][0])

    result = pull_into()

    assert (result.get("error"), result["digest"]) == (None, amd64.digest)
    assert not pull_into()["changed"]


def test_pull_finds_the_engines_platform_in_configs(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    other = make_image(architecture="arm64")
    server.fill("library/app", "1", index_of([other.root.to_json(), image.root.to_json()], other, image))

    result = pull_into()

    assert (result.get("error"), result["digest"]) == (None, image.digest)


def test_pull_rejects_index_without_the_engines_platform(
    pull_into: Run, engine: EngineServer, server: RegistryServer
) -> None:
    server.fill("library/app", "1", make_index({"linux/arm64": make_image(architecture="arm64")}))

    error = pull_into()["error"]

    assert f"{NAME} has no image for linux/amd64, the platform of the Docker engine at" in error
    assert "Select one with platforms (linux/arm64)" in error


def test_pull_rejects_other_artifacts_for_an_engine(
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
def test_pull_into_engine_requires_name_with_tag(pull_into: Run, entry: Any) -> None:
    with pytest.raises(InputError, match=r"has no tag or has a digest.*docker-daemon:NAME:TAG"):
        pull_into(entry)


def test_pull_rejects_two_images_with_the_same_target_name(pull: Run, engine: EngineServer) -> None:
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
def test_pull_reports_failed_load(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image, fault: Fault, words: str
) -> None:
    server.fill("library/app", "1", image)
    engine.faults["POST", "/load"] = fault

    result = pull_into()

    assert words in result["error"]
    assert not result["changed"]


def test_pull_interrupts_load_of_damaged_layer(
    pull_into: Run, engine: EngineServer, server: RegistryServer, image: Image
) -> None:
    server.fill("library/app", "1", image)
    server.blobs["library/app"][image.layers[1]] = b"x" * len(image.contents[image.layers[1]])

    result = pull_into()

    assert f"blob {image.layers[1]}" in result["error"]
    assert engine.loaded == []


def test_pull_loads_other_images_after_one_failure(
    pull: Run, engine: EngineServer, server: RegistryServer, image: Image, other_image: Image
) -> None:
    server.fill("library/app", "1", image)
    server.fill("library/other", "1", other_image)
    server.blobs["library/app"].pop(image.layers[1])

    result = pull("app:1", "other:1", docker_host=engine.host)

    assert [entry["changed"] for entry in result["images"]] == [False, True]
    assert "docker.io/library/other:1" in engine.images
