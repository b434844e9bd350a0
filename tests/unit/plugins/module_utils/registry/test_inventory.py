# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of inventories: the images, manifests and blobs of a registry."""

from __future__ import annotations

from functools import partial

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DigestMismatchError,
    MissingManifestError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import fallback_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import inventory_reader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import (
    Inventory,
    StoredReferrer,
    Verify,
    subject_of,
)
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

take_inventory = partial(inventory_reader.take_inventory, connections=4)


def stored_bytes(*images: Image) -> int:
    """Return the bytes of the manifests and blobs of images, each counted once."""
    contents = {digest: content for image in images for digest, content in image.contents.items()}
    return sum(map(len, contents.values()))


def tags_of(inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the tags of each image, by its repository and digest."""
    return {f"{image.repository}@{image.root.digest}": image.tags for image in inventory.images}


def test_inventory_counts_each_digest_once_over_all_repositories(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image, multi: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", other_image)
    server.fill("other/app", "1", image)
    server.fill("other/multi", "1", multi)
    inventory = take_inventory(registry)
    assert inventory.repositories == ("other/app", "other/multi", "team/app")
    assert inventory.bytes == stored_bytes(image, other_image, multi)
    assert inventory.manifests == 5
    assert inventory.blobs == len({*image.contents, *other_image.contents, *multi.contents}) - 5
    assert all(found.complete for found in inventory.images)


def test_inventory_collects_all_tags_of_a_digest(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    for tag in ("1", "1.2", "latest"):
        server.fill("team/app", tag, image)
    server.fill("team/app", "0.9", other_image)
    assert tags_of(take_inventory(registry)) == {
        f"team/app@{image.digest}": ("1", "1.2", "latest"),
        f"team/app@{other_image.digest}": ("0.9",),
    }


def test_inventory_lists_index_first_and_children_with_platforms(
    server: RegistryServer, registry: Registry, multi: Image
) -> None:
    server.fill("team/app", "1", multi)
    (image,) = take_inventory(registry).images
    children = [entry["digest"] for entry in multi.manifest["manifests"]]
    assert [manifest.descriptor.digest for manifest in image.manifests] == [multi.digest, *children]
    assert [str(manifest.platform) for manifest in image.manifests[1:]] == ["linux/amd64", "linux/arm64"]
    assert image.size == stored_bytes(multi)


def test_inventory_reports_missing_child_of_index(server: RegistryServer, registry: Registry, multi: Image) -> None:
    server.fill("team/app", "1", multi)
    lost = multi.manifest["manifests"][1]["digest"]
    del server.manifests["team/app"][lost]
    (image,) = take_inventory(registry).images
    assert (image.missing, image.complete, len(image.manifests)) == ((lost,), False, 2)


def test_inventory_reads_other_images_despite_one_broken_tag(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "good", image)
    server.fill("team/app", "broken", other_image)
    server.fill("team/app", "lost", other_image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/broken", error_response(500, "UNKNOWN"))
        server.fail(method, "manifests/lost", error_response(404, "MANIFEST_UNKNOWN"))
    inventory = take_inventory(registry)
    assert tags_of(inventory) == {f"team/app@{image.digest}": ("good",)}
    assert [(each.repository, each.tag) for each in inventory.unreadable] == [
        ("team/app", "broken"),
        ("team/app", "lost"),
    ]
    assert isinstance(inventory.unreadable[0].error, RegistryError)
    assert isinstance(inventory.unreadable[1].error, MissingManifestError)


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"mediaType": "text/plain"}', DigestMismatchError), (b"not JSON", DigestMismatchError)],
)
def test_inventory_reports_damaged_manifest(
    server: RegistryServer, registry: Registry, image: Image, body: bytes, expected: type
) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "manifests/", lambda response: Response(200, response.headers, body))
    (found,) = take_inventory(registry).images
    assert isinstance(found.error, expected)
    assert (found.damaged, found.manifests, found.complete) == ((image.digest,), (), False)


def test_inventory_ends_if_registry_becomes_unavailable(
    server: RegistryServer, registry: Registry, multi: Image
) -> None:
    server.fill("team/app", "1", multi)
    registry.retries.seconds = 0.0
    server.fail("GET", "manifests/sha256", Response(503))
    with pytest.raises(RegistryError, match="503"):
        take_inventory(registry)


def test_inventory_reads_tag_and_manifest_of_distribution_with_one_request(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", image)
    assert tags_of(take_inventory(registry)) == {f"team/app@{image.digest}": ("1", "2")}
    assert sorted(path for path in server.received("GET", "HEAD") if "/manifests/" in path) == [
        "GET /v2/team/app/manifests/1",
        "GET /v2/team/app/manifests/2",
    ]


def test_inventory_reads_manifest_of_other_registry_by_digest_as_nodes_do(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "k8scr/probe", error_response(404, "NAME_UNKNOWN", "Unknown name"))
    server.fail("GET", "manifests/sha256", error_response(404, "MANIFEST_UNKNOWN"))
    (found,) = take_inventory(registry).images
    assert (found.root.digest, found.complete) == (image.digest, False)


@pytest.mark.parametrize("header", ["Docker-Content-Digest", "Content-Type"])
@pytest.mark.parametrize("value", ["", "x", "x" * 1000])
def test_inventory_does_not_depend_on_headers_of_manifest(
    server: RegistryServer, registry: Registry, image: Image, header: str, value: str
) -> None:
    server.fill("team/app", "1", image)
    for method in ("GET", "HEAD"):
        server.fail(
            method, "manifests/", lambda response: Response(200, {**response.headers, header: value}, response.body)
        )
    (found,) = take_inventory(registry).images
    assert (found.root, found.complete) == (image.root, True)


def test_inventory_without_verification_reads_no_manifest(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    inventory = take_inventory(registry, verify=Verify.NONE)
    assert tags_of(inventory) == {f"team/app@{image.digest}": ("1",)}
    assert server.received("GET", "HEAD") == [
        "GET /v2/_catalog",
        "GET /v2/team/app/tags/list",
        "HEAD /v2/team/app/manifests/1",
    ]


@pytest.mark.parametrize("verify", [Verify.BLOBS, Verify.CONTENT])
def test_inventory_reports_missing_blob_of_one_repository(
    server: RegistryServer, registry: Registry, image: Image, verify: Verify
) -> None:
    server.fill("team/app", "1", image)
    server.fill("other/app", "1", image)
    del server.blobs["team/app"][image.layers[1]]
    whole, broken = take_inventory(registry, verify=verify).images
    assert (whole.repository, whole.complete) == ("other/app", True)
    assert (broken.repository, broken.missing, broken.complete) == ("team/app", (image.layers[1],), False)


def test_inventory_reports_blob_with_one_changed_byte(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "1", image)
    content = image.contents[image.layers[0]]
    server.blobs["team/app"][image.layers[0]] = content[:-1] + bytes([content[-1] ^ 1])
    assert take_inventory(registry, verify=Verify.BLOBS).images[0].complete
    (found,) = take_inventory(registry, verify=Verify.CONTENT).images
    assert (found.damaged, found.missing, found.complete) == ((image.layers[0],), (), False)


def test_inventory_reads_content_of_shared_blob_once(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fill("other/app", "1", image)
    take_inventory(registry, verify=Verify.CONTENT)
    read = [request for request in server.received("GET") if image.layers[0] in request]
    assert len(read) == 1


def test_inventory_reads_content_of_damaged_shared_blob_once(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    for repository in ("team/app", "other/app", "third/app"):
        server.fill(repository, "1", image)
        content = image.contents[image.layers[0]]
        server.blobs[repository][image.layers[0]] = content[:-1] + bytes([content[-1] ^ 1])
    images = take_inventory(registry, verify=Verify.CONTENT).images
    assert [found.damaged for found in images] == [(image.layers[0],)] * 3
    assert len([request for request in server.received("GET") if image.layers[0] in request]) == 1


def test_inventory_reads_time_platform_labels_and_annotations(server: RegistryServer, registry: Registry) -> None:
    image = make_image(layer("a", b"a"), annotations={"org.opencontainers.image.created": "2025-01-02T03:04:05Z"})
    server.fill("team/app", "1", image)
    (found,) = take_inventory(registry, details=True).images
    assert found.created == "2025-01-02T03:04:05Z"
    assert str(found.manifests[0].platform) == "linux/amd64"
    assert found.annotations == {"org.opencontainers.image.created": "2025-01-02T03:04:05Z"}


def test_inventory_of_references_needs_no_catalog(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "stable", image)
    server.fill("team/app", "2", other_image)
    server.fail("GET", "_catalog", error_response(404, "UNSUPPORTED"))
    names = [("team/app", "1"), ("team/app", other_image.digest), ("team/app", "3")]
    inventory = take_inventory(registry, repositories=(), references=names)
    assert tags_of(inventory) == {f"team/app@{image.digest}": ("1",), f"team/app@{other_image.digest}": ()}
    assert inventory.absent == (("team/app", "3"),)
    aliases = take_inventory(registry, repositories=(), references=names[:1], aliases=True)
    assert tags_of(aliases) == {f"team/app@{image.digest}": ("1", "stable")}


@pytest.mark.parametrize("part", ["config", "layer", "manifest"])
def test_inventory_does_not_report_blob_as_unreadable_manifest(
    server: RegistryServer, registry: Registry, image: Image, part: str
) -> None:
    server.fill("api", "1", image)
    digest = {"config": next(iter(image.blobs)), "layer": image.layers[0], "manifest": image.digest}[part]
    # distribution 2.8 finds blobs as manifests, and cannot read them.
    server.fail("HEAD", f"manifests/{digest}", error_response(500, "UNKNOWN"))

    found = take_inventory(registry, repositories=(), references=[("api", digest)])

    assert found.absent == ((("api", digest),) if part != "manifest" else ())
    assert [item.tag for item in found.unreadable] == ([digest] if part == "manifest" else [])


def test_inventory_raises_error_without_catalog(server: RegistryServer, registry: Registry) -> None:
    server.fail("GET", "_catalog", error_response(403, "DENIED"))
    with pytest.raises(RegistryError, match="403"):
        take_inventory(registry)


def test_inventory_reads_selected_repositories_only(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("other/app", "1", other_image)
    inventory = take_inventory(registry, select=lambda name: name.startswith("team/"))
    assert inventory.repositories == ("team/app",)
    assert [image.repository for image in inventory.images] == ["team/app"]


def test_inventory_finds_referrers_by_tag_of_cosign(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    signature = image.digest.replace(":", "-") + ".sig"
    server.fill("team/app", signature, other_image)
    images = take_inventory(registry, referrers=True).images
    found = {each.tags[0]: each.referrers for each in images}
    assert found == {"1": (StoredReferrer(image.digest, other_image.root, tag=signature),), signature: ()}
    assert subject_of(signature) == subject_of(fallback_tag(image.digest)) == image.digest


@pytest.mark.parametrize("tag", ["1.2", "sha256-12", f"sha256-{'a' * 64}.txt", f"sha512-{'a' * 64}", f"x-{'a' * 64}"])
def test_subject_is_unknown_for_other_tags(tag: str) -> None:
    assert subject_of(tag) is None
