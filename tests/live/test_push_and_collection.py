# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes during distribution's own garbage collection, and to its full storage."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cluster.waiting import once
from images.sizes import MIB

from .conftest import Task
from .host_registries import HostRegistry, host_registry, stored_bytes
from .image_tasks import pull, push
from .layout_writer import LayoutWriter

DISTRIBUTIONS = {"distribution-3": ["--delete-untagged"], "distribution-2.8": []}
"""The versions, with the options of their garbage collection. 2.8 would delete the children of indexes with tags."""
_SIZE = 8 * MIB
_DISK = 24 * MIB


@pytest.fixture(params=DISTRIBUTIONS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry of each version of distribution."""
    with host_registry(request.param, tmp_path / "registry", re.sub(r"[. ]", "-", request.param)) as registry:
        yield registry


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory for the storage of a registry."""
    folder = tmp_path / "registry" / "storage"
    folder.mkdir(parents=True)
    _mount(folder, "--types", "tmpfs", "--options", f"size={_DISK}", "k8scr-live")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(folder: Path, *arguments: str) -> None:
    subprocess.run(["mount", *arguments, str(folder)], check=True)


def layout(folder: Path) -> str:
    """Write a layout with the images ``old`` and ``new``, which share their first layer. Return its location."""
    writer = LayoutWriter(folder)
    writer.add("old", 1, _SIZE)
    writer.add("new", 2, _SIZE)
    return writer.finish()


def test_push_completes_although_garbage_collection_deletes_found_blobs(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    source = layout(tmp_path / "layout")
    old = task(
        "k8scr_push", images=[{"source": f"{source}:old", "name": f"x.example/{repository}:old"}], **host.options
    )
    (deleted,) = old["images"]
    path = f"{host.write_url}/v2/{repository}/manifests/{deleted['digest']}"
    assert requests.delete(path, timeout=10).status_code == 202
    uploads = host.storage / f"docker/registry/v2/repositories/{repository}/_uploads"

    collection = once(
        lambda: any(file.stat().st_size > MIB for file in uploads.glob("*/data")),
        lambda: host.collect_garbage(*DISTRIBUTIONS[host.implementation]),
    )
    result = push(task, f"{source}:new", repository, bandwidth=str(4 * MIB), **host.options)
    collection.join()

    (pushed,) = result["images"]
    assert pushed["changed"], result.get("msg")
    # The plan found the first layer, and the collection deleted it.
    assert pushed["sent"]["blobs"] == 3
    assert any(entry["what"].startswith("image ") for entry in result["retries"])
    assert pull(task, repository, f"oci:{tmp_path}/pulled", **host.options)["changed"]


def test_push_waits_for_garbage_collection(task: Task, host: HostRegistry, repository: str, tmp_path: Path) -> None:
    source = layout(tmp_path / "layout")
    # The collection of a registry that never had an image fails.
    push(task, f"{source}:old", f"{repository}/old", **host.options)
    host.stop()
    host.start_during_collection()
    finished = threading.Timer(3, host.collect_garbage)
    finished.start()

    result = task(
        "k8scr_push", images=[{"source": f"{source}:new", "name": f"x.example/{repository}:1"}], **host.options
    )
    finished.join()

    assert result["changed"], result.get("msg")
    assert any("garbage collection is running" in entry["why"] for entry in result["retries"])


def test_push_fails_during_garbage_collection_after_retry_timeout(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    source = layout(tmp_path / "layout")
    host.stop()
    host.start_during_collection()

    failed = push(task, f"{source}:new", repository, retry_timeout=2, **host.options)
    host.stop()
    host.start()
    again = task(
        "k8scr_push", images=[{"source": f"{source}:new", "name": f"x.example/{repository}:1"}], **host.options
    )

    assert failed["failed"]
    assert "garbage collection is running in the registry" in failed["msg"]
    assert again["changed"], again.get("msg")


def test_image_by_digest_survives_garbage_collection(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    writer.add("app", 2, MIB)
    source, digest = writer.finish(), str(writer.entries[0]["digest"])
    image = {"source": f"{source}:app", "name": f"x.example/{repository}@{digest}"}

    first = task("k8scr_push", images=[image], **host.options)
    host.collect_garbage(*DISTRIBUTIONS[host.implementation])
    second = task("k8scr_push", images=[image], **host.options)

    assert first["images"][0]["tag"] is None
    assert (first["changed"], second["changed"]) == (True, False)
    assert pull(task, repository, f"oci:{tmp_path}/pulled:app", digest, **host.options)["changed"]


@pytest.mark.parametrize("implementation", DISTRIBUTIONS)
def test_push_names_full_storage_and_succeeds_with_more_space(
    task: Task, disk: Path, repository: str, tmp_path: Path, implementation: str
) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    writer.add("app", 4, _SIZE)
    source = f"{writer.finish()}:app"
    pod = f"full-{re.sub('[.]', '-', implementation)}"
    with host_registry(implementation, tmp_path / "registry", pod) as host:
        began = time.monotonic()
        failed = push(task, source, repository, **host.options)
        seconds = time.monotonic() - began
        left = stored_bytes(disk) - stored_bytes(disk / "docker/registry/v2/blobs")
        _mount(disk, "--options", f"remount,size={8 * _SIZE}")
        again = push(task, source, repository, **host.options)

        assert failed["failed"]
        assert "no space left on device" in failed["msg"]
        assert "The registry's storage is full; delete images with k8scr_prune" in failed["msg"]
        assert seconds < 30
        # distribution 2.8 rejects all requests to an upload that failed, so its data stays.
        assert left == 0 or implementation == "distribution-2.8"
        assert again["changed"], again.get("msg")
        assert pull(task, repository, f"oci:{tmp_path}/pulled", **host.options)["changed"]
