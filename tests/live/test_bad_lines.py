# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines to the API server that cut, stall and tarry, and what a reader at the registry sees meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
import requests
from cluster import layout

from .bad_line import BadLine, bad_line
from .conftest import MODULES, Task, wait_until
from .host_registries import HostRegistry, host_registry

MIB = 1 << 20
ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[BadLine]:
    """A line without a fault yet."""
    with bad_line(tmp_path) as line:
        yield line


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostRegistry]:
    """CNCF distribution 3, which keeps uploads."""
    with host_registry("distribution-3", tmp_path / "registry", "bad-lines") as registry:
        yield registry


@pytest.fixture(scope="module")
def image() -> images.Image:
    """An image of 64 MiB in two layers."""
    return images.ensure_random(64 * MIB, 2)


def push_options(host: HostRegistry, image: images.Image, repository: str) -> dict[str, Any]:
    source = {"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}
    return {"images": [source], **host.options}


def pull_options(host: HostRegistry, repository: str, folder: Path) -> dict[str, Any]:
    wanted = {"name": f"docker.io/{repository}:1", "dest": f"oci:{folder}"}
    return {"images": [wanted], **host.options}


def test_a_push_arrives_over_a_line_that_cuts_every_connection(
    task: Task, host: HostRegistry, image: images.Image, repository: str, line: BadLine
) -> None:
    line.have("limit_data", "upstream", bytes=12 * MIB)

    result = task("k8scr_push", **push_options(host, image, repository), kubeconfig=line.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None
    assert digest_at(host, repository) == image.digest


def test_layers_that_are_compressed_on_the_way_arrive_over_a_line_that_cuts_every_connection(
    task: Task, host: HostRegistry, repository: str, line: BadLine
) -> None:
    debian = images.ensure("debian")
    source = {"source": f"docker-archive:{debian.docker_archive}", "name": f"docker.io/{repository}:1"}
    line.have("limit_data", "upstream", bytes=24 * MIB)

    result = task("k8scr_push", images=[source], **host.options, kubeconfig=line.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None
    assert digest_at(host, repository) == result["images"][0]["digest"]


def test_a_pull_arrives_over_a_line_that_cuts_every_connection(
    task: Task, host: HostRegistry, image: images.Image, repository: str, line: BadLine, tmp_path: Path
) -> None:
    task("k8scr_push", **push_options(host, image, repository))
    line.have("limit_data", "downstream", bytes=12 * MIB)

    options = pull_options(host, repository, tmp_path / "pulled")
    result = task("k8scr_pull", **options, kubeconfig=line.kubeconfig)

    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert result["images"][0]["digest"] == image.digest
    assert not list((tmp_path / "pulled").rglob("*.partial"))


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_push_goes_on_after_a_silence(
    task: Task, host: HostRegistry, image: images.Image, repository: str, line: BadLine, stream: str
) -> None:
    fault = stalled(line, stream)

    options = {**push_options(host, image, repository), "bandwidth": "32M", "timeout": 2}
    result = task("k8scr_push", **options, kubeconfig=line.kubeconfig)

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert problem_of(host, repository) is None


def test_a_pull_goes_on_after_a_silence(
    task: Task, host: HostRegistry, image: images.Image, repository: str, line: BadLine, tmp_path: Path
) -> None:
    task("k8scr_push", **push_options(host, image, repository))
    fault = stalled(line, "downstream")

    options = {**pull_options(host, repository, tmp_path / "pulled"), "bandwidth": "32M", "timeout": 2}
    result = task("k8scr_pull", **options, kubeconfig=line.kubeconfig)

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["retries"]
    assert result["images"][0]["digest"] == image.digest


def stalled(line: BadLine, stream: str) -> threading.Thread:
    """Have the line fall silent after a second, for four."""

    def stall() -> None:
        time.sleep(1)
        silence = line.have("timeout", stream, timeout=0)
        time.sleep(4)
        line.mend(silence)

    thread = threading.Thread(target=stall)
    thread.start()
    return thread


def test_a_long_line_needs_no_retry(
    task: Task, host: HostRegistry, image: images.Image, repository: str, line: BadLine, tmp_path: Path
) -> None:
    for stream in ("upstream", "downstream"):
        line.have("latency", stream, latency=10)

    pushed = task("k8scr_push", **push_options(host, image, repository), kubeconfig=line.kubeconfig)
    options = pull_options(host, repository, tmp_path / "pulled")
    pulled = task("k8scr_pull", **options, kubeconfig=line.kubeconfig)

    assert (pushed["changed"], pulled["changed"]) == (True, True), (pushed.get("msg"), pulled.get("msg"))
    assert pulled["images"][0]["digest"] == image.digest
    assert pushed["retries"] == pulled["retries"] == []


def test_a_reader_never_sees_a_tag_whose_image_is_not_whole(
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
            except requests.ConnectionError:
                time.sleep(0.02)
                continue
            seen.update([digest] if digest else [])
            problems.extend([problem] if problem else [])

    def break_it() -> None:
        while not over.wait(1.5):
            host.stop(signal.SIGKILL)
            time.sleep(0.3)
            host.start()

    threads = [threading.Thread(target=act) for act in (read, break_it)]
    for thread in threads:
        thread.start()
    try:
        # The first two have blobs to send; then the tag moves to and fro.
        results = [
            task("k8scr_push", **push_options(host, pushed, repository), bandwidth="24M")
            for pushed in (image, other, image, other)
        ]
        wait_until(lambda: len(seen) == 2, "the reader saw both images", timeout=5)
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert all(result["changed"] for result in results), [result.get("msg") for result in results]
    assert any(result["retries"] for result in results)
    assert problems == []
    assert seen == {image.digest, other.digest}


def digest_at(host: HostRegistry, repository: str) -> str | None:
    """The digest that the tag has, asked of the registry itself."""
    answer = requests.head(f"http://{host.address}/v2/{repository}/manifests/1", headers=ACCEPT, timeout=5)
    return answer.headers.get("Docker-Content-Digest") if answer.ok else None


def problem_of(host: HostRegistry, repository: str) -> str | None:
    """What keeps the image with the tag from being pulled whole; nothing where there is no such tag."""
    url = f"http://{host.address}/v2/{repository}"
    answer = requests.get(f"{url}/manifests/1", headers=ACCEPT, timeout=5)
    if answer.status_code == 404:
        return None
    if not answer.ok:
        return f"manifest: {answer.status_code} {answer.text}"
    manifest = answer.json()
    for blob in (manifest["config"], *manifest["layers"]):
        found = requests.head(f"{url}/blobs/{blob['digest']}", timeout=5)
        if found.status_code != 200 or int(found.headers["Content-Length"]) != blob["size"]:
            return f"blob {blob['digest']}: {found.status_code} {found.headers}"
    return None


def parts_in(folder: Path) -> dict[Path, int]:
    """The files that are not whole yet, and how many bytes of each are there."""
    return {part: part.stat().st_size for part in folder.rglob(".*.partial")}


def kill_a_pull(options: dict[str, Any], enough: Callable[[], bool]) -> None:
    """Pull in a process of its own, which is killed when enough has come."""
    program = (
        "import json, sys; from importlib import import_module;"
        "from ansible.module_utils.testing import patch_module_args\n"
        f"with patch_module_args(json.load(sys.stdin)): import_module('{MODULES}.k8scr_pull').main()"
    )
    slowly = {**options, "bandwidth": "32M", "kubeconfig": str(layout.KUBECONFIG)}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(slowly).encode())
        process.stdin.close()
        try:
            wait_until(enough, "enough was pulled")
        finally:
            process.kill()


def test_a_pull_that_was_killed_goes_on_in_the_next_run(
    task: Task, host: HostRegistry, image: images.Image, repository: str, tmp_path: Path, moved: list[int]
) -> None:
    task("k8scr_push", **push_options(host, image, repository))
    options = pull_options(host, repository, tmp_path / "pulled")
    kill_a_pull(options, lambda: sum(parts_in(tmp_path / "pulled").values()) > 24 * MIB)
    parts = parts_in(tmp_path / "pulled")

    result = task("k8scr_pull", **options, bandwidth="1G")

    kept = sum(parts.values())
    assert kept > 16 * MIB
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == image.digest
    # Beside what was missing there is the config.
    assert sum(moved) - (64 * MIB - kept) < MIB
    assert not any(part.exists() for part in parts)


def test_a_pull_into_an_archive_that_was_killed_fetches_no_layer_twice_that_was_whole(
    task: Task, host: HostRegistry, image: images.Image, repository: str, tmp_path: Path, moved: list[int]
) -> None:
    task("k8scr_push", **push_options(host, image, repository))
    wanted = {"name": f"docker.io/{repository}:1", "dest": f"oci-archive:{tmp_path}/pulled.tar"}
    options = {"images": [wanted], "connections": 1, **host.options}
    # Room is made for one layer after the other: with that of the second one the first one is whole.
    kill_a_pull(options, lambda: sum(parts_in(tmp_path).values()) > 40 * MIB)

    result = task("k8scr_pull", **options, bandwidth="1G")

    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == image.digest
    assert 0 < sum(moved) < 33 * MIB
    assert list(tmp_path.glob("*.tar"))
    assert not parts_in(tmp_path)
