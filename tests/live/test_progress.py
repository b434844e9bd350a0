# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user sees on a terminal while tasks transfer images, and when."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import layout
from images.sizes import MIB
from unit.plugins.module_utils.support.terminal import Terminal, open_terminal

from .conftest import Task
from .guide_pages import read_guide
from .host_registries import HostRegistry, stored_bytes
from .layout_writer import LayoutWriter
from .test_secrets import TOKEN, kubeconfig

IMAGES = 6
LAYERS = 2
LAYER_SIZE = 4 * MIB
SIZE = IMAGES * LAYERS * LAYER_SIZE
BANDWIDTH = "8M"
FIRST_LINE = 3
"""Seconds from the first byte to the first line."""
STATUS = r"\d+/\d+ images, .* MiB"


@pytest.fixture
def release(tmp_path: Path, repository: str) -> Path:
    """A layout of images whose transfer takes a few seconds."""
    return write_release(tmp_path, repository)


def write_release(folder: Path, repository: str) -> Path:
    writer = LayoutWriter(folder / "release")
    for number in range(IMAGES):
        writer.add(f"docker.io/{repository}/app-{number}:1", LAYERS, LAYER_SIZE + 16 * number)
    writer.finish()
    return writer.folder


def run_guide(release: Path, options: Mapping[str, Any]) -> AbstractContextManager[Terminal]:
    """Run the playbook of the guide on a terminal, with the images of a test and further options of the push."""
    guide = read_guide("guide_progress.rst", {"/media/release": str(release)})
    folder = release.parent
    for name, text in guide.files.items():
        plays = yaml.safe_load(text)
        for play in plays:
            play["module_defaults"] = {"k8scr.core.k8scr_push": {"kubeconfig": str(layout.KUBECONFIG), **options}}
        (folder / name).write_text(yaml.safe_dump(plays))
    return open_terminal(guide.commands[0].split(), {"ANSIBLE_NOCOLOR": "1"}, columns=200, cwd=folder)


def test_push_shows_progress_from_first_to_last_byte(host: HostRegistry, release: Path, repository: str) -> None:
    with run_guide(release, {**host.options, "bandwidth": BANDWIDTH}) as terminal:
        terminal.wait_for(lambda: stored_bytes(host.storage) > 0, "the first byte", 30)
        first_byte = terminal.elapsed()
        terminal.wait_for(lambda: stored_bytes(host.storage) >= SIZE, "the last byte", 30)
        last_byte = terminal.elapsed()
        assert terminal.wait(30) == 0

    assert terminal.seconds_of("k8scr: ") <= first_byte + FIRST_LINE
    assert terminal.seconds_of(STATUS) < last_byte
    assert terminal.chunks[-1][0] > last_byte
    lines = terminal.screen_lines()
    assert not [line for line in lines if re.search(STATUS, line)]
    for number in range(IMAGES):
        assert len([line for line in lines if f"docker.io/{repository}/app-{number}:1 → sha256:" in line]) == 1


def test_push_shows_no_status_for_unchanged_images(task: Task, host: HostRegistry, release: Path) -> None:
    assert task("k8scr_push", images=[str(release)], **host.options)["changed"]

    with run_guide(release, host.options) as terminal:
        assert terminal.wait(30) == 0

    assert not re.search(STATUS + "|\x1b", terminal.output())
    assert f"{IMAGES} images unchanged" in terminal.output()


def test_push_shows_since_when_registry_is_stalled(host: HostRegistry, release: Path, repository: str) -> None:
    with run_guide(release, {**host.options, "bandwidth": BANDWIDTH}) as terminal:
        terminal.wait_for_text(STATUS, 30)
        os.kill(host.pid, signal.SIGSTOP)
        stopped = datetime.now()  # noqa: DTZ005 - users read the time of their zone
        try:
            terminal.wait_for_text(r"no data since [\d:]{8} \(\d+ s\)", 30)
        finally:
            os.kill(host.pid, signal.SIGCONT)
        assert terminal.wait(60) == 0

    since = re.search(rf"no data since ([\d:]{{8}}) .*waiting for .*{repository}/app-", terminal.output())
    assert since is not None
    shown = datetime.combine(stopped.date(), datetime.strptime(since[1], "%H:%M:%S").time())  # noqa: DTZ007
    # Buffers between the client and the registry accept a few more bytes.
    assert abs((shown - stopped).total_seconds()) < 8


def test_push_shows_reason_of_retries(host: HostRegistry, release: Path) -> None:
    with run_guide(release, {**host.options, "bandwidth": BANDWIDTH}) as terminal:
        terminal.wait_for_text(STATUS, 30)
        host.stop(signal.SIGKILL)
        try:
            terminal.wait_for_text(r"retrying \d+ [a-z]+: \S", 30)
        finally:
            host.start()
        assert terminal.wait(90) == 0

    assert re.search(r"retrying \d+ [a-z]+: the API server", terminal.output())


def test_push_shows_no_secrets(host: HostRegistry, tmp_path: Path, repository: str) -> None:
    release = write_release(tmp_path, f"{repository}/{TOKEN}")
    with run_guide(release, {**host.options, "bandwidth": BANDWIDTH, "kubeconfig": kubeconfig()}) as terminal:
        assert terminal.wait(60) == 0

    assert re.search(STATUS, terminal.output())
    assert f"{repository}/" in terminal.output()
    assert TOKEN not in terminal.output()
