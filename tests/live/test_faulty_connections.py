# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes and pulls over connections that are reset, stall or are slow, and the images that readers see meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
import requests
from cluster.media_types import MANIFEST
from cluster.waiting import once, wait_until
from images.sizes import MIB

from .conftest import Task
from .faulty_connection import FaultyConnection, faulty_connection
from .host_registries import HostRegistry
from .image_tasks import pull, pull_entry, push
from .separate_process import kill_when, sizes

ACCEPT = {"Accept": MANIFEST}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[FaultyConnection]:
    """A connection to the API server, at first without faults."""
    with faulty_connection(tmp_path) as connection:
        yield connection


@pytest.fixture(scope="module")
def image() -> images.Image:
    """An image of 64 MiB in two layers."""
    return images.ensure_random(64 * MIB, 2)


def test_push_succeeds_when_every_connection_is_reset(
    task: Task, host: HostRegistry, image: images.Image, repository: str, connection: FaultyConnection
) -> None:
    connection.add_fault("limit_data", "upstream", bytes=12 * MIB)

    result = push(task, image, repository, **host.options, kubeconfig=connection.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None
    assert digest_at(host, repository) == image.digest


def test_push_with_compression_succeeds_when_every_connection_is_reset(
    task: Task, host: HostRegistry, repository: str, connection: FaultyConnection
) -> None:
    source = f"docker-archive:{images.ensure('debian').docker_archive}"
    connection.add_fault("limit_data", "upstream", bytes=24 * MIB)

    result = push(task, source, repository, **host.options, kubeconfig=connection.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None
    assert digest_at(host, repository) == result["images"][0]["digest"]


def test_pull_succeeds_when_every_connection_is_reset(
    task: Task, host: HostRegistry, image: images.Image, repository: str, connection: FaultyConnection, tmp_path: Path
) -> None:
    push(task, image, repository, **host.options)
    connection.add_fault("limit_data", "downstream", bytes=12 * MIB)

    result = pull(task, repository, f"oci:{tmp_path}/pulled", **host.options, kubeconfig=connection.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert result["images"][0]["digest"] == image.digest
    assert not list((tmp_path / "pulled").rglob("*.partial"))


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_push_resumes_after_stalled_connection(
    task: Task,
    host: HostRegistry,
    image: images.Image,
    repository: str,
    connection: FaultyConnection,
    transferred: list[int],
    stream: str,
) -> None:
    fault = stall_later(connection, stream, transferred)

    result = push(task, image, repository, **stalled_options(host, connection))

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None


def test_pull_resumes_after_stalled_connection(
    task: Task,
    host: HostRegistry,
    image: images.Image,
    repository: str,
    connection: FaultyConnection,
    transferred: list[int],
    tmp_path: Path,
) -> None:
    push(task, image, repository, **host.options)
    fault = stall_later(connection, "downstream", transferred)

    result = pull(task, repository, f"oci:{tmp_path}/pulled", **stalled_options(host, connection))

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert result["images"][0]["digest"] == image.digest


def stalled_options(host: HostRegistry, connection: FaultyConnection) -> dict[str, Any]:
    """Return the options of a transfer that takes a few seconds, and times out before the end of a stall."""
    return {**host.options, "kubeconfig": connection.kubeconfig, "bandwidth": "32M", "timeout": 2}


def stall_later(connection: FaultyConnection, stream: str, transferred: list[int]) -> threading.Thread:
    """Stall the connection for four seconds after a quarter of the image."""

    def stall() -> None:
        fault = connection.add_fault("timeout", stream, timeout=0)
        time.sleep(4)
        connection.remove_fault(fault)

    return once(lambda: sum(transferred) > 16 * MIB, stall)


def test_push_and_pull_do_not_time_out_with_high_latency(
    task: Task, host: HostRegistry, image: images.Image, repository: str, connection: FaultyConnection, tmp_path: Path
) -> None:
    for stream in ("upstream", "downstream"):
        connection.add_fault("latency", stream, latency=10)
    options = {**host.options, "kubeconfig": connection.kubeconfig}

    pushed = push(task, image, repository, **options)
    pulled = pull(task, repository, f"oci:{tmp_path}/pulled", **options)

    assert (pushed["changed"], pulled["changed"]) == (True, True), (pushed.get("msg"), pulled.get("msg"))
    assert pulled["images"][0]["digest"] == image.digest
    # The API server may lose an idle connection to the Pod, which is unrelated to the latency.
    retries = pushed["retries"] + pulled["retries"]
    assert all("the API server lost the connection to Pod" in retry["why"] for retry in retries), retries


def test_tag_never_refers_to_incomplete_image_while_registry_restarts(
    task: Task, host: HostRegistry, image: images.Image, repository: str
) -> None:
    other = images.ensure_random(64 * MIB, 2, seed=1)
    over = threading.Event()
    seen: set[str] = set()
    problems: list[str] = []

    def read() -> None:
        while not over.is_set():
            try:
                problem, digest = problem_of(host, repository), digest_at(host, repository)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                time.sleep(0.02)
                continue
            seen.update([digest] if digest else [])
            problems.extend([problem] if problem else [])

    def restart() -> None:
        # The interval grows, so that slow pushes succeed too.
        interval = 1.5
        while not over.wait(interval):
            host.stop(signal.SIGKILL)
            time.sleep(0.3)
            host.start()
            interval *= 1.25

    threads = [threading.Thread(target=act) for act in (read, restart)]
    for thread in threads:
        thread.start()
    try:
        # The first two pushes upload blobs; the other two only move the tag.
        results = [
            push(task, pushed, repository, **host.options, bandwidth="24M") for pushed in (image, other, image, other)
        ]
        wait_until(lambda: len(seen) == 2, "the reader saw both images")
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert all(result["changed"] for result in results), [result.get("msg") for result in results]
    assert any(result["retries"] for result in results)
    assert problems == []
    assert seen == {image.digest, other.digest}


def digest_at(host: HostRegistry, repository: str) -> str | None:
    """Return the digest of the tag, as the registry itself reports it."""
    response = requests.head(f"http://{host.address}/v2/{repository}/manifests/1", headers=ACCEPT, timeout=60)
    return response.headers.get("Docker-Content-Digest") if response.ok else None


def problem_of(host: HostRegistry, repository: str) -> str | None:
    """Return why the tagged image cannot be pulled completely, or None if it can or if the tag is missing."""
    url = f"http://{host.address}/v2/{repository}"
    response = requests.get(f"{url}/manifests/1", headers=ACCEPT, timeout=60)
    if response.status_code == 404:
        return None
    if not response.ok:
        return f"manifest: {response.status_code} {response.text}"
    manifest = response.json()
    for blob in (manifest["config"], *manifest["layers"]):
        found = requests.head(f"{url}/blobs/{blob['digest']}", timeout=60)
        if found.status_code != 200 or int(found.headers["Content-Length"]) != blob["size"]:
            return f"blob {blob['digest']}: {found.status_code} {found.headers}"
    return None


def partial_files(folder: Path) -> dict[Path, int]:
    """Return the partial files in a folder and their sizes."""
    return sizes(folder.rglob(".*.partial"))


def test_pull_resumes_in_next_run_after_kill(
    task: Task, host: HostRegistry, image: images.Image, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    push(task, image, repository, **host.options)
    options = {"images": [pull_entry(repository, f"oci:{tmp_path}/pulled")], **host.options}
    kill_when(
        lambda: sum(partial_files(tmp_path / "pulled").values()) > 24 * MIB,
        "the pull downloaded 24 MiB",
        "k8scr_pull",
        **options,
        bandwidth="8M",
    )
    partial = partial_files(tmp_path / "pulled")

    result = task("k8scr_pull", **options, bandwidth="1G")

    kept = sum(partial.values())
    assert kept > 16 * MIB
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == image.digest
    # The config is downloaded besides the missing bytes.
    assert sum(transferred) - (64 * MIB - kept) < MIB
    assert not any(file.exists() for file in partial)


def test_pull_to_archive_downloads_no_complete_layer_again_after_kill(
    task: Task, host: HostRegistry, image: images.Image, repository: str, tmp_path: Path, transferred: list[int]
) -> None:
    push(task, image, repository, **host.options)
    entry = pull_entry(repository, f"oci-archive:{tmp_path}/pulled.tar")
    options = {"images": [entry], "connections": 1, **host.options}
    # The archive grows layer by layer: once it has space for the second one, the first one is complete.
    kill_when(
        lambda: sum(partial_files(tmp_path).values()) > 40 * MIB,
        "the pull downloaded the first layer",
        "k8scr_pull",
        **options,
        bandwidth="8M",
    )

    result = task("k8scr_pull", **options, bandwidth="1G")

    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == image.digest
    assert 0 < sum(transferred) < 33 * MIB
    assert list(tmp_path.glob("*.tar"))
    assert not partial_files(tmp_path)
