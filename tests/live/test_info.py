# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_info`` on registries of several implementations, and on storage that was damaged on disk."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout
from cluster.media_types import INDEX, MANIFEST
from images.image import Image

from .conftest import Task
from .host_registries import IMPLEMENTATIONS, HostRegistry, host_registry, stored_bytes
from .image_tasks import push, push_entry

SOFTWARE = {
    "distribution-3": "distribution 3",
    "distribution-2.8": "distribution 2",
    "go-containerregistry": "go-containerregistry",
    "go-containerregistry with referrers": "go-containerregistry",
}
DISTRIBUTIONS = ["distribution-3", "distribution-2.8"]


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each implementation, with an image, an index and an artifact, and another tag of the image."""
    with host_registry(request.param, tmp_path_factory.mktemp("registry"), _pod(request.param)) as registry:
        for name in ("busybox", "multi", "artifact"):
            crane("push", images.ensure(name), f"{registry.address}/info/{name}:1")
        crane("tag", f"{registry.address}/info/busybox:1", "stable")
        yield registry


@pytest.fixture(params=DISTRIBUTIONS)
def distribution(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostRegistry]:
    """CNCF distribution 3 and 2.8, whose storage tests can damage."""
    with host_registry(request.param, tmp_path / "registry", f"damaged-{_pod(request.param)}") as registry:
        yield registry


def _pod(implementation: str) -> str:
    return f"info-{re.sub(r'[. ]', '-', implementation)}"


def crane(command: str, *arguments: str | Image) -> None:
    """Run crane; an image stands for its OCI layout."""
    texts = [str(each.layout) if isinstance(each, Image) else each for each in arguments]
    subprocess.run([str(layout.BIN / "crane"), "--insecure", command, *texts], check=True, capture_output=True)


def layers_of(image: Image) -> list[str]:
    """Return the digests of the layers of an image with one platform."""
    manifest = json.loads((image.layout / "blobs/sha256" / image.digest.partition(":")[2]).read_text())
    return [layer["digest"] for layer in manifest["layers"]]


def blob_file(registry: HostRegistry, digest: str) -> Path:
    """Return the file of a blob in the storage of distribution."""
    encoded = digest.partition(":")[2]
    return registry.storage / f"docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"


def entries_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of the images in a result by their names."""
    assert "msg" not in result, result["msg"]
    return {entry["name"]: entry for entry in result["images"]}


def test_info_lists_images_of_each_registry(task: Task, filled: HostRegistry) -> None:
    result = task("k8scr_info", verify="content", referrers=True, **filled.options)

    entries = entries_of(result)
    assert result["registry"]["software"] == SOFTWARE[filled.implementation]
    assert result["registry"]["referrers_api"] is filled.implementation.endswith("with referrers")
    assert result["totals"]["repositories"] == 3
    assert (result["incomplete"], result["missing"], result["changed"]) == ([], [], False)
    assert entries["info/busybox:1"]["tags"] == ["1", "stable"]
    for name in ("busybox", "multi", "artifact"):
        assert entries[f"info/{name}:1"]["digest"] == images.ensure(name).digest
    multi = entries["info/multi:1"]
    assert [each["platform"] for each in multi["platforms"]] == images.ensure("multi").platforms
    assert multi["media_type"] == INDEX


def test_sum_of_sizes_equals_storage(task: Task, distribution: HostRegistry) -> None:
    for name in ("busybox", "multi", "artifact", "debian"):
        push(task, images.ensure(name), f"info/{name}", **distribution.options)
    push(task, images.ensure("debian"), "info/other", **distribution.options)

    totals = task("k8scr_info", **distribution.options)["totals"]

    assert totals["bytes"] == stored_bytes(distribution.storage) > 0


def test_info_lists_more_tags_and_repositories_than_one_page(task: Task, filled: HostRegistry) -> None:
    import requests

    manifests = f"{filled.write_url}/v2/info/busybox/manifests"
    image = images.ensure("busybox")
    with requests.Session() as session:
        found = session.get(f"{manifests}/1", headers={"Accept": MANIFEST}, timeout=10)
        for number in range(1050):
            headers = {"Content-Type": found.headers["Content-Type"]}
            session.put(f"{manifests}/n{number}", found.content, headers=headers, timeout=10).raise_for_status()

    result = task("k8scr_info", repositories=["info/busybox"], verify="none", **filled.options)

    (entry,) = entries_of(result).values()
    assert set(entry["tags"]) == {"1", "stable", *(f"n{number}" for number in range(1050))}
    assert entry["digest"] == image.digest


def test_info_reports_blob_that_was_removed_on_disk(task: Task, distribution: HostRegistry) -> None:
    image = images.ensure("busybox")
    push(task, image, "info/app", **distribution.options)
    push(task, images.ensure("multi"), "info/other", **distribution.options)
    (lost, *_more) = layers_of(image)
    blob_file(distribution, lost).unlink()

    result = task("k8scr_info", verify="blobs", **distribution.options)

    (incomplete,) = result["incomplete"]
    assert (incomplete["name"], incomplete["missing"], incomplete["damaged"]) == ("info/app:1", [lost], [])
    assert {name: entry["complete"] for name, entry in entries_of(result).items()} == {
        "info/app:1": False,
        "info/other:1": True,
    }


def test_info_reports_blob_with_one_byte_changed_on_disk(task: Task, distribution: HostRegistry) -> None:
    image = images.ensure("busybox")
    push(task, image, "info/app", **distribution.options)
    (damaged, *_more) = layers_of(image)
    file = blob_file(distribution, damaged)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    assert task("k8scr_info", verify="blobs", **distribution.options)["incomplete"] == []
    (incomplete,) = task("k8scr_info", verify="content", **distribution.options)["incomplete"]
    assert (incomplete["missing"], incomplete["damaged"], incomplete["error"]) == ([], [damaged], None)


def test_info_reports_damaged_manifest_and_lists_other_images(task: Task, distribution: HostRegistry) -> None:
    push(task, images.ensure("busybox"), "info/app", **distribution.options)
    image = images.ensure("debian")
    push(task, image, "info/broken", **distribution.options)
    blob_file(distribution, image.digest).write_text("{}")

    result = task("k8scr_info", **distribution.options)

    assert entries_of(result)["info/app:1"]["complete"] is True
    (incomplete,) = result["incomplete"]
    assert incomplete["name"] == "info/broken:1"
    assert incomplete["error"]


def test_info_compares_registry_with_lock_file_of_push(task: Task, host: HostRegistry, tmp_path: Path) -> None:
    lock = str(tmp_path / "images.lock.json")
    entries = [push_entry(images.ensure(name), f"info/{name}") for name in ("busybox", "multi")]
    archive = {"source": f"docker-archive:{images.ensure('many').docker_archive}:localhost/team/api:1.0"}
    pushed = task("k8scr_push", images=[*entries, archive], lock=lock, **host.options)
    assert pushed["changed"], pushed.get("msg")

    assert task("k8scr_info", images=[], lock=lock, verify="blobs", **host.options)["missing"] == []
    push(task, images.ensure("debian"), "info/busybox", **host.options)
    (missing,) = task("k8scr_info", images=[], lock=lock, **host.options)["missing"]

    stored = images.ensure("debian").digest
    assert missing == {
        "name": "docker.io/info/busybox:1",
        "repository": "info/busybox",
        "digest": images.ensure("busybox").digest,
        "stored": stored,
        "reason": f"the registry has {stored} under this name",
        "used_by": [],
    }


def test_info_describes_registry_of_role(task: Task, repository: str) -> None:
    image = images.ensure("busybox")
    pushed = push(task, image, repository)
    assert pushed["changed"], pushed.get("msg")

    result = task("k8scr_info", repositories=[repository], labels=True, check_mode=True)

    assert entries_of(result)[f"{repository}:1"]["digest"] == image.digest
    assert (result["registry"]["software"], result["registry"]["read_only"]) == ("distribution 3", True)
    assert result["totals"]["capacity_source"] == "emptyDir"
