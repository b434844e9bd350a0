# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transfers of large images while the registry, the API server or the client is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, cluster
from cluster.waiting import once
from images.sizes import MIB

from .conftest import Task
from .host_registries import HostRegistry, stored_bytes
from .image_tasks import pull, push, push_entry
from .separate_process import kill_when, sizes

LAYERS = 4
SIZE = 128 << 20
BANDWIDTH = "32M"


@pytest.fixture(scope="module")
def large() -> images.Image:
    """An image whose transfer takes a few seconds at the bandwidth of these tests."""
    return images.ensure_random(SIZE, LAYERS)


@pytest.fixture
def api_server() -> Iterator[None]:
    """Restore the API server after the test."""
    yield
    cluster.up()


def push_options(host: HostRegistry, image: images.Image, repository: str) -> dict[str, Any]:
    """Return the options of a push to ``host`` that takes a few seconds."""
    return {"images": [push_entry(image, repository)], "bandwidth": BANDWIDTH, **host.options}


def restart(host: HostRegistry, observe: Callable[[], object] = lambda: None) -> None:
    """Kill and start a registry. Call a function while it is stopped."""
    host.stop(signal.SIGKILL)
    time.sleep(1)
    observe()
    host.start()


def restart_api_server() -> None:
    cluster.stop("kube-apiserver", signal.SIGKILL)
    cluster.start("kube-apiserver")


def test_push_resumes_after_registry_restart(
    task: Task, host: HostRegistry, large: images.Image, repository: str, transferred: list[int]
) -> None:
    fault = once(lambda: sum(transferred) > SIZE // 3, lambda: restart(host))

    result = task("k8scr_push", **push_options(host, large, repository), chunk_size="1M")

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]
    # Each connection loses at most one chunk. Without chunk_size, it loses the bytes in the buffers between client and
    # registry.
    assert sum(transferred) - SIZE < SIZE * 0.05


def test_push_sends_only_lost_bytes_twice_after_registry_restart_at_full_speed(
    task: Task, host: HostRegistry, repository: str, transferred: list[int]
) -> None:
    size = 3 << 30
    large = images.ensure_random(size, 8)
    stored = stored_bytes(host.storage)
    lost: list[int] = []

    def observe() -> None:
        lost.append(sum(transferred) - (stored_bytes(host.storage) - stored))

    fault = once(lambda: sum(transferred) > size // 3, lambda: restart(host, observe))

    result = task("k8scr_push", **push_options(host, large, repository) | {"bandwidth": "1T"})

    fault.join()
    assert result["changed"], result.get("msg")
    assert any("the API server lost the connection to Pod" in retry["why"] for retry in result["retries"])
    assert sum(transferred) - size <= lost[0] + MIB
    # The lost bytes were in the buffers between client and registry. The kernel limits them, independent of the size of
    # the image.
    assert sum(transferred) - size < size * 0.05


@pytest.mark.usefixtures("api_server")
def test_push_resumes_after_api_server_restart(
    task: Task, host: HostRegistry, large: images.Image, repository: str, transferred: list[int]
) -> None:
    fault = once(lambda: sum(transferred) > SIZE // 3, restart_api_server)

    result = task("k8scr_push", **push_options(host, large, repository), chunk_size="1M")

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]
    # Each connection loses at most one chunk. Without chunk_size, it loses the bytes in the buffers between client and
    # registry.
    assert sum(transferred) - SIZE < SIZE * 0.05


@pytest.mark.usefixtures("api_server")
def test_pull_resumes_after_api_server_restart(
    task: Task, host: HostRegistry, large: images.Image, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    push(task, large, repository, **host.options)
    fault = once(lambda: sum(transferred) > SIZE // 3, restart_api_server)

    result = pull(task, repository, f"oci-archive:{tmp_path}/large.tar", bandwidth=BANDWIDTH, **host.options)

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]


def test_push_resumes_in_next_run_after_kill(
    task: Task, host: HostRegistry, large: images.Image, repository: str
) -> None:
    options = push_options(host, large, repository)
    kill_when(lambda: uploaded_to(host) > SIZE // 4, "a quarter of the image was uploaded", "k8scr_push", **options)
    uploaded = uploaded_to(host)
    position = audit.position()

    result = task("k8scr_push", **options)

    assert uploaded > SIZE // 4
    assert result["changed"], result.get("msg")
    audit.settle()
    requested = [event["requestURI"].partition("/proxy")[2] for event in audit.proxy_events(position)]
    opened = [uri for uri in requested if uri == f"/v2/{repository}/blobs/uploads/"]
    # The second run resumes the upload sessions of the first one and opens sessions for the remaining blobs only.
    assert len(opened) < LAYERS + 1


def uploaded_to(host: HostRegistry) -> int:
    """Return how many bytes the registry has of unfinished uploads."""
    return sum(sizes(host.storage.rglob("*/_uploads/*/data")).values())


def test_push_does_not_exceed_bandwidth(task: Task, host: HostRegistry, large: images.Image, repository: str) -> None:
    start = time.monotonic()

    result = task("k8scr_push", **push_options(host, large, repository))

    assert result["changed"], result.get("msg")
    assert time.monotonic() - start >= SIZE / (32 << 20)
