# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push from a bastion survives a lost SSH connection, and ends there if the task is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import audit, layout
from cluster.waiting import wait_until
from images.sizes import MIB
from unit.plugins.module_utils.support.terminal import Terminal, open_terminal

from .host_registries import HostRegistry
from .image_tasks import push_entry
from .ssh_server import SshServer

SIZE = 64 * MIB
LAYERS = 2
SECONDS_OF_CUT = 60


class Bastion:
    """Pushes an image of 64 MiB in two layers with a playbook, from this machine over SSH.

    Args:
        folder: The folder for the files of the bastion.
        registry: The registry.
        repository: The repository.
    """

    def __init__(self, server: SshServer, folder: Path, registry: HostRegistry, repository: str) -> None:
        self.server = server
        self._folder = folder
        entry = push_entry(images.ensure_random(SIZE, LAYERS), repository)
        self._options = {"kubeconfig": str(layout.KUBECONFIG), "images": [entry], **registry.options}
        host = {
            "ansible_host": "engine",
            "ansible_user": "root",
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(folder / "tmp"),
            "ansible_async_dir": str(folder / "jobs"),
            "ansible_control_path_dir": str(folder / "cp"),
        }
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"bastion": host}}}))

    @contextmanager
    def push(self, bandwidth: int = 0) -> Iterator[Terminal]:
        """Start the playbook, with a limit of bytes per second."""
        task = {"k8scr.core.k8scr_push": {**self._options, "bandwidth": bandwidth}, "register": "pushed"}
        keep = {"copy": {"content": "{{ pushed }}", "dest": str(self._folder / "result")}, "delegate_to": "localhost"}
        environment = {"XDG_CACHE_HOME": str(self._folder / "cache")}
        play = {"hosts": "bastion", "gather_facts": False, "environment": environment}
        (self._folder / "play.yml").write_text(json.dumps([{**play, "tasks": [{"block": [task], "always": [keep]}]}]))
        command: list[str | Path] = ["ansible-playbook", "-i", self._folder / "hosts.json", self._folder / "play.yml"]
        path = f"{self.server.programs}{os.pathsep}{os.environ['PATH']}"
        with open_terminal(command, {"PATH": path, "ANSIBLE_NOCOLOR": "1"}) as terminal:
            yield terminal

    def result(self) -> dict[str, Any]:
        """Return the result of the finished task."""
        result: dict[str, Any] = json.loads((self._folder / "result").read_text())
        return result

    def modules(self) -> list[int]:
        """Return the process IDs of the modules that run."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_module(path)]

    def jobs(self) -> list[Path]:
        """Return the folders of the background jobs."""
        return list((self._folder / "jobs").iterdir())

    def _is_module(self, process: Path) -> bool:
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return words[0] == sys.executable.encode() and words[1].startswith(str(self._folder / "tmp").encode())


@pytest.fixture
def bastion(tmp_path: Path, host: HostRegistry, repository: str) -> Iterator[Bastion]:
    folder = tmp_path / "bastion"
    folder.mkdir()
    with SshServer(folder) as server:
        yield Bastion(server, folder, host, repository)


def test_push_continues_while_connection_is_lost(bastion: Bastion) -> None:
    with bastion.push(bandwidth=SIZE // (SECONDS_OF_CUT + 10)) as terminal:
        terminal.wait_for_text("MiB", 60)
        (module,) = bastion.modules()
        bastion.server.cut()
        time.sleep(SECONDS_OF_CUT)
        during = bastion.modules()
        bastion.server.start()
        status = terminal.wait(60)

    assert status == 0, terminal.output()
    assert during == [module]
    assert re.search(r"connection to bastion lost since \d\d:\d\d:\d\d \(\d+ s\)", terminal.output())
    assert bastion.result()["images"][0]["sent"]["bytes"] > SIZE
    assert not {"ansible_job_id", "finished", "results_file", "started"} & set(bastion.result())
    assert not bastion.jobs()


def test_interrupted_push_ends_on_host_and_next_one_resumes(bastion: Bastion, repository: str) -> None:
    with bastion.push(bandwidth=8 * MIB) as terminal:
        terminal.wait_for_text(r"[12]\d(\.\d)? of 64", 60)
        terminal.press_control_c()
        terminal.wait(15)
    wait_until(lambda: not bastion.modules(), "the module ends", 10)
    position = audit.position()

    with bastion.push() as terminal:
        status = terminal.wait(60)

    assert status == 0, terminal.output()
    audit.settle()
    requested = [event["requestURI"].partition("/proxy")[2] for event in audit.proxy_events(position)]
    # No layer was complete, so a run that does not resume opens a session for each one.
    assert requested.count(f"/v2/{repository}/blobs/uploads/") < LAYERS
    assert not bastion.jobs()


def test_killed_push_fails_with_reason(bastion: Bastion) -> None:
    with bastion.push(bandwidth=MIB) as terminal:
        terminal.wait_for_text("MiB", 60)
        (module,) = bastion.modules()
        os.kill(module, signal.SIGKILL)
        terminal.wait(30)

    assert bastion.result()["failed"]
    assert "k8scr_push ended on bastion without a result: signal 9 ended it" in bastion.result()["msg"]
    assert not bastion.jobs()
