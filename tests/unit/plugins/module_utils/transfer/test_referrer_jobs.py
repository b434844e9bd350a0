# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers, such as signatures, attestations and SBOMs, are copied together with their images."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX, Manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from unit.plugins.module_utils.support.engine_server import EngineServer
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    layer,
    make_image,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import settings, source

Push = Callable[..., dict[str, Any]]
SBOM_TYPE = "application/vnd.example.sbom.v1"


def sbom_of(image: Image, content: bytes = b"contents") -> Image:
    """Return an SBOM of an image: an artifact with the image as its subject."""
    annotations = {"org.example.made": "today"}
    return make_image(
        layer("sbom", content), subject=image.root.to_json(), artifactType=SBOM_TYPE, annotations=annotations
    )


def referrers_index(*artifacts: Image) -> bytes:
    """Return an index that lists referrers."""
    entries = [
        {**artifact.root.to_json(), "artifactType": SBOM_TYPE, "annotations": artifact.manifest["annotations"]}
        for artifact in artifacts
    ]
    return encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def referrers_tag(image: Image, suffix: str = "") -> str:
    """Return the tag for an image's referrers; with a suffix, the tag that cosign sets."""
    return image.digest.replace(":", "-") + suffix


def put_referrers(server: RegistryServer, repository: str, image: Image, *artifacts: Image) -> None:
    """Store artifacts, and an index of them under the referrers tag of an image."""
    for artifact in artifacts:
        server.fill(repository, None, artifact)
    content = referrers_index(*artifacts)
    server.manifests[repository].update(dict.fromkeys((referrers_tag(image), digest_of(content)), (OCI_INDEX, content)))


def serve_referrers(server: RegistryServer, indexes: dict[str, bytes]) -> None:
    """Let a registry serve the referrers API with these indexes, by the digest of the subject."""
    empty = referrers_index()
    for digest, content in indexes.items():
        server.fail("GET", f"/referrers/{digest}", Response(200, {"Content-Type": OCI_INDEX}, content))
    server.fail("GET", "/referrers/", Response(200, {"Content-Type": OCI_INDEX}, empty))


def entry_with_referrers(server: RegistryServer, tag: str = "1") -> dict[str, Any]:
    """Return the entry of ``images`` for an image of a registry and its referrers."""
    return {"source": source(server, f"team/app:{tag}"), "referrers": True}


def push_from(push: Push, server: RegistryServer, **properties: Any) -> dict[str, Any]:
    """Push an image of a registry and its referrers, with further properties of the entry; require success."""
    result = push({**entry_with_referrers(server), **properties}, upstreams=settings(server))
    assert not result.get("failed"), result["msg"]
    return result


def entries(server: RegistryServer, image: Image) -> list[dict[str, Any]]:
    """Return the entries of the index under an image's referrers tag."""
    value = json.loads(server.manifests["team/app"][referrers_tag(image)][1])["manifests"]
    assert isinstance(value, list)
    return value


def test_push_copies_referrers_with_cosign_tags(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    for suffix in (".sig", ".att", ".sbom"):
        upstream.fill("team/app", referrers_tag(image, suffix), other_image)

    result = push_from(push, upstream)
    again = push_from(push, upstream)

    assert [each["tag"] for each in result["images"]] == [
        "1",
        referrers_tag(image, ".att"),
        referrers_tag(image, ".sbom"),
        referrers_tag(image, ".sig"),
    ]
    assert {each["subject"] for each in result["images"][1:]} == {image.digest}
    assert server.digest_of("team/app", referrers_tag(image, ".sig")) == other_image.digest
    assert not again["changed"]


def test_push_copies_no_referrers_with_false(
    push: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", referrers_tag(image, ".sig"), other_image)

    assert len(push_from(push, upstream, referrers=False)["images"]) == 1


def test_push_copies_signatures_of_each_platform(
    push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    child = multi.manifest["manifests"][1]["digest"]
    upstream.fill("team/app", f"{child.replace(':', '-')}.sig", image)

    push_from(push, upstream)

    assert server.digest_of("team/app", f"{child.replace(':', '-')}.sig") == image.digest


def test_push_copies_index_under_referrers_tag_without_referrers_api(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))

    push_from(push, upstream)
    again = push_from(push, upstream)

    assert entries(server, image) == json.loads(referrers_index(sbom_of(image)))["manifests"]
    assert sbom_of(image).digest in server.manifests["team/app"]
    assert not again["changed"]


def test_push_keeps_existing_entries_of_referrers_tag(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    existing, new = sbom_of(image, b"existing"), sbom_of(image, b"new")
    server.fill("team/app", "1", image)
    put_referrers(server, "team/app", image, existing)
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, new)

    push_from(push, upstream)
    again = push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [existing.digest, new.digest]
    assert not again["changed"]


def test_push_finds_referrers_of_referrers_with_referrers_api(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    sbom = sbom_of(image)
    signature = sbom_of(sbom, b"its signature")
    for each in (sbom, signature):
        upstream.fill("team/app", None, each)
    upstream.fill("team/app", "1", image)
    serve_referrers(upstream, {image.digest: referrers_index(sbom), sbom.digest: referrers_index(signature)})

    push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [sbom.digest]
    assert [entry["digest"] for entry in entries(server, sbom)] == [signature.digest]


def test_push_sets_no_referrers_tag_with_referrers_api(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))
    serve_referrers(server, {})

    result = push_from(push, upstream)

    assert result["images"][1]["target"] == f"team/app@{sbom_of(image).digest}"
    assert sbom_of(image).digest in server.manifests["team/app"]
    assert referrers_tag(image) not in server.manifests["team/app"]


def test_push_reads_all_pages_of_referrers(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    first, second = sbom_of(image, b"first"), sbom_of(image, b"second")
    for each in (first, second):
        upstream.fill("team/app", None, each)
    upstream.fill("team/app", "1", image)
    link = f'</v2/team/app/referrers/{image.digest}?last=1>; rel="next"'
    page = {"Content-Type": OCI_INDEX}
    upstream.fail("GET", r"/referrers/.*\?last=1", Response(200, page, referrers_index(second)))
    upstream.fail("GET", f"/referrers/{image.digest}", Response(200, {**page, "Link": link}, referrers_index(first)))
    serve_referrers(upstream, {})

    push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [first.digest, second.digest]


def test_push_finds_referrers_among_entries_of_layout(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    sbom = sbom_of(image)
    write_layout(tmp_path, {"team/app:1": image, "sbom": sbom, referrers_tag(image, ".sig"): other_image})

    result = push({"source": f"oci:{tmp_path}:team/app:1", "referrers": True})

    assert not result.get("failed"), result["msg"]
    assert entries(server, image) == json.loads(referrers_index(sbom))["manifests"]
    assert server.digest_of("team/app", referrers_tag(image, ".sig")) == other_image.digest


def test_push_copies_referrers_of_selected_platforms(
    push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    amd64, arm64 = (entry["digest"].replace(":", "-") for entry in multi.manifest["manifests"])
    for tag in (amd64, arm64):
        upstream.fill("team/app", f"{tag}.sig", image)

    result = push_from(push, upstream, platforms=["linux/arm64"])

    assert [each["tag"] for each in result["images"]] == ["1", f"{arm64}.sig"]


def test_push_copies_common_referrer_of_two_images_once(
    push: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    for tag in ("1", "2"):
        upstream.fill("team/app", tag, image)
    upstream.fill("team/app", referrers_tag(image, ".sig"), other_image)
    images = [entry_with_referrers(upstream, tag) for tag in ("1", "2")]

    result = push(*images, upstreams=settings(upstream))

    assert [each["tag"] for each in result["images"]] == ["1", referrers_tag(image, ".sig"), "2"]


def test_push_error_explains_docker_archive_without_referrers(push: Push, tmp_path: Path, image: Image) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])

    result = push({"source": f"docker-archive:{tmp_path}/app.tar", "referrers": True})

    assert "cannot store referrers. Use docker://" in result["msg"]
    assert result["images"][0]["changed"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_referrers_are_unchanged_after_pull_and_push(
    pull: Push, push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, kind: str
) -> None:
    sbom = sbom_of(image)
    server.fill("team/app", "1", image)
    put_referrers(server, "team/app", image, sbom)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)
    entry = {"name": "example.com/team/app:1", "dest": f"{kind}:{tmp_path}/app", "referrers": True}

    planned = pull(entry, check_mode=True)
    pulled = copy.deepcopy(pull(entry))
    again = pull(entry)
    server.manifests.clear()
    push({"source": f"{kind}:{tmp_path}/app:example.com/team/app:1", "referrers": True})

    assert planned == pulled
    assert [(each["tag"], each["digest"], each.get("subject")) for each in pulled["images"]] == [
        ("1", image.digest, None),
        (referrers_tag(image, ".sig"), other_image.digest, image.digest),
        (None, sbom.digest, image.digest),
    ]
    assert not again["changed"]
    assert server.digest_of("team/app", referrers_tag(image, ".sig")) == other_image.digest
    assert entries(server, image) == json.loads(referrers_index(sbom))["manifests"]


@pytest.mark.parametrize("dest", ["docker-archive:{}/app.tar", "docker-daemon:"])
def test_pull_copies_only_image_to_destination_without_referrers(
    pull: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, dest: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)

    with EngineServer(tmp_path).running() as engine:
        entry = {"name": "team/app:1", "dest": dest.format(tmp_path), "referrers": True}
        result = pull(entry, docker_host=engine.host)

    assert [each["changed"] for each in result["images"]] == [True, False]
    assert "cannot store referrers. Use oci: or oci-archive:" in result["msg"]


def test_pull_rejects_different_referrers_with_same_target(
    pull: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), signature)
    dest = {"dest": f"oci:{tmp_path}/app", "referrers": True}

    with pytest.raises(InputError, match=r"would be written to .*\.sig, like another image"):
        pull({"name": "team/one:1", **dest}, {"name": "team/two:1", **dest})

    assert not (tmp_path / "app").exists()


def test_pull_looks_for_no_referrers_of_missing_image(pull: Push, server: RegistryServer, tmp_path: Path) -> None:
    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}/app", "referrers": True})

    assert len(result["images"]) == 1
    assert "there is no image 1 in repository team/app" in result["msg"]
    assert server.received("GET") == []


def test_push_reads_referrers_of_layout_once_for_all_images(
    push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"app:{number}": make_image(layer("bin/app", bytes([number]))) for number in range(9)}
    write_layout(
        tmp_path, {**images, **{f"sbom:{number}": sbom_of(image) for number, image in enumerate(images.values())}}
    )
    read: list[str] = []
    fetch = OciLayoutSource.fetch_manifest

    def record(layout: OciLayoutSource, descriptor: Descriptor) -> Manifest:
        read.append(descriptor.digest)
        return fetch(layout, descriptor)

    monkeypatch.setattr(OciLayoutSource, "fetch_manifest", record)

    push({"source": f"oci:{tmp_path}", "referrers": True})

    assert max(Counter(read).values()) < len(images)


def test_push_ignores_unknown_media_type_in_layout(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"app:1": image, "sbom:1": sbom_of(image)})
    unknown = b'{"mediaType": "application/vnd.example.unknown"}'
    (tmp_path / f"blobs/{digest_of(unknown).replace(':', '/')}").write_bytes(unknown)
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"].append(describe(unknown, "application/vnd.example.unknown"))
    (tmp_path / "index.json").write_bytes(encode(index))

    result = push({"source": f"oci:{tmp_path}:app:1", "referrers": True})

    assert result["changed"], result.get("msg")
    assert sbom_of(image).digest in server.manifests["library/app"]
