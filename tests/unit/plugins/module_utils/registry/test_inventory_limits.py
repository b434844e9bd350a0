# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories of unusual and hostile registries: limits, malformed content and unavailable servers."""

from __future__ import annotations

import gc
import json
import tracemalloc
from functools import partial
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci import graph
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import inventory_reader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import StoredImage, Verify
from unit.plugins.module_utils.support.images import Image, describe, encode, layer, make_image, make_index
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

take_inventory = partial(inventory_reader.take_inventory, connections=4)
FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def store(server: RegistryServer, tag: str, document: dict[str, Any], media_type: str) -> str:
    """Store a manifest without its content in repository team/app, and return its digest."""
    content = encode({"schemaVersion": 2, "mediaType": media_type, **document})
    digest = str(describe(content, media_type)["digest"])
    server.manifests.setdefault("team/app", {}).update(dict.fromkeys((tag, digest), (media_type, content)))
    return digest


def store_config(server: RegistryServer, config: object) -> None:
    """Store an image with this config as team/app:1."""
    content = encode(config)
    descriptor = describe(content, OCI_CONFIG)
    server.blobs.setdefault("team/app", {})[descriptor["digest"]] = content
    store(server, "1", {"config": descriptor, "layers": []}, OCI_MANIFEST)


def only_image(registry: Registry, **options: Any) -> StoredImage:
    """Return the only image of an inventory."""
    inventory = take_inventory(registry, **options)
    assert inventory.unreadable == ()
    (image,) = inventory.images
    return image


@pytest.mark.parametrize("verify", [Verify.BLOBS, Verify.CONTENT])
def test_nondistributable_layer_is_neither_counted_nor_missing(
    server: RegistryServer, registry: Registry, image: Image, verify: Verify
) -> None:
    server.fill("team/app", "0", image)
    foreign = {**describe(b"a", FOREIGN_LAYER), "size": 1 << 30, "urls": ["https://example.com/layer"]}
    manifest = image.manifest
    digest = store(server, "1", {**manifest, "layers": [*manifest["layers"], foreign]}, OCI_MANIFEST)
    inventory = take_inventory(registry, verify=verify)
    found = inventory.images[1]
    assert (found.root.digest, found.complete) == (digest, True)
    assert [blob.digest for blob in found.manifests[0].blobs][-1] == foreign["digest"]
    assert inventory.bytes < 1 << 30


def test_index_within_index_is_read_once(server: RegistryServer, registry: Registry, multi: Image) -> None:
    server.fill("team/app", "1", multi)
    entry = multi.root.to_json()
    outer = store(server, "2", {"manifests": [entry, *multi.manifest["manifests"], entry]}, OCI_INDEX)
    inventory = take_inventory(registry)
    found = {image.tags: [manifest.descriptor.digest for manifest in image.manifests] for image in inventory.images}
    children = [child["digest"] for child in multi.manifest["manifests"]]
    assert found["2",] == [outer, multi.digest, *children]
    assert inventory.manifests == 4


def test_index_with_too_many_manifests_has_error(
    server: RegistryServer, registry: Registry, multi: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fill("team/app", "1", multi)
    monkeypatch.setattr(graph, "MAXIMUM_MANIFESTS", 2)
    image = only_image(registry)
    assert "too many manifests" in str(image.error)
    assert not image.complete


def test_endless_chain_of_referrers_ends_with_error(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "1", image)
    referrers = [make_image(layer("a", b"%d" % number)) for number in range(50)]
    for referrer in referrers:
        server.fill("team/app", None, referrer)
    unused = iter(referrers)

    def next_referrer(_response: Response) -> Response:
        entries = [describe(found.contents[found.digest], OCI_MANIFEST) for found in [next(unused)]]
        content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        return Response(200, {"Content-Type": OCI_INDEX}, content)

    server.fail("GET", "referrers/", next_referrer)
    images = take_inventory(registry, referrers=True).images
    assert [found.root.digest for found in images[:3]] == [image.digest, *(each.digest for each in referrers[:2])]
    assert [number for number, found in enumerate(images) if found.error] == [len(images) - 1] == [8]
    assert "more than 8 levels of referrers" in str(images[-1].error)


@pytest.mark.parametrize(
    ("limit", "message"),
    [("_MOST_IMAGES", "more than 1 tags"), ("_MOST_BLOBS", "more than 1 blobs"), ("_MOST_TEXT", "more than 1 char")],
)
def test_inventory_that_exceeds_limit_ends_with_error(
    server: RegistryServer, registry: Registry, limit: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag in ("1", "2"):
        server.fill("team/app", tag, make_image(layer("a", tag.encode()), annotations={"a": "text"}))
    monkeypatch.setattr(inventory_reader, limit, 1)
    with pytest.raises(RegistryError, match=f"{message}.*Select fewer repositories"):
        take_inventory(registry, details=True)


def test_lists_of_tags_that_exceed_limit_are_not_collected(
    server: RegistryServer, registry: Registry, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        server.fill(f"team/app{number}", "1", image)
        server.fill(f"team/app{number}", "2", image)
    monkeypatch.setattr(inventory_reader, "_MOST_IMAGES", 3)
    with pytest.raises(RegistryError, match="more than 3 tags"):
        inventory_reader.take_inventory(registry, 1)
    assert len([path for path in server.received("GET") if path.endswith("tags/list")]) < 50


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2025-01-02T03:04:05Z", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05.123456789+02:00", "2025-01-02T03:04:05.123456789+02:00"),
        ("yesterday", None),
        ("2025-01-02T03:04:05Z" + " " * 5000, None),
        ("٢٠٢٥-01-02T03:04:05Z", None),
        (1735787045, None),
        (None, None),
    ],
)
def test_time_of_creation_is_that_of_config(
    server: RegistryServer, registry: Registry, created: object, expected: str | None
) -> None:
    store_config(server, {"os": "linux", "architecture": "arm64", "created": created})
    image = only_image(registry, created=True)
    assert image.created == expected
    assert str(image.manifests[0].platform) == "linux/arm64"


@pytest.mark.parametrize("name", ["linux\x1b[2J", "linux\n", "x" * 1000])
def test_platform_that_cannot_be_shown_is_unknown(
    server: RegistryServer, registry: Registry, image: Image, name: str
) -> None:
    store_config(server, {"os": name, "architecture": "arm64"})
    platform = {"os": name, "architecture": "arm64"}
    server.fill("team/app", None, image)
    store(server, "2", {"manifests": [{**image.root.to_json(), "platform": platform}]}, OCI_INDEX)
    images = take_inventory(registry).images
    assert [each.platform for found in images for each in found.manifests] == [None] * 3
    assert take_inventory(registry, created=True).images[0].manifests[0].platform is None


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"config": {"Labels": {"a": "b", "c": 5}}}, {"a": "b"}),
        ({"config": {"Labels": None}}, {}),
        ({"config": {"Labels": ["a"]}}, {}),
        ({"config": "x"}, {}),
        ([], {}),
        ("x", {}),
    ],
)
def test_malformed_config_has_no_labels(
    server: RegistryServer, registry: Registry, config: object, labels: dict[str, str]
) -> None:
    store_config(server, config)
    image = only_image(registry, details=True)
    assert (image.labels, image.complete) == (labels, True)


def test_missing_config_is_reported_once(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "1", image)
    config = image.manifest["config"]["digest"]
    del server.blobs["team/app"][config]
    found = only_image(registry, created=True, verify=Verify.CONTENT)
    assert (found.missing, found.damaged, found.created) == ((config,), (), None)


def test_config_with_changed_byte_is_damaged(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "1", image)
    config = image.manifest["config"]["digest"]
    server.blobs["team/app"][config] = image.config[:-1] + b" "
    found = only_image(registry, created=True)
    assert (found.missing, found.damaged, found.complete) == ((), (config,), False)


def test_configs_are_read_only_for_unknown_platforms(server: RegistryServer, registry: Registry, multi: Image) -> None:
    server.fill("team/app", "1", multi)
    only_image(registry, created=True)
    first = json.loads(multi.contents[multi.manifest["manifests"][0]["digest"]])["config"]["digest"]
    assert [path for path in server.received("GET") if "/blobs/" in path] == [f"GET /v2/team/app/blobs/{first}"]


def test_time_and_labels_are_not_those_of_attestation(server: RegistryServer, registry: Registry) -> None:
    attestation = {"os": "unknown", "architecture": "unknown"}
    store_config(server, attestation)
    first = server.manifests["team/app"].pop("1")[1]
    store_config(server, {"created": "2025-01-02T03:04:05Z", "config": {"Labels": {"a": "b"}}})
    second = server.manifests["team/app"].pop("1")[1]
    platforms = [attestation, {"os": "linux", "architecture": "amd64"}]
    entries = [
        {**describe(content, OCI_MANIFEST), "platform": each} for content, each in zip((first, second), platforms)
    ]
    store(server, "1", {"manifests": entries}, OCI_INDEX)
    image = only_image(registry, created=True, details=True)
    assert (image.created, image.labels) == ("2025-01-02T03:04:05Z", {"a": "b"})


@pytest.mark.parametrize("name", ["../secrets", "team/app?x=1", "Team", "team//app", "a" * 300, "team/app\n"])
def test_repository_with_invalid_name_is_unreadable(
    server: RegistryServer, registry: Registry, image: Image, name: str
) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "_catalog", Response(200, {}, encode({"repositories": ["team/app", name]})))
    inventory = take_inventory(registry)
    assert [found.repository for found in inventory.images] == ["team/app"]
    assert [(each.repository, each.tag) for each in inventory.unreadable] == [(name, None)]
    assert len(str(inventory.unreadable[0].error)) < 500


def test_invalid_tags_are_reported_and_others_are_read(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fail("GET", "tags/list", Response(200, {}, encode({"tags": ["1", "../x", "", "a b"]})))
    inventory = take_inventory(registry)
    assert [found.tags for found in inventory.images] == [("1",)]
    assert "which is not a tag" in str(inventory.unreadable[0].error)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"tags": 5}', b'{"tags": [5]}', b"[" * 100_000, b"\xff"])
def test_repository_with_malformed_list_of_tags_is_unreadable(
    server: RegistryServer, registry: Registry, image: Image, body: bytes
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/other", "1", image)
    server.fail("GET", "team/app/tags/list", Response(200, {}, body))
    inventory = take_inventory(registry)
    assert [found.repository for found in inventory.images] == ["team/other"]
    assert [each.repository for each in inventory.unreadable] == ["team/app"]


def test_repository_without_tags_has_no_images(server: RegistryServer, registry: Registry) -> None:
    server.manifests["team/empty"] = {}
    inventory = take_inventory(registry)
    assert (inventory.repositories, inventory.images, inventory.unreadable) == (("team/empty",), (), ())


@pytest.mark.parametrize("status", [429, 502, 503])
@pytest.mark.parametrize("path", ["manifests/1", "manifests/sha256", "blobs/"])
def test_unavailable_registry_ends_inventory(
    server: RegistryServer, registry: Registry, multi: Image, status: int, path: str
) -> None:
    server.fill("team/app", "1", multi)
    registry.retries.seconds = 0.0
    for method in ("GET", "HEAD"):
        server.fail(method, path, Response(status))
    with pytest.raises(K8scrError, match=str(status)):
        take_inventory(registry, verify=Verify.CONTENT)


def test_blob_with_internal_error_is_an_error_of_its_image(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/other", "1", other_image)
    server.fail("HEAD", f"blobs/{image.layers[1]}", error_response(500, "UNKNOWN", "input/output error"))
    broken, whole = take_inventory(registry, verify=Verify.BLOBS).images
    assert "responded with 500" in str(broken.error)
    assert (broken.complete, whole.complete) == (False, True)


def test_blob_whose_response_is_always_interrupted_is_an_error_of_its_image(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/other", "1", other_image)
    registry.retries.seconds = 0.0
    server.fail("GET", f"blobs/{image.layers[1]}", Response(200, {"Content-Length": "100"}, truncated=True))
    broken, whole = take_inventory(registry, verify=Verify.CONTENT).images
    assert "interrupted while reading blob" in str(broken.error)
    assert (broken.complete, whole.complete) == (False, True)


def test_interrupted_response_of_stopped_registry_ends_inventory(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    registry.retries.seconds = 0.0
    server.fail("GET", "blobs/", Response(200, {"Content-Length": "100"}, truncated=True))
    server.fail("GET", "/v2/$", Response(503))
    with pytest.raises(K8scrError, match="interrupted while reading blob"):
        take_inventory(registry, verify=Verify.CONTENT)


def test_same_digest_as_manifest_and_blob_is_counted_once(
    server: RegistryServer, registry: Registry, image: Image
) -> None:
    server.fill("team/app", "1", image)
    content = image.contents[image.digest]
    server.fill("team/app", "2", make_index({"linux/amd64": image}))
    server.blobs["team/app"][image.digest] = content
    manifest = {**image.manifest, "layers": [describe(content, "application/octet-stream")]}
    store(server, "3", manifest, OCI_MANIFEST)
    inventory = take_inventory(registry)
    stored = {**dict(server.blobs["team/app"])}
    stored.update({digest: found[1] for digest, found in server.manifests["team/app"].items() if ":" in digest})
    assert inventory.bytes == sum(map(len, stored.values()))


def test_inventory_takes_little_memory_for_each_image(server: RegistryServer, registry: Registry, image: Image) -> None:
    server.fill("team/app", "base", image)
    count = 300
    for number in range(count):
        store(server, f"v{number}", {**image.manifest, "annotations": {"number": str(number) * 1000}}, OCI_MANIFEST)
    gc.collect()
    tracemalloc.start()
    try:
        inventory = take_inventory(registry)
        server.requests.clear()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(inventory.images) == count + 1
    # With their contents, the manifests alone would take more.
    assert taken < count * 4096
