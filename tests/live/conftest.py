# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests on the cluster share: the registry, the modules, and real clients that look from the other side."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.bandwidth import Bandwidth
from cluster import layout

from .registry_role import deploy

MODULES = "ansible_collections.k8scr.core.plugins.modules"
Task = Callable[..., dict[str, Any]]


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator; what it printed comes back."""
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", *arguments]
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def wait_until(happened: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Wait for something that happens soon.

    Args:
        happened: Returns whether it happened.
        what: The condition, for the message.
        timeout: Seconds to wait.

    Raises:
        AssertionError: It did not happen in time.
    """
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"timed out after {timeout:g} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session", autouse=True)
def registry() -> str:
    """The registry that the role deploys: the name of its Pod, in the namespace k8scr."""
    deploy(registry_lose_images=True)
    return "k8scr-0"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests and other runs pushed is not remembered: no blob is mounted that a test wants to see sent."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def task(capsys: pytest.CaptureFixture[str]) -> Task:
    """Runs a module with options, as the administrator if they do not say who, and returns its result."""

    def run(module: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"kubeconfig": str(layout.KUBECONFIG), "_ansible_check_mode": check_mode, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            import_module(f"{MODULES}.{module}").main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all parts of bodies that are moved by tasks with a bandwidth, each time that they are."""
    sizes: list[int] = []
    take_turn = Bandwidth._take_turn

    def note(self: Bandwidth, size: int) -> None:
        sizes.append(size)
        take_turn(self, size)

    monkeypatch.setattr(Bandwidth, "_take_turn", note)
    return sizes


@pytest.fixture
def repository() -> str:
    """A repository that is not there yet."""
    return f"live/{secrets.token_hex(6)}"


@pytest.fixture
def address(registry: str) -> Iterator[str]:
    """The registry's read-only port at a port of this machine, for clients that do not use the API server."""
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", "--namespace=k8scr"]
    command += ["port-forward", f"pod/{registry}", ":5001"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert port is not None
            yield f"127.0.0.1:{port[1]}"
        finally:
            forward.terminate()
