# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prunes of a registry: what is deleted, and what stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import cosign_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collection
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index
from unit.plugins.module_utils.support.prunes import fill, prune_registry, tags_in
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.shown_texts import ShownTexts

REGISTRIES = pytest.mark.parametrize("kind", ["distribution 3", "distribution 2.8"])


@REGISTRIES
def test_prune_deletes_images_that_no_rule_keeps_and_their_space(
    server: RegistryServer, registry: Registry, image: Image, other_image: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    fill(server, new=image, old=other_image)
    only_old = set(other_image.contents) - set(image.contents)
    freed = sum(len(other_image.contents[digest]) for digest in only_old)
    # distribution 2.8 deletes the manifest before the collection.
    deleted_before = 0 if kind == "distribution 3" else other_image.root.size
    before = collector.stored_bytes() - deleted_before

    result = prune_registry(registry, collector, keep=["*:new"])

    assert result == {
        "changed": True,
        "images": [
            {
                "image": "team/api:old",
                "digest": other_image.digest,
                "size": other_image.size,
                "content": "deleted",
            }
        ],
        "images_space_reclaimed": freed,
        "kept": [{"image": "team/api:new", "digest": image.digest, "reasons": ["matches *:new"]}],
        "protected": [],
        "collected": {"before": before, "after": before + deleted_before - freed, "seconds": 2},
        "errors": [],
        "diff": {
            "prepared": f"-team/api:old {other_image.digest}\n team/api:new {image.digest} (matches *:new)\n"
            f"{freed} bytes are only in deleted images.\n"
        },
    }
    assert json.loads(json.dumps(result)) == result
    assert tags_in(server) == {"new"}
    assert set(server.blobs["team/api"]) == set(image.blobs)


def test_check_mode_reports_prune_without_change(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, new=image, old=other_image)
    server.requests.clear()

    planned = prune_registry(registry, collector, check_mode=True, keep=["*:new"])

    assert server.received("PUT", "POST", "PATCH", "DELETE") == []
    assert planned["collected"] == {}
    done = prune_registry(registry, collector, keep=["*:new"])
    assert {**planned, "collected": {}} == {**done, "collected": {}}


def test_second_prune_collects_and_changes_nothing(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, new=image, old=other_image)
    prune_registry(registry, collector, keep=["*:new"])

    result = prune_registry(registry, collector, keep=["*:new"])

    assert result["changed"] is False
    assert result["images"] == []
    assert collector.runs == 2


def test_prune_without_deletion_frees_overwritten_images(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    fill(server, new=image)
    fill(server, new=other_image)

    result = prune_registry(registry, collector, keep=["*"])

    assert result["changed"] is True
    assert result["images"] == []
    assert result["collected"]["after"] < result["collected"]["before"]


@pytest.mark.parametrize("kind", list(registry_deletion.IMPLEMENTATIONS))
def test_prune_without_collection_deletes_tags_only(
    server: RegistryServer, registry: Registry, image: Image, kind: str
) -> None:
    server.delete = registry_deletion.IMPLEMENTATIONS[kind]
    fill(server, new=image, old=image)

    result = prune_registry(registry, keep=["*:new"], collect=False)

    assert result["changed"] is True
    assert [entry["content"] for entry in result["images"]] == ["kept"]
    assert result["images_space_reclaimed"] == 0
    assert result["collected"] == {}
    assert tags_in(server) == {"new"}


@REGISTRIES
def test_deleted_tag_leaves_other_tags_of_image(
    server: RegistryServer, registry: Registry, image: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    fill(server, new=image, old=image)

    prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new"}
    assert server.digest_of("team/api", "new") == image.digest


@REGISTRIES
def test_children_of_index_stay_without_own_tags(
    server: RegistryServer, registry: Registry, multi: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    child = make_image(layer("etc/motd", b"welcome"), layer("bin/app", b"amd64"), architecture="amd64")
    assert child.digest in multi.contents
    fill(server, new=multi, amd64=child)

    prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new"}
    for digest, content in multi.contents.items():
        stored = {
            **server.blobs["team/api"],
            **{name: value for name, (_media_type, value) in server.manifests["team/api"].items()},
        }
        assert stored[digest] == content


@REGISTRIES
def test_index_is_deleted_with_its_children(
    server: RegistryServer, registry: Registry, multi: Image, image: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    fill(server, new=image, old=multi)

    prune_registry(registry, collector, keep=["*:new"])

    assert set(server.manifests["team/api"]) == {"new", image.digest}
    assert set(server.blobs["team/api"]) == set(image.blobs)


@REGISTRIES
def test_child_that_other_index_or_tag_shares_stays(
    server: RegistryServer, registry: Registry, multi: Image, kind: str
) -> None:
    collector = FakeCollector(server, kind)
    shared = make_image(layer("etc/motd", b"welcome"), layer("bin/app", b"amd64"), architecture="amd64")
    assert shared.digest in multi.contents
    fill(server, new=make_index({"linux/amd64": shared}), old=multi)

    prune_registry(registry, collector, keep=["*:new"])

    assert tags_in(server) == {"new"}
    assert shared.digest in server.manifests["team/api"]
    assert set(shared.blobs) <= set(server.blobs["team/api"])


def test_signature_is_deleted_with_image(
    server: RegistryServer, registry: Registry, collector: FakeCollector, image: Image, other_image: Image
) -> None:
    signature = make_image(layer("sig", b"signed"))
    [tag] = [name for name in cosign_tags(image.digest) if name.endswith(".sig")]
    fill(server, new=other_image, old=image, **{tag: signature})

    result = prune_registry(registry, collector, keep=["*:new"])

    assert [entry["image"] for entry in result["images"]] == ["team/api:old", f"team/api:{tag}"]
    assert tags_in(server) == {"new"}


@pytest.mark.parametrize("host", ["registry.example.com", "my_registry.example.com"])
@pytest.mark.parametrize("repository", ["team/api", "{host}/team/api"])
def test_lock_file_keeps_its_images_with_and_without_host(
    server: RegistryServer,
    registry: Registry,
    collector: FakeCollector,
    image: Image,
    other_image: Image,
    tmp_path: Path,
    repository: str,
    host: str,
) -> None:
    repository = repository.format(host=host)
    lock = tmp_path / "images.lock.json"
    lock.write_text(json.dumps({f"{host}/team/api:new": image.digest}))
    server.fill(repository, "new", image)
    server.fill(repository, "old", other_image)

    result = prune_registry(registry, collector, keep_lock=[str(lock)])

    assert result["kept"][0]["reasons"] == [f"in the lock file {lock}"]
    assert tags_in(server, repository) == {"new"}


def test_prune_shows_collection_and_totals(
    server: RegistryServer,
    registry: Registry,
    image: Image,
    other_image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class SlowCollector(FakeCollector):
        def collect(self, timeout: float) -> Collection:
            shown.wait_for_last(r"collecting garbage \(\d s\)")
            return super().collect(timeout)

    shown = ShownTexts(monkeypatch)
    fill(server, new=image, old=other_image)
    collector = SlowCollector(server)
    freed = sum(len(other_image.contents[digest]) for digest in set(other_image.contents) - set(image.contents))

    prune_registry(registry, collector, check_mode=True, progress=shown.progress, keep=["*:new"])
    prune_registry(registry, collector, progress=shown.progress, keep=["*:new"])

    assert f"would delete 1 tag, {freed} bytes are only in deleted images; 1 kept" in shown.texts
    assert "collecting garbage (1 s)" in shown.texts
    assert shown.texts[-1] == f"deleted 1 tag, {freed} bytes reclaimed; 1 kept"
