# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_image copies and deletes images in several registry implementations, and in the role's registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry

from .conftest import Task
from .host_registries import IMPLEMENTATIONS, HostRegistry, host_registry
from .image_tasks import pull, push
from .registry_role import deploy

CACHE = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory"}
"""The cache of distribution's default configuration."""
REGISTRIES = {
    **{name: (name, {}) for name in IMPLEMENTATIONS},
    **{f"{name} with cache": (name, CACHE) for name in ("distribution-2.8", "distribution-3")},
}
DISTRIBUTIONS = ["distribution-2.8", "distribution-3"]
FORBIDDING = {
    "REGISTRY_STORAGE_DELETE_ENABLED": ("false", "registry_delete: true"),
    "REGISTRY_STORAGE_MAINTENANCE_READONLY": ('{"enabled": true}', "is read-only: use the registry's write port"),
}
"""Variables with which distribution allows no deletion, with the value and the advice of the module."""


@pytest.fixture(scope="module", params=REGISTRIES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each implementation."""
    implementation, variables = REGISTRIES[request.param]
    folder = tmp_path_factory.mktemp("registry")
    with host_registry(implementation, folder, re.sub(r"[. ]", "-", request.param), variables=variables) as registry:
        yield registry


def copy(task: Task, name: str, source: str, **options: Any) -> dict[str, Any]:
    """Copy an image and return the result; the names have no host."""
    return task("k8scr_image", name=f"docker.io/{name}", **{"from": f"docker.io/{source}"}, **options)


def delete(task: Task, name: str, **options: Any) -> dict[str, Any]:
    """Delete an image and return the result; the name has no host."""
    return task("k8scr_image", name=f"docker.io/{name}", state="absent", **options)


def require_whole(task: Task, name: str, folder: Path, digest: str, **options: Any) -> None:
    """Pull an image with all its blobs, which are verified."""
    entry = {"name": f"docker.io/{name}", "dest": f"oci:{folder}"}
    result = task("k8scr_pull", images=[entry], **options)
    assert result["images"][0]["digest"] == digest, result.get("msg")


@pytest.mark.parametrize("name", ["multi", "artifact", "debian"])
def test_copy_to_other_repository_transfers_no_blob(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, transferred: list[int], name: str
) -> None:
    image, limited = images.ensure(name), {**host.options, "bandwidth": "100G"}
    push(task, image, repository, **host.options)

    planned = copy(task, f"{repository}/copy:2", f"{repository}:1", check_mode=True, **limited)
    copied = copy(task, f"{repository}/copy:2", f"{repository}:1", **limited)
    again = copy(task, f"{repository}/copy:2", f"{repository}:1", **limited)

    assert copied["changed"], copied.get("msg")
    assert planned["images"] == copied["images"]
    assert planned["diff"] == copied["diff"]
    # In go-containerregistry, all repositories share their blobs.
    action = "present" if host.implementation.startswith("go-containerregistry") else "mounted"
    assert {blob["action"] for blob in copied["images"][0]["blobs"]} == {action}
    assert transferred == []
    assert not again["changed"]
    require_whole(task, f"{repository}/copy:2", tmp_path / "layout", image.digest, **host.options)


def test_copy_moves_tag_in_repository(task: Task, host: HostRegistry, repository: str) -> None:
    first, second = images.ensure("busybox"), images.ensure("multi")
    push(task, first, repository, **host.options)
    copy(task, f"{repository}:stable", f"{repository}:1", **host.options)
    push(task, second, repository, **host.options)

    moved = copy(task, f"{repository}:stable", f"{repository}:1", **host.options)

    assert moved["diff"] == {
        "before": f"{repository}:stable {first.digest}\n",
        "after": f"{repository}:stable {second.digest} (only the manifest to copy)\n",
    }
    assert not copy(task, f"{repository}:stable", f"{repository}@{second.digest}", **host.options)["changed"]


def test_deletion_of_tag_leaves_other_tags_whole(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    image = images.ensure("multi")
    push(task, image, repository, **host.options)
    for tag in ("2", "3"):
        copy(task, f"{repository}:{tag}", f"{repository}:1", **host.options)

    planned = delete(task, f"{repository}:2", check_mode=True, **host.options)
    deleted = delete(task, f"{repository}:2", **host.options)
    again = delete(task, f"{repository}:2", **host.options)

    assert planned["changed"]
    assert planned["diff"] == deleted["diff"] == {"before": f"{repository}:2 {image.digest}\n", "after": ""}
    method = "replaced" if host.implementation == "distribution-2.8" else "tag"
    assert deleted["images"][0]["method"] == method, deleted.get("msg")
    assert not again["changed"]
    assert delete(task, f"{repository}:1", **host.options)["changed"]
    require_whole(task, f"{repository}:3", tmp_path / "tag", image.digest, **host.options)
    assert delete(task, f"{repository}:3", **host.options)["changed"]
    # The manifest stays until a garbage collection, for clients that know its digest.
    require_whole(task, f"{repository}@{image.digest}", tmp_path / "digest", image.digest, **host.options)


def test_deletion_by_digest_deletes_all_tags_and_no_platform(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    index, other = images.ensure("multi"), images.ensure("busybox")
    push(task, index, repository, **host.options)
    copy(task, f"{repository}:2", f"{repository}:1", **host.options)
    push(task, other, f"{repository}", **host.options)
    copy(task, f"{repository}:1", f"{repository}:2", **host.options)
    copy(task, f"{repository}:other", f"{repository}@{other.digest}", **host.options)
    pull(task, repository, f"oci:{tmp_path}/before", index.digest, **host.options)
    content = (tmp_path / "before/blobs" / index.digest.replace(":", "/")).read_bytes()
    platforms = [entry["digest"] for entry in json.loads(content)["manifests"]]

    refused = [delete(task, f"{repository}@{digest}", **host.options) for digest in platforms]
    deleted = delete(task, f"{repository}@{index.digest}", **host.options)
    again = delete(task, f"{repository}@{index.digest}", **host.options)

    assert refused
    assert all("the index with the tag 1, 2 refers to it" in result["msg"] for result in refused)
    assert deleted["images"][0]["tags"] == ["1", "2"], deleted.get("msg")
    assert not again["changed"]
    for tag in ("1", "2"):
        assert copy(task, f"{repository}:3", f"{repository}:{tag}", **host.options)["failed"]
    require_whole(task, f"{repository}:other", tmp_path / "other", other.digest, **host.options)
    assert all(delete(task, f"{repository}@{digest}", **host.options)["changed"] for digest in platforms)


def test_image_is_pushed_again_after_deletion(task: Task, host: HostRegistry, repository: str, tmp_path: Path) -> None:
    image = images.ensure("debian")
    for name in (f"{repository}:1", f"{repository}@{image.digest}"):
        push(task, image, repository, **host.options)
        assert delete(task, name, **host.options)["changed"]

    pushed = push(task, image, repository, **host.options)

    assert pushed["changed"]
    assert pushed["images"][0]["sent"]["blobs"] == 0
    require_whole(task, f"{repository}:1", tmp_path / "layout", image.digest, **host.options)


def test_interrupted_deletion_of_tag_is_finished_by_next_task(
    task: Task, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, request = images.ensure("busybox"), Registry.request
    sent: list[str] = []

    def interrupt(self: Registry, method: str, path: str, **options: Any) -> Any:
        if method == "DELETE" and "PUT" in sent:
            raise KeyboardInterrupt
        sent.append(method)
        return request(self, method, path, **options)

    with host_registry("distribution-2.8", tmp_path / "registry", "interrupted") as registry:
        push(task, image, repository, **registry.options)
        copy(task, f"{repository}:2", f"{repository}:1", **registry.options)
        monkeypatch.setattr(Registry, "request", interrupt)
        with pytest.raises(KeyboardInterrupt):
            delete(task, f"{repository}:1", **registry.options)
        monkeypatch.setattr(Registry, "request", request)
        registry.stop()
        registry.start()

        finished = delete(task, f"{repository}:1", **registry.options)
        again = delete(task, f"{repository}:1", **registry.options)
        require_whole(task, f"{repository}:2", tmp_path / "layout", image.digest, **registry.options)

    assert finished["images"][0]["method"] == "replaced", finished.get("msg")
    assert finished["images"][0]["digest_before"] != image.digest
    assert not again["changed"]


@pytest.mark.parametrize("variable", FORBIDDING)
@pytest.mark.parametrize("implementation", DISTRIBUTIONS)
def test_deletion_fails_without_change_if_registry_forbids_it(
    task: Task, repository: str, tmp_path: Path, implementation: str, variable: str
) -> None:
    image, (value, advice) = images.ensure("busybox"), FORBIDDING[variable]
    folder = tmp_path / "registry"
    pod = f"forbidding-{implementation.replace('.', '-')}"
    with host_registry(implementation, folder, pod) as registry:
        push(task, image, repository, **registry.options)
        registry.stop()
        variables = {variable: value}
        forbidding = HostRegistry(implementation, folder, pod, registry.port, variables)
        forbidding.start()
        try:
            names = (f"{repository}:1", f"{repository}@{image.digest}")
            results = [delete(task, name, **registry.options) for name in names]
            require_whole(task, f"{repository}:1", tmp_path / "layout", image.digest, **registry.options)
        finally:
            forbidding.stop()

    for result in results:
        assert result["failed"]
        assert advice in result["msg"]


@pytest.fixture
def deletion() -> Iterator[None]:
    """The role's registry, which allows deletion."""
    deploy(registry_lose_images=True, registry_delete=True)
    yield
    deploy(registry_lose_images=True)


@pytest.mark.usefixtures("deletion")
def test_images_of_role_are_copied_and_deleted(task: Task, repository: str, tmp_path: Path) -> None:
    image = images.ensure("multi")
    push(task, image, repository)

    copied = copy(task, f"{repository}/copy:1", f"{repository}:1")
    tag = delete(task, f"{repository}:1")
    manifest = delete(task, f"{repository}@{image.digest}")

    assert (copied["images"][0]["sent"]["blobs"], copied["images"][0]["mounted"]["blobs"] > 0) == (0, True)
    assert tag["images"][0]["method"] == "tag", tag.get("msg")
    assert manifest["images"][0]["method"] == "digest", manifest.get("msg")
    require_whole(task, f"{repository}/copy:1", tmp_path / "layout", image.digest)


def test_deletion_names_option_of_role(task: Task, repository: str) -> None:
    push(task, images.ensure("busybox"), repository)

    result = delete(task, f"{repository}:1")

    assert "the registry in Pod k8scr/k8scr-0 responded with 405" in result["msg"]
    assert "set registry_delete: true in the role registry" in result["msg"]


def test_deletion_on_read_only_port_names_write_port(task: Task, repository: str) -> None:
    push(task, images.ensure("busybox"), repository)

    result = delete(task, f"{repository}:1", registry_port=5001)

    assert "Use its write port (registry_port, 5000" in result["msg"]
