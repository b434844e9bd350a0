# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prunes that must not delete anything: hidden workloads, unreadable images, wrong rules and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.prune import (
    PRUNE_ARGUMENT_SPEC,
    read_rules,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, K8scrError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import OCI_LAYER_GZIP, Image, describe, layer, make_image, make_index
from unit.plugins.module_utils.support.inventories import HOSTS, use
from unit.plugins.module_utils.support.prunes import Workloads, fill, prune_registry, tags_in
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.settings import module_options

BOTH = pytest.mark.parametrize("check_mode", [False, True])


def options(**given: Any) -> dict[str, Any]:
    """Return the options of a task of k8scr_prune."""
    return module_options(PRUNE_ARGUMENT_SPEC, **given)


def test_used_image_without_tag_is_protected_by_tag(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    server.fill("team/api", None, image)
    fill(server, old=other_image)
    workloads = Workloads([use(f"registry.example.com/team/api@{image.digest}")])

    result = prune_registry(registry, collector, workloads)

    assert result["protected"] == [f"team/api:{digest_tag(image.digest)}"]
    assert result["kept"] == [
        {"image": f"team/api@{image.digest}", "digest": image.digest, "reasons": ["used by Deployment team/app"]}
    ]
    assert tags_in(server) == {digest_tag(image.digest)}
    again = prune_registry(registry, collector, workloads)
    assert (again["changed"], again["protected"]) == (False, [])


@BOTH
def test_prune_deletes_nothing_if_workloads_are_hidden(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, check_mode: bool
) -> None:
    fill(server, old=image)
    workloads = Workloads()
    workloads.unseen = (Unseen("Pod", "pods is forbidden"), Unseen("CronJob", "cronjobs is forbidden"))

    with pytest.raises(InputError, match=r"kinds cannot be listed: CronJob, Pod: .*registry_usage_subjects"):
        prune_registry(registry, collector, workloads, check_mode=check_mode, allow_empty=True)

    assert tags_in(server) == {"old"}


def test_hidden_workloads_do_not_matter_without_keep_used(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image
) -> None:
    fill(server, old=image, new=image)
    workloads = Workloads()
    workloads.unseen = (Unseen("Pod", "pods is forbidden"),)

    prune_registry(registry, collector, workloads, keep_used=False, keep=["*:new"])

    assert workloads.count == 0
    assert tags_in(server) == {"new"}


@BOTH
def test_prune_of_everything_needs_consent(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, check_mode: bool
) -> None:
    fill(server, old=image)
    server.fill("other", "1", image)

    with pytest.raises(InputError, match=r"all of them would be deleted \(tags: 1\).*allow_empty"):
        prune_registry(registry, collector, check_mode=check_mode, repositories=["team/*"])

    result = prune_registry(registry, collector, repositories=["team/*"], allow_empty=True)
    assert [entry["image"] for entry in result["images"]] == ["team/api:old"]
    assert tags_in(server, "other") == {"1"}


@BOTH
def test_registry_without_collector_is_rejected_before_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, check_mode: bool
) -> None:
    fill(server, new=image, old=image)
    collector.missing = InputError("no collector")

    with pytest.raises(InputError, match="no collector"):
        prune_registry(registry, collector, check_mode=check_mode, keep=["*:new"])

    assert tags_in(server) == {"new", "old"}


@BOTH
def test_unreadable_manifest_of_kept_image_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, multi: Image, check_mode: bool
) -> None:
    fill(server, new=multi, old=image)
    child = next(iter(multi.manifest["manifests"]))["digest"]
    server.fail("GET", f"manifests/{child}", error_response(500, "UNKNOWN"))

    with pytest.raises(K8scrError, match=f"team/api:new .*{child}.*Nothing was deleted"):
        prune_registry(registry, collector, check_mode=check_mode, keep=["*:new"])

    assert tags_in(server) == {"new", "old"}


@BOTH
def test_incomplete_index_without_tag_in_use_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, multi: Image, image: Image, check_mode: bool
) -> None:
    # Registries reject the tag without which the collector would delete the existing platforms.
    server.fill("team/api", None, multi)
    fill(server, old=image)
    child = next(iter(multi.manifest["manifests"]))["digest"]
    del server.manifests["team/api"][child]
    workloads = Workloads([use(f"team/api@{multi.digest}")])

    with pytest.raises(K8scrError, match=rf"team/api@{multi.digest} \(its content {child} is missing\).*was deleted"):
        prune_registry(registry, collector, workloads, check_mode=check_mode)

    assert tags_in(server) == {"old"}


def test_damaged_manifest_of_kept_image_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, multi: Image, image: Image
) -> None:
    fill(server, new=multi, old=image)
    child = next(iter(multi.manifest["manifests"]))["digest"]
    media_type, content = server.manifests["team/api"][child]
    server.manifests["team/api"][child] = media_type, content + b" "

    with pytest.raises(K8scrError, match="team/api:new"):
        prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new", "old"}


@BOTH
@pytest.mark.parametrize("tag", ["new", "old"])
def test_digest_that_collector_does_not_support_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, check_mode: bool, tag: str
) -> None:
    fill(server, **{"new": image, "old": image, tag: make_image(algorithm="sha512")})

    with pytest.raises(K8scrError, match=rf"does not support.*team/api:{tag} \(sha512:"):
        prune_registry(registry, collector, check_mode=check_mode, keep=["*:new"])

    assert tags_in(server) == {"new", "old"}


@pytest.mark.parametrize("is_index", [True, False])
@BOTH
def test_manifest_that_only_other_repository_has_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, multi: Image, check_mode: bool, is_index: bool
) -> None:
    digest, content = next(item for item in multi.contents.items() if OCI_LAYER_GZIP.encode() in item[1])
    server.fill("web", "new", multi)
    server.fill("web", "old", multi)
    if is_index:
        server.fill("api", "new", multi)
        del server.manifests["api"][digest]
    else:
        server.fill("api", "new", make_image(layers=[describe(content, "application/octet-stream")]))

    with pytest.raises(K8scrError, match=rf"delete blobs in use: web:new \(api:new lists its manifest {digest}\)"):
        prune_registry(registry, collector, check_mode=check_mode, keep=["*:new"])

    assert tags_in(server, "web") == {"new", "old"}


def test_unreadable_manifest_does_not_matter_without_collection(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image
) -> None:
    server.delete = registry_deletion.by_tag
    fill(server, new=image, old=other_image)
    for reference in ("new", image.digest):
        server.fail("GET", f"manifests/{reference}", error_response(500, "UNKNOWN"))

    prune_registry(registry, keep=["*:new"], collect=False)

    assert tags_in(server) == {"new"}


def test_children_of_unreadable_index_stay_on_distribution_2(
    server: RegistryServer, registry: Registry, multi: Image, other_image: Image
) -> None:
    server.delete = registry_deletion.by_digest
    child = make_image(layer("etc/motd", b"welcome"), layer("bin/app", b"amd64"), architecture="amd64")
    assert child.digest in multi.contents
    fill(server, new=multi, old=child)
    server.fill("web", "old", other_image)
    for reference in ("new", multi.digest):
        server.fail("GET", f"manifests/{reference}", error_response(500, "UNKNOWN"))

    result = prune_registry(registry, keep=["*:new"], collect=False)

    assert child.digest in server.manifests["team/api"]
    assert [entry["image"] for entry in result["images"]] == ["web:old"]
    assert result["kept"][1]["reasons"] == ["another image of the repository cannot be read, and may list it"]


def test_unreadable_image_that_no_rule_keeps_is_deleted(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, new=image, old=other_image)
    for reference in ("old", other_image.digest):
        server.fail("GET", f"manifests/{reference}", error_response(500, "UNKNOWN"))

    prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new"}


@pytest.mark.parametrize("check_mode", [True, False])
def test_tag_with_unknown_digest_that_no_rule_keeps_prevents_deletion(
    server: RegistryServer,
    registry: Registry,
    collector: FakeCollector,
    image: Image,
    other_image: Image,
    check_mode: bool,
) -> None:
    fill(server, new=image, damaged=other_image)
    server.fill("web", "old", other_image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/damaged", error_response(500, "UNKNOWN"))

    with pytest.raises(K8scrError, match=r"tags to delete cannot be read: team/api:damaged .*with k8scr_image first"):
        prune_registry(registry, collector, check_mode=check_mode, keep=["*:new"])

    assert tags_in(server) == {"new", "damaged"}
    assert tags_in(server, "web") == {"old"}


def test_broken_tag_that_no_rule_keeps_is_deleted(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, new=image, old=other_image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/old", error_response(404, "MANIFEST_UNKNOWN"))

    result = prune_registry(registry, collector, keep=["*:new"])

    assert [(entry["image"], entry["digest"]) for entry in result["images"]] == [("team/api:old", None)]
    assert tags_in(server) == {"new"}


@pytest.mark.parametrize("host", HOSTS)
def test_broken_tag_in_use_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image, host: str
) -> None:
    fill(server, new=image, old=other_image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/new", error_response(404, "MANIFEST_UNKNOWN"))

    with pytest.raises(K8scrError, match=r"team/api:new .*lists the tag new, and has no image for it"):
        prune_registry(registry, collector, Workloads([use(f"{host}team/api:new")]), keep=["*:x"], allow_empty=True)

    assert tags_in(server) == {"new", "old"}


def test_repository_that_cannot_be_listed_prevents_deletion(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image
) -> None:
    fill(server, new=image, old=image)
    server.fail("GET", "team/api/tags/list", error_response(500, "UNKNOWN"))

    with pytest.raises(RegistryError, match="tags of repository team/api cannot be listed"):
        prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new", "old"}


def test_registry_that_does_not_delete_is_named_before_any_change(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, old=other_image)
    server.fill("team/api", None, image)
    server.fail("DELETE", "/", error_response(405, "UNSUPPORTED"))
    workloads = Workloads([use(f"team/api@{image.digest}")])

    with pytest.raises(RegistryError, match="registry_delete: true"):
        prune_registry(registry, collector, workloads)

    assert tags_in(server) == {"old"}


@pytest.mark.parametrize(
    ("value", "seconds"), [("30s", 30), ("5m", 300), ("12h", 43200), ("14d", 1209600), ("2w", 1209600)]
)
def test_age_has_unit(value: str, seconds: int) -> None:
    assert read_rules(options(keep_younger=value)).younger == seconds


@pytest.mark.parametrize("value", ["", "14", "d", "14 d", "-1d", "1.5d", "1y", "99999999d", "٣d"])
def test_invalid_age_is_rejected(value: str) -> None:
    with pytest.raises(InputError, match="is not an age"):
        read_rules(options(keep_younger=value))


def test_missing_lock_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_rules(options(keep_lock=[str(tmp_path / "missing")]))


@pytest.mark.parametrize("number", [0, -1, 1_000_001])
def test_number_of_last_images_has_bounds(number: int) -> None:
    with pytest.raises(InputError, match="keep_last is"):
        read_rules(options(keep_last=number))


def test_multi_platform_image_in_use_by_digest_of_platform_stays(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image
) -> None:
    child = make_image(layer("bin/app", b"amd64"))
    index = make_index({"linux/amd64": child})
    fill(server, old=image, multi=index)
    workloads = Workloads([use("team/api:gone", child.digest, "Pod")])

    result = prune_registry(registry, collector, workloads)

    assert tags_in(server) == {"multi"}
    assert result["kept"][0]["reasons"] == ["used by Pod team/app"]
