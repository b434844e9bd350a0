# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is no container image travels as images do, and layers that are not to be distributed stay where they are."""

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
    "an empty layer and no layers": make_image(config=describe(b"{}", EMPTY), layers=[]),
}
PARTS = (b'{"name": "app"}', b"the chart", b'{"os": "wasip1"}', b"\0asm", b"{}")
FOREIGN = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
]


def whole(artifact: Image) -> Image:
    """Return an artifact with the parts that its manifest names, and no others."""
    parts = {digest_of(part): part for part in PARTS}
    manifest = artifact.manifest
    named = {part["digest"] for part in (manifest["config"], *manifest["layers"])}
    contents = {digest: parts[digest] for digest in named}
    return Image(artifact.root, {**contents, artifact.digest: artifact.contents[artifact.digest]})


@pytest.fixture(params=ARTIFACTS)
def artifact(request: pytest.FixtureRequest) -> Image:
    """Something of each kind that is no container image."""
    return whole(ARTIFACTS[request.param])


def with_base(media_type: str, **more: Any) -> tuple[Image, str]:
    """Return an image whose first layer is of another kind, and this layer's digest."""
    image = make_image()
    base = describe(b"the base", media_type, **more)
    content = encode({**image.manifest, "layers": [base, *image.manifest["layers"]]})
    root = Descriptor(OCI_MANIFEST, digest_of(content), len(content))
    contents = {**image.blobs, base["digest"]: b"the base", root.digest: content}
    return Image(root, contents), str(base["digest"])


def elsewhere(media_type: str) -> tuple[Image, str]:
    """Return an image whose first layer is to be fetched from elsewhere, and this layer's digest."""
    return with_base(media_type, urls=["https://example.com/base"])


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_what_is_no_image_comes_back_as_it_was(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path, artifact: Image, kind: str
) -> None:
    write = write_layout if kind == "oci" else write_oci_archive
    source = f"{kind}:{write(tmp_path / 'source', {NAME: artifact})}"

    pushed = push(source)
    pulled = pull({"name": NAME, "dest": f"{kind}:{tmp_path}/pulled"})
    back = push({"source": f"{kind}:{tmp_path}/pulled", "name": "example.com/team/back:1"})

    for result in (pushed, pulled, back):
        assert result["images"][0]["digest"] == artifact.digest, result.get("msg")
    assert server.blobs["team/back"] == artifact.blobs


def test_a_docker_archive_has_no_place_for_what_is_no_image(
    pull: Run, server: RegistryServer, tmp_path: Path, artifact: Image
) -> None:
    server.fill("team/app", "1", artifact)

    result = pull({"name": NAME, "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert "a Docker archive can store only container images, not application/vnd." in result["msg"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("media_type", FOREIGN)
@pytest.mark.parametrize("there", [True, False])
def test_a_layer_that_is_not_to_be_distributed_is_not_sent(
    push: Run, server: RegistryServer, tmp_path: Path, media_type: str, there: bool
) -> None:
    image, base = elsewhere(media_type)
    source = f"oci:{write_layout(tmp_path, {NAME: image}, leave_out=[] if there else [base])}"

    planned = push(source, check_mode=True)
    pushed = copy.deepcopy(push(source))

    assert planned == pushed
    assert pushed["images"][0]["digest"] == image.digest, pushed.get("msg")
    assert base not in server.blobs["team/app"]
    assert not push(source)["changed"]


@pytest.mark.parametrize(
    ("media_type", "more"),
    [(FOREIGN[1], {}), ("application/vnd.oci.image.layer.v1.tar+gzip", {"urls": ["https://example.com/base"]})],
)
def test_a_layer_that_is_nowhere_else_or_may_be_distributed_is_sent(
    push: Run, server: RegistryServer, tmp_path: Path, media_type: str, more: dict[str, Any]
) -> None:
    image, base = with_base(media_type, **more)

    push(f"oci:{write_layout(tmp_path, {NAME: image})}")

    assert base in server.blobs["team/app"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
@pytest.mark.parametrize("there", [True, False])
def test_a_layer_that_is_not_to_be_distributed_is_fetched_where_it_is_there(
    pull: Run, push: Run, server: RegistryServer, tmp_path: Path, kind: str, there: bool
) -> None:
    image, base = elsewhere(FOREIGN[0])
    server.fill("team/app", "1", image)
    if not there:
        del server.blobs["team/app"][base]
    wanted = {"name": NAME, "dest": f"{kind}:{tmp_path}/pulled"}

    planned = pull(wanted, check_mode=True)
    pulled = copy.deepcopy(pull(wanted))
    again = pull(wanted)
    back = push({"source": f"{kind}:{tmp_path}/pulled", "name": "example.com/team/back:1"})

    assert planned == pulled
    assert pulled["images"][0]["digest"] == back["images"][0]["digest"] == image.digest
    assert pulled["images"][0]["sent"]["blobs"] == len(image.blobs) - (not there)
    assert not again["changed"]


def test_what_docker_loads_is_whole(pull: Run, server: RegistryServer, tmp_path: Path) -> None:
    image, base = elsewhere(FOREIGN[0])
    server.fill("team/app", "1", image)
    del server.blobs["team/app"][base]

    result = pull({"name": NAME, "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert f"lacks the blob {base}" in result["msg"]
    assert not list(tmp_path.iterdir())
