# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts of hauler, cosign, BuildKit, skopeo and of pulls with referrers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.images import Image, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tool_layouts import (
    CONTAINERD_NAME,
    build_cache,
    cosign_entries,
    hauler_entries,
    named,
    signature_of,
    write_entries,
)

Run = Callable[..., dict[str, Any]]
SBOM = "application/vnd.example.sbom"
NEIGHBOR = make_image(annotations={"is": "the neighbor"})


def cosign_tag(image: Image, suffix: str) -> str:
    """Return the tag that cosign gives to an artifact of an image."""
    return image.digest.replace(":", "-") + suffix


def sbom_of(image: Image) -> Image:
    """Return an SBOM that has an image as its subject."""
    return make_image(subject=image.root.to_json(), artifactType=SBOM, annotations={"of": image.digest})


@pytest.mark.parametrize("vendor", ["dev.hauler", "dev.cosignproject.cosign"])
def test_push_of_hauler_store_keeps_signatures_apart_from_image(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, multi: Image, vendor: str
) -> None:
    signature, sbom = signature_of(image), sbom_of(image)
    source = write_entries(
        tmp_path,
        [
            *hauler_entries(image, "library/app:1", "index.docker.io", vendor, sigs=signature, referrers=sbom),
            *hauler_entries(multi, "team/multi:1", "example.com", vendor),
        ],
    )

    alone = push({"source": f"oci:{source}", "referrers": False})
    assert (alone.get("msg"), [each["name"] for each in alone["images"]]) == (
        None,
        ["docker.io/library/app:1", "example.com/team/multi:1"],
    )
    push({"source": f"oci:{source}:library/app:1", "name": "example.com/selected:1"})
    push({"source": f"oci:{source}", "referrers": True})

    assert server.digest_of("library/app", "1") == server.digest_of("selected", "1") == image.digest
    assert server.digest_of("library/app", cosign_tag(image, ".sig")) == signature.digest
    assert sbom.digest in server.manifests["library/app"]


def test_push_finds_image_of_hauler_signature_by_stated_digest(
    push: Run, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    child = multi.manifest["manifests"][0]["digest"]
    signature, stated = signature_of(multi), make_image(annotations={"is": "another"})
    hexadecimal = child.partition(":")[2]
    names = {CONTAINERD_NAME: "example.com/team/multi:1"}
    source = write_entries(
        tmp_path,
        [
            (signature, {"annotations": {"kind": f"dev.hauler/sigs/{hexadecimal}", **names}}),
            (stated, {"annotations": {"kind": "dev.hauler/atts", "hauler.dev/subject-digest": child, **names}}),
            *hauler_entries(multi, "team/multi:1", "example.com"),
        ],
    )

    result = push({"source": f"oci:{source}", "referrers": True})

    assert result.get("msg") is None
    assert server.digest_of("team/multi", f"{child.replace(':', '-')}.sig") == signature.digest
    assert server.digest_of("team/multi", f"{child.replace(':', '-')}.att") == stated.digest


def test_push_of_cosign_save_copies_signatures_under_tags_of_cosign(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    signature, attestation = signature_of(image), other_image
    source = write_entries(tmp_path, cosign_entries(image, sigs=signature, atts=attestation))
    entry = {"source": f"oci:{source}", "name": "example.com/team/app:1"}

    without = push({**entry, "referrers": False})
    result = push({**entry, "referrers": True})

    assert [each["digest"] for each in without["images"]] == [image.digest]
    assert result.get("msg") is None
    assert server.digest_of("team/app", cosign_tag(image, ".sig")) == signature.digest
    assert server.digest_of("team/app", cosign_tag(image, ".att")) == attestation.digest


@pytest.mark.parametrize("name", ["example.com/team/app:1", None])
def test_push_fails_only_signature_of_unknown_image(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image, name: str | None
) -> None:
    signature = signature_of(image)
    lone = {"annotations": {"kind": "dev.hauler/sigs", CONTAINERD_NAME: name}}
    neighbors = [named(NEIGHBOR, "example.com/team/neighbor:1"), (sbom_of(NEIGHBOR), {})]
    source = write_entries(tmp_path, [*neighbors, (signature, lone)])

    result = push(f"oci:{source}")

    assert f"{signature.digest} in the folder {source} is a referrer, such as a signature" in result["msg"]
    assert "select it with @2 in place of a name" in result["msg"]
    assert set(server.manifests) == {"team/neighbor"}


@pytest.mark.parametrize("referrers", [True, False])
def test_push_of_whole_layout_after_pull_with_referrers_succeeds(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path, multi: Image, image: Image, referrers: bool
) -> None:
    sbom = sbom_of(multi)
    layout = write_entries(tmp_path / "source", [named(multi, "example.com/team/app:1"), (sbom, {})])
    push({"source": f"oci:{layout}", "referrers": True})
    server.fill("team/app", cosign_tag(multi, ".sig"), image)
    name = "example.com/team/app:1"
    pull({"name": name, "dest": f"oci:{tmp_path}/pulled:{name}", "referrers": True})
    server.manifests.clear()

    result = push({"source": f"oci:{tmp_path}/pulled", "referrers": referrers})

    assert result.get("msg") is None
    pushed = server.manifests["team/app"]
    assert multi.digest in pushed
    assert (sbom.digest in pushed, cosign_tag(multi, ".sig") in pushed) == (referrers, referrers)


def test_push_fails_referrer_without_name_whose_image_is_missing(
    push: Run, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    sbom = sbom_of(image)
    source = write_entries(tmp_path, [(sbom, {}), named(NEIGHBOR, "example.com/team/neighbor:1")])

    result = push({"source": f"oci:{source}", "referrers": True})
    selected = push({"source": f"oci:{source}:@0", "name": "example.com/team/sbom:1"})

    assert (
        f"{sbom.digest} in the folder {source} is a referrer, such as a signature, of {image.digest}" in result["msg"]
    )
    assert selected["images"][0]["digest"] == sbom.digest
    assert set(server.manifests) == {"team/neighbor", "team/sbom"}


@pytest.mark.parametrize("name", ["example.com/damaged:1", None])
def test_damaged_manifest_fails_referrers_of_other_images_only_if_it_may_be_one(
    push: Run, tmp_path: Path, image: Image, name: str | None
) -> None:
    damaged = Image(image.root, {**image.contents, image.digest: b"{}"})
    neighbors = [named(NEIGHBOR, "example.com/team/neighbor:1"), (sbom_of(NEIGHBOR), {})]
    source = write_entries(tmp_path, [*neighbors, (damaged, {"annotations": {CONTAINERD_NAME: name}})])

    result = push({"source": f"oci:{source}:example.com/team/neighbor:1", "referrers": True})

    assert result["images"][0]["digest"] == NEIGHBOR.digest
    assert ("is damaged" in result.get("msg", "")) is (name is None)


@pytest.mark.parametrize("platforms", [None, ["linux/amd64"]])
def test_push_copies_build_cache_of_buildkit(
    push: Run, server: RegistryServer, tmp_path: Path, platforms: list[str] | None
) -> None:
    cache = build_cache()
    server.indexes_of_blobs = True
    source = write_entries(tmp_path, [named(cache, "latest")])

    result = push({"source": f"oci:{source}", "name": "example.com/cache:1", "platforms": platforms})

    if platforms:
        assert "Select from its platforms: no image of a known platform" in result["msg"]
    else:
        assert server.digest_of("cache", "1") == cache.digest


def test_push_explains_registry_that_rejects_build_cache(push: Run, server: RegistryServer, tmp_path: Path) -> None:
    entries = [named(build_cache(), "example.com/cache:1"), named(NEIGHBOR, "example.com/team/neighbor:1")]

    result = push(f"oci:{write_entries(tmp_path, entries)}")

    assert "an index of layers, such as a build cache of BuildKit, and the registry may store only" in result["msg"]
    assert "export the cache with image-manifest=true" in result["msg"]
    assert server.digest_of("team/neighbor", "1") == NEIGHBOR.digest


def test_pull_and_push_keep_build_cache_of_buildkit(
    push: Run, pull: Run, server: RegistryServer, tmp_path: Path
) -> None:
    cache = build_cache()
    server.indexes_of_blobs = True
    push({"source": f"oci:{write_entries(tmp_path / 'source', [named(cache, 'latest')])}", "name": "cache:1"})

    for kind in ("oci", "oci-archive"):
        pulled = pull({"name": "cache:1", "dest": f"{kind}:{tmp_path}/{kind}"})
        again = push({"source": f"{kind}:{tmp_path}/{kind}", "name": f"again/{kind}:1"})

        assert pulled["images"][0]["digest"] == again["images"][0]["digest"] == cache.digest
        assert server.blobs[f"again/{kind}"] == server.blobs["library/cache"]


@pytest.mark.parametrize("below", ["", "app:1"])
def test_folder_of_skopeo_sync_is_named_with_its_conversion(push: Run, tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_text("{}")

    result = push(f"oci:{tmp_path}")

    assert f"{folder} has skopeo's format dir:, which is not an OCI layout" in result["msg"]
    assert f"Convert it: skopeo copy --all dir:{folder} oci:LAYOUT:NAME" in result["msg"]
