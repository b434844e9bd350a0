# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_push`` compares the missing bytes with the free space of the registry, before it uploads any."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import push_images, space_check
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.capacity import Capacity
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import Inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory_reader import take_inventory
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.space import SpaceCheck
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_docker_archive, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.settings import push_settings

MODES = pytest.mark.parametrize("check_mode", [False, True])
_UPLOADS = ("POST", "PATCH", "PUT")


@dataclass
class Task:
    """A task that pushes to a storage with a capacity.

    Attributes:
        counted: The number of times that the bytes of the registry were counted.
        warnings: The warnings that the task showed.
    """

    registry: Registry
    folder: Path
    capacity: Capacity | ApiServerError = field(default_factory=lambda: Capacity(1 << 30, "emptyDir"))
    counted: int = 0
    warnings: list[str] = field(default_factory=list)

    def push(self, *sources: str, required: bool, check_mode: bool = False) -> dict[str, Any]:
        """Push images, and return the result."""
        settings = push_settings(*sources, require_space=required)
        space = SpaceCheck(settings.require_space, self._capacity, self._inventory, self.warnings.append)
        with closing(Upstreams(settings.sources.upstreams, 1, timeout=10.0, retry_timeout=8.0)) as upstreams:
            return push_images(settings, check_mode, self.registry, self.folder, upstreams, Listener(), space)

    def _capacity(self) -> Capacity:
        if isinstance(self.capacity, ApiServerError):
            raise self.capacity
        return self.capacity

    def _inventory(self) -> Inventory:
        self.counted += 1
        return take_inventory(self.registry, 1)


@pytest.fixture
def task(registry: Registry, tmp_path: Path) -> Task:
    """A task for the registry of the test."""
    return Task(registry, tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path, image: Image) -> str:
    """A layout with ``image`` as app:1."""
    write_layout(tmp_path / "layout", {"app:1": image})
    return f"oci:{tmp_path / 'layout'}"


@pytest.fixture
def unlike() -> Image:
    """An image without common content with ``image``."""
    return make_image(layer("bin/other", b"another program"))


@MODES
def test_push_fails_before_upload_if_required_space_is_missing(
    task: Task, server: RegistryServer, source: str, image: Image, unlike: Image, check_mode: bool
) -> None:
    server.fill("other", "1", unlike)
    task.capacity = Capacity(unlike.size + image.size - 1, "memory")

    result = task.push(source, required=True, check_mode=check_mode)

    assert result["failed"] is True
    assert result["changed"] is False
    assert result["msg"] == (
        "1 of 1 images failed.\ndocker.io/library/app:1: the registry has too little space: the images need"
        f" {image.size} bytes, and at most {image.size - 1} bytes are free, because its storage (memory) has"
        f" {task.capacity.bytes} bytes, and images use {unlike.size} bytes."
        " Delete images with k8scr_prune, or use a larger volume."
    )
    assert server.received(*_UPLOADS) == []


@MODES
def test_push_succeeds_if_required_space_is_just_enough(
    task: Task, server: RegistryServer, source: str, image: Image, unlike: Image, check_mode: bool
) -> None:
    server.fill("other", "1", unlike)
    task.capacity = Capacity(unlike.size + image.size, "memory")

    result = task.push(source, required=True, check_mode=check_mode)

    assert "failed" not in result
    assert result["changed"] is True
    assert task.warnings == []


@MODES
def test_push_warns_of_missing_space_and_uploads(
    task: Task, server: RegistryServer, source: str, image: Image, check_mode: bool
) -> None:
    task.capacity = Capacity(image.size - 1, "persistentVolumeClaim")

    result = task.push(source, required=False, check_mode=check_mode)

    assert "failed" not in result
    assert result["changed"] is True
    (warning,) = task.warnings
    assert "the registry has too little space" in warning
    assert "k8scr_prune" in warning
    assert bool(server.received(*_UPLOADS)) is not check_mode


@pytest.mark.parametrize(
    ("source_of_capacity", "reason"),
    [
        ("emptyDir", r"states no size \(emptyDir\). Set registry_storage_size_limit"),
        ("memory", r"states no size \(memory\). Set registry_storage_size_limit"),
        ("hostPath", r"states no size \(hostPath\). Set require_space: false"),
        ("unknown", r"the user may not get its Pod, or .* states no size \(unknown\). Set require_space: false"),
        ("persistentVolumeClaim", "may not read the PersistentVolumeClaim, or .* Allow get on"),
    ],
)
def test_push_requires_known_capacity(
    task: Task, server: RegistryServer, source: str, source_of_capacity: str, reason: str
) -> None:
    task.capacity = Capacity(None, source_of_capacity)

    required = task.push(source, required=True)
    assert server.received(*_UPLOADS) == []
    optional = task.push(source, required=False)

    assert required["failed"] is True
    assert re.search(f"the capacity of the registry's storage is unknown: .*{reason}", required["msg"])
    assert "failed" not in optional
    assert (task.warnings, task.counted) == ([], 0)


def test_push_of_existing_images_requires_no_space(task: Task, server: RegistryServer, source: str) -> None:
    task.push(source, required=False)
    task.capacity = Capacity(None, "hostPath")
    server.requests.clear()

    result = task.push(source, required=True)

    assert (result["changed"], "failed" in result) == (False, False)
    assert len(server.requests) == 1


def test_push_counts_images_only_for_more_than_one_percent_of_capacity(task: Task, source: str, image: Image) -> None:
    task.capacity = Capacity(image.size * 100, "emptyDir")
    task.push(source, required=False, check_mode=True)
    assert task.counted == 0

    task.push(source, required=True, check_mode=True)
    assert task.counted == 1

    task.capacity = Capacity(image.size * 100 - 1, "emptyDir")
    task.push(source, required=False, check_mode=True)
    assert task.counted == 2


def test_push_counts_shared_blobs_once(task: Task, tmp_path: Path, image: Image, other_image: Image) -> None:
    write_layout(tmp_path / "two", {"app:1": image, "api:1": other_image})
    shared = image.contents.keys() & other_image.contents.keys()
    needed = image.size + other_image.size - sum(len(image.contents[digest]) for digest in shared)
    assert shared
    task.capacity = Capacity(needed, "emptyDir")
    assert "failed" not in task.push(f"oci:{tmp_path}/two", required=True, check_mode=True)

    task.capacity = Capacity(needed - 1, "emptyDir")
    result = task.push(f"oci:{tmp_path}/two", required=True)

    count, reason, *names, _advice = result["msg"].split("\n")
    assert count == "2 of 2 images failed."
    assert reason.startswith("the registry has too little space: the images need")
    assert names == ["  docker.io/library/app:1", "  docker.io/library/api:1"]


def test_push_does_not_count_blobs_of_other_repositories(
    task: Task, server: RegistryServer, source: str, image: Image, other_image: Image
) -> None:
    server.fill("other", "1", other_image)
    shared = image.contents.keys() & other_image.contents.keys()
    needed = image.size - sum(len(image.contents[digest]) for digest in shared)

    task.capacity = Capacity(other_image.size + needed - 1, "emptyDir")
    assert "failed" in task.push(source, required=True, check_mode=True)

    task.capacity = Capacity(other_image.size + needed, "emptyDir")
    assert "failed" not in task.push(source, required=True)


def test_push_counts_layers_to_compress_uncompressed(task: Task, tmp_path: Path, image: Image) -> None:
    archive = write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])
    task.capacity = Capacity(sum(map(len, image.files)), "emptyDir")

    result = task.push(f"docker-archive:{archive}", required=True)

    assert "the images need up to " in result["msg"]


def test_push_keeps_results_of_other_images_if_space_is_missing(
    task: Task, tmp_path: Path, source: str, other_image: Image
) -> None:
    task.push(source, required=False)
    write_layout(tmp_path / "more", {"api:1": other_image})
    task.capacity = Capacity(1, "emptyDir")

    result = task.push(source, f"oci:{tmp_path}/more", "oci:/media/missing", required=True)

    existing, new, missing = result["images"]
    assert (existing["changed"], "error" in existing) == (False, False)
    assert "too little space" in new["error"]
    assert "does not exist" in missing["error"]


@pytest.mark.parametrize("required", [False, True])
def test_push_needs_pod_and_catalog_only_if_space_is_required(
    task: Task, server: RegistryServer, source: str, required: bool
) -> None:
    server.fail("GET", "/v2/_catalog", error_response(403, "DENIED", "no catalog"))
    task.capacity = Capacity(1, "emptyDir")
    assert ("failed" in task.push(source, required=required, check_mode=True)) is required

    task.capacity = ApiServerError("the Pod cannot be read", status=500)
    result = task.push(source, required=required, check_mode=True)

    assert ("failed" in result) is required
    assert ("the Pod cannot be read" in result.get("msg", "")) is required
    assert task.warnings == []


def test_space_check_of_missing_pod_knows_no_capacity(registry: ClusterRegistry) -> None:
    registry.api_server = Mock(**{"read_object.return_value": None})
    check = space_check(push_settings("app.tar", require_space=True), registry)

    assert check.required is True
    assert check.capacity() == Capacity()
    assert check.inventory().bytes == 0
