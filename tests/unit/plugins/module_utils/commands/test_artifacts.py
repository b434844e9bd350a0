# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Artifacts, such as Helm charts, and images with nondistributable layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    make_image,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Run = Callable[..., dict[str, Any]]

NAME = "example.com/team/app:1"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACTS = {
    "a Helm chart": make_image(
        config=describe(b'{"name": "app"}', "application/vnd.cncf.helm.config.v1+json"),
        layers=[describe(b"the chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    ),
    "WebAssembly": make_image(
        config=describe(b'{"os": "wasip1"}', "application/vnd.wasm.config.v0+json"),
        layers=[describe(b"\0asm", "application/wasm")],
    ),
    "an empty config": make_image(
        artifactType="application/vnd.example.policy", config=describe(b"{}", EMPTY), layers=[describe(b"{}", EMPTY)]
    ),
    "an empty config and no layers": make_image(config=describe(b"{}", EMPTY), layers=[]),
}
BLOBS = (b'{"name": "app"}', b"the chart", b'{"os": "wasip1"}', b"\0asm", b"{}")
NONDISTRIBUTABLE = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
]


def with_blobs(artifact: Image) -> Image:
    """Return an artifact with the blobs of its manifest, and no others."""
    blobs = {digest_of(blob): blob for blob in BLOBS}
    manifest = artifact.manifest
    named = {part["digest"] for part in (manifest["config"], *manifest["layers"])}
    contents = {digest: blobs[digest] for digest in named}
    return Image(artifact.root, {**contents, artifact.digest: artifact.contents[artifact.digest]})


@pytest.fixture(params=ARTIFACTS)
def artifact(request: pytest.FixtureRequest) -> Image:
    """An artifact of each kind."""
    return with_blobs(ARTIFACTS[request.param])


def image_with_base(media_type: str, **properties: Any) -> tuple[Image, str]:
    """Return an image whose first layer has this media type, and the digest of this layer."""
    image = make_image()
    base = describe(b"the base", media_type, **properties)
    content = encode({**image.manifest, "layers": [base, *image.manifest["layers"]]})
    root = Descriptor(OCI_MANIFEST, digest_of(content), len(content))
    contents = {**image.blobs, base["digest"]: b"the base", root.digest: content}
    return Image(root, contents), str(base["digest"])


def image_with_urls(media_type: str) -> tuple[Image, str]:
    """Return an image whose first layer has URLs of another server, and the digest of this layer."""
    return image_with_base(media_type, urls=["https://example.com/base"])


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_artifact_is_unchanged_after_push_and_pull(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path, artifact: Image, kind: str
) -> None:
    write = write_layout if kind == "oci" else write_oci_archive
    source = f"{kind}:{write(tmp_path / 'source', {NAME: artifact})}"

    pushed = push(source)
    pulled = pull({"name": NAME, "dest": f"{kind}:{tmp_path}/pulled"})
    again = push({"source": f"{kind}:{tmp_path}/pulled", "name": "example.com/team/again:1"})

    for result in (pushed, pulled, again):
        assert result["images"][0]["digest"] == artifact.digest, result.get("msg")
    assert server.blobs["team/again"] == artifact.blobs


def test_pull_to_docker_archive_rejects_artifact(
    pull: Run, server: RegistryServer, tmp_path: Path, artifact: Image
) -> None:
    server.fill("team/app", "1", artifact)

    result = pull({"name": NAME, "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert "a Docker archive can store only container images, not application/vnd." in result["msg"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("media_type", NONDISTRIBUTABLE)
@pytest.mark.parametrize("exists", [True, False])
def test_push_skips_nondistributable_layer_with_urls(
    push: Run, server: RegistryServer, tmp_path: Path, media_type: str, exists: bool
) -> None:
    image, base = image_with_urls(media_type)
    source = f"oci:{write_layout(tmp_path, {NAME: image}, leave_out=[] if exists else [base])}"

    planned = push(source, check_mode=True)
    pushed = copy.deepcopy(push(source))

    assert planned == pushed
    assert pushed["images"][0]["digest"] == image.digest, pushed.get("msg")
    assert base not in server.blobs["team/app"]
    assert not push(source)["changed"]


@pytest.mark.parametrize(
    ("media_type", "properties"),
    [
        (NONDISTRIBUTABLE[1], {}),
        ("application/vnd.oci.image.layer.v1.tar+gzip", {"urls": ["https://example.com/base"]}),
    ],
)
def test_push_uploads_layer_without_urls_or_with_distributable_type(
    push: Run, server: RegistryServer, tmp_path: Path, media_type: str, properties: dict[str, Any]
) -> None:
    image, base = image_with_base(media_type, **properties)

    push(f"oci:{write_layout(tmp_path, {NAME: image})}")

    assert base in server.blobs["team/app"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
@pytest.mark.parametrize("exists", [True, False])
def test_pull_downloads_nondistributable_layer_if_registry_has_it(
    pull: Run, push: Run, server: RegistryServer, tmp_path: Path, kind: str, exists: bool
) -> None:
    image, base = image_with_urls(NONDISTRIBUTABLE[0])
    server.fill("team/app", "1", image)
    if not exists:
        del server.blobs["team/app"][base]
    entry = {"name": NAME, "dest": f"{kind}:{tmp_path}/pulled"}

    planned = pull(entry, check_mode=True)
    pulled = copy.deepcopy(pull(entry))
    repeated = pull(entry)
    again = push({"source": f"{kind}:{tmp_path}/pulled", "name": "example.com/team/again:1"})

    assert planned == pulled
    assert pulled["images"][0]["digest"] == again["images"][0]["digest"] == image.digest
    assert pulled["images"][0]["sent"]["blobs"] == len(image.blobs) - (not exists)
    assert not repeated["changed"]


def test_pull_to_docker_archive_fails_without_nondistributable_layer(
    pull: Run, server: RegistryServer, tmp_path: Path
) -> None:
    image, base = image_with_urls(NONDISTRIBUTABLE[0])
    server.fill("team/app", "1", image)
    del server.blobs["team/app"][base]

    result = pull({"name": NAME, "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert f"does not have the blob {base}" in result["msg"]
    assert not list(tmp_path.iterdir())
