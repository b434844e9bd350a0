# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large images over a way that breaks: each test says which fault, and real parts show it."""

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
from cluster import audit, cluster, layout

from .conftest import MODULES, Task, wait_until
from .host_registries import HostRegistry, host_registry

LAYERS = 4
SIZE = 128 << 20
GIBIBYTE = 1 << 30
BANDWIDTH = "32M"


@pytest.fixture(scope="module")
def large() -> images.Image:
    """An image whose transfer, at the bandwidth of these tests, takes a few seconds."""
    return images.ensure_random(SIZE, LAYERS)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostRegistry]:
    """CNCF distribution 3, which keeps uploads."""
    with host_registry("distribution-3", tmp_path, "faults") as registry:
        yield registry


@pytest.fixture
def api_server() -> Iterator[None]:
    """The API server is there again after the test."""
    yield
    cluster.up()


def once(happened: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something while the test goes on, when something else has happened."""

    def wait_and_act() -> None:
        wait_until(happened, "the transfer is under way")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def push_options(host: HostRegistry, image: images.Image, repository: str) -> dict[str, Any]:
    source = {"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}
    return {"images": [source], "bandwidth": BANDWIDTH, **host.options}


def restart(host: HostRegistry) -> None:
    host.stop(signal.SIGKILL)
    time.sleep(1)
    host.start()


def restart_api_server() -> None:
    cluster.stop("kube-apiserver", signal.SIGKILL)
    cluster.start("kube-apiserver")


def test_a_push_goes_on_after_the_registry_was_killed(
    task: Task, host: HostRegistry, large: images.Image, repository: str, moved: list[int]
) -> None:
    fault = once(lambda: sum(moved) > SIZE // 3, lambda: restart(host))

    result = task("k8scr_push", **push_options(host, large, repository), chunk_size="1M")

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]
    # One chunk of each connection; without chunks it is what was in the buffers on the way.
    assert sum(moved) - SIZE < SIZE * 0.05


def test_little_is_sent_twice_after_the_registry_was_killed_at_full_speed(
    task: Task, host: HostRegistry, repository: str, moved: list[int]
) -> None:
    large = images.ensure_random(GIBIBYTE, 8)

    fault = once(lambda: sum(moved) > GIBIBYTE // 3, lambda: restart(host))

    result = task("k8scr_push", **push_options(host, large, repository) | {"bandwidth": "1T"})

    fault.join()
    assert result["changed"], result.get("msg")
    assert any("the API server lost Pod" in retry["why"] for retry in result["retries"])
    assert sum(moved) - GIBIBYTE < GIBIBYTE * 0.05


@pytest.mark.usefixtures("api_server")
def test_a_push_goes_on_after_the_api_server_was_killed(
    task: Task, host: HostRegistry, large: images.Image, repository: str, moved: list[int]
) -> None:
    fault = once(lambda: sum(moved) > SIZE // 3, restart_api_server)

    result = task("k8scr_push", **push_options(host, large, repository), chunk_size="1M")

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]
    # One chunk of each connection; without chunks it is what was in the buffers on the way.
    assert sum(moved) - SIZE < SIZE * 0.05


@pytest.mark.usefixtures("api_server")
def test_a_pull_goes_on_after_the_api_server_was_killed(
    task: Task, host: HostRegistry, large: images.Image, repository: str, tmp_path: Path, moved: list[int]
) -> None:
    task("k8scr_push", **{**push_options(host, large, repository), "bandwidth": None})
    fault = once(lambda: sum(moved) > SIZE // 3, restart_api_server)

    wanted = [{"name": f"docker.io/{repository}:1", "dest": f"oci-archive:{tmp_path}/large.tar"}]
    result = task("k8scr_pull", images=wanted, bandwidth=BANDWIDTH, **host.options)

    fault.join()
    assert result["changed"], result.get("msg")
    assert result["images"][0]["digest"] == large.digest
    assert result["retries"]


def test_a_push_that_was_killed_goes_on_in_the_next_run(
    task: Task, host: HostRegistry, large: images.Image, repository: str
) -> None:
    options = {**push_options(host, large, repository), "kubeconfig": str(layout.KUBECONFIG)}
    program = (
        "import json, sys; from importlib import import_module;"
        "from ansible.module_utils.testing import patch_module_args\n"
        f"with patch_module_args(json.load(sys.stdin)): import_module('{MODULES}.k8scr_push').main()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, env=dict(os.environ)) as first:
        assert first.stdin is not None
        first.stdin.write(json.dumps(options).encode())
        first.stdin.close()
        try:
            wait_until(lambda: uploaded_to(host) > SIZE // 4, "a quarter of the image was uploaded")
        finally:
            first.kill()
    uploaded = uploaded_to(host)
    position = audit.position()

    result = task("k8scr_push", **push_options(host, large, repository))

    assert uploaded > SIZE // 4
    assert result["changed"], result.get("msg")
    audit.settle()
    asked = [event["requestURI"].partition("/proxy")[2] for event in audit.proxy_events(position)]
    opened = [uri for uri in asked if uri == f"/v2/{repository}/blobs/uploads/"]
    # The sessions of the first run are asked for, and few are opened: those of what it had not begun.
    assert len(opened) < LAYERS + 1


def uploaded_to(host: HostRegistry) -> int:
    """The bytes of blobs that the registry has of uploads that have not ended."""
    return sum(file.stat().st_size for file in host.storage.rglob("*/_uploads/*/data"))


def test_the_bandwidth_is_kept(task: Task, host: HostRegistry, large: images.Image, repository: str) -> None:
    start = time.monotonic()

    result = task("k8scr_push", **push_options(host, large, repository))

    assert result["changed"], result.get("msg")
    assert time.monotonic() - start >= SIZE / (32 << 20)
