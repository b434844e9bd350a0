# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Digests in references are verified in all kinds of sources, and SHA-512 is supported like SHA-256."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.engine_server import EngineServer, classic, keeping_manifests
from unit.plugins.module_utils.support.images import (
    Image,
    layer,
    make_image,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response

Run = Callable[..., dict[str, Any]]

NAME = "example.com/team/app:1"
LAYOUTS = ["oci", "oci-archive"]


@pytest.fixture
def long_digests() -> Image:
    """An image with SHA-512 digests."""
    return make_image(layer("bin/app", b"the program"), algorithm="sha512")


@pytest.fixture
def upstream() -> Iterator[RegistryServer]:
    """An upstream registry."""
    with RegistryServer().running() as running:
        yield running


def write(folder: Path, kind: str, image: Image) -> str:
    """Write an image to a layout or an archive, and return its location."""
    path = folder / kind
    (write_layout if kind == "oci" else write_oci_archive)(path, {NAME: image})
    return f"{kind}:{path}"


@pytest.mark.parametrize("kind", LAYOUTS)
def test_image_with_sha512_digests_is_found_by_tag(
    push: Run, server: RegistryServer, tmp_path: Path, long_digests: Image, kind: str
) -> None:
    source = write(tmp_path, kind, long_digests)

    planned = push(source, check_mode=True)
    pushed = push(source)
    again = push(source)

    # Registries resolve tags to SHA-256 digests.
    assert pushed["images"][0]["digest"] == server.digest_of("team/app", "1")
    assert planned == pushed
    assert server.blobs["team/app"] == long_digests.blobs
    assert not again["changed"]


def test_registry_without_sha512_manifests_is_reported(push: Run, tmp_path: Path, long_digests: Image) -> None:
    source = write(tmp_path, "oci", long_digests)

    result = push({"source": source, "name": f"team/app@{long_digests.digest}"})

    assert (
        "responded with 400: digest invalid. The registry may support only sha256 digests for manifests"
        in result["msg"]
    )


def test_blob_with_sha512_digest_is_not_mounted(
    push: Run, server: RegistryServer, tmp_path: Path, long_digests: Image
) -> None:
    source = write(tmp_path, "oci", long_digests)

    both = push(source, {"source": source, "name": "example.com/team/other:1"})
    third = push({"source": source, "name": "example.com/team/third:1"}, mount_from=["team/other"])

    assert [image["mounted"]["blobs"] for image in (*both["images"], *third["images"])] == [0, 0, 0]
    assert server.blobs["team/third"] == server.blobs["team/other"] == long_digests.blobs


@pytest.mark.parametrize("kind", LAYOUTS)
def test_image_is_pulled_by_sha512_digest(
    pull: Run, push: Run, server: RegistryServer, tmp_path: Path, long_digests: Image, kind: str
) -> None:
    server.fill("team/app", None, long_digests)
    wanted = {"name": f"example.com/team/app@{long_digests.digest}", "dest": f"{kind}:{tmp_path}/pulled"}

    pulled = pull(wanted)
    again = pull(wanted)
    back = push({"source": f"{kind}:{tmp_path}/pulled", "name": f"back:1@{long_digests.digest}"})

    assert pulled["images"][0]["digest"] == long_digests.digest
    assert not again["changed"]
    assert server.blobs["library/back"] == long_digests.blobs, back.get("msg")


def test_blob_with_wrong_sha512_digest_is_not_stored(
    pull: Run, server: RegistryServer, tmp_path: Path, long_digests: Image
) -> None:
    server.fill("team/app", "1", long_digests)
    server.blobs["team/app"][long_digests.layers[0]] = bytes(len(long_digests.blobs[long_digests.layers[0]]))

    result = pull({"name": NAME, "dest": f"oci:{tmp_path}/pulled"})

    assert "is damaged: its content has the digest sha512:" in result["msg"]
    assert not list((tmp_path / "pulled").rglob(long_digests.layers[0].partition(":")[2]))


def test_registry_with_other_content_for_a_digest_is_rejected(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", None, other_image)
    server.manifests["team/app"][image.digest] = server.manifests["team/app"][other_image.digest]

    result = pull({"name": f"example.com/team/app@{image.digest}", "dest": f"oci:{tmp_path}/pulled"})

    assert f"has {other_image.digest} under the digest {image.digest}" in result["msg"]
    assert not (tmp_path / "pulled").exists()


def test_content_with_wrong_digest_is_rejected_without_digest_header(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    def remove_digest(response: Response) -> Response:
        return replace(response, headers={**response.headers, "Docker-Content-Digest": ""})

    server.fill("team/app", None, other_image)
    server.manifests["team/app"][image.digest] = server.manifests["team/app"][other_image.digest]
    server.fail("HEAD", "/manifests/", remove_digest)

    result = pull({"name": f"example.com/team/app@{image.digest}", "dest": f"oci:{tmp_path}/pulled"})

    assert f"manifest {image.digest} from" in result["msg"]
    assert "is damaged: its content has the digest" in result["msg"]


@pytest.mark.parametrize("kind", [*LAYOUTS, "docker-archive", "docker"])
def test_push_rejects_digest_in_name_that_does_not_match_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, tmp_path: Path, image: Image, kind: str
) -> None:
    host = upstream.url.removeprefix("http://")
    upstream.fill("team/app", "1", image)
    if kind == "docker-archive":
        source = f"docker-archive:{write_docker_archive(tmp_path / 'app.tar', [([NAME], image)])}"
    else:
        source = f"docker://{host}/team/app:1" if kind == "docker" else write(tmp_path, kind, image)
    options = {"upstreams": [{"host": host, "plain_http": True}]}

    rejected = push({"source": source, "name": f"{NAME}@{digest_of(b'other')}"}, **options)
    accepted = push({"source": source, "name": f"{NAME}@{image.digest}"}, **options)

    assert f"not the digest of {NAME}@{digest_of(b'other')}" in rejected["msg"]
    if kind == "docker-archive":
        # The digest belongs to compressed layers in a registry; the archive has uncompressed ones.
        assert "may have lost its digest: use docker:// as the source" in accepted["msg"]
    else:
        assert server.digest_of("team/app", "1") == image.digest


@pytest.mark.parametrize("keeps_manifests", [True, False])
def test_engine_without_the_requested_digest_does_not_export(
    push: Run, engine: EngineServer, image: Image, tmp_path: Path, keeps_manifests: bool
) -> None:
    name = f"{NAME}@{image.digest}"
    engine.add(name, keeping_manifests(image) if keeps_manifests else classic(image))

    result = push(f"docker-daemon:{name}", docker_host=engine.host, tmp_dest=str(tmp_path))

    exported = any(request.endswith("/get") for request in engine.requests)
    assert exported is keeps_manifests
    assert ("may have lost its digest" not in result.get("msg", "")) is keeps_manifests


def test_engine_that_exports_another_manifest_than_announced_is_rejected(
    push: Run, engine: EngineServer, image: Image, other_image: Image, tmp_path: Path
) -> None:
    name = f"{NAME}@{image.digest}"
    engine.add(name, replace(keeping_manifests(image), archive=keeping_manifests(other_image).archive))

    result = push(f"docker-daemon:{name}", docker_host=engine.host, tmp_dest=str(tmp_path))

    assert f"has {other_image.digest}, not the digest of {name}" in result["msg"]
