# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests on the cluster: the registry, the modules, and access for other registry clients."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.bandwidth import Bandwidth
from cluster import layout

from .host_registries import HostRegistry, host_registry
from .registry_role import deploy

MODULES = "ansible_collections.k8scr.core.plugins.modules"
Task = Callable[..., dict[str, Any]]
_WITHOUT_CLUSTER = ("k8scr_bundle",)


@pytest.fixture(scope="session")
def registry() -> str:
    """The name of the Pod of the role's registry, in the namespace k8scr."""
    deploy(registry_lose_images=True)
    return "k8scr-0"


@pytest.fixture(scope="module", autouse=True)
def shared_registry(request: pytest.FixtureRequest) -> None:
    """Deploy the registry for all files of tests without registries of their own."""
    if not request.node.get_closest_marker("own_registries"):
        request.getfixturevalue("registry")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start with an empty cache, so that pushes upload blobs and do not mount those of other tests and runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def task(capsys: pytest.CaptureFixture[str]) -> Task:
    """Runs a module with options, by default as the administrator, and returns its result."""

    def run(module: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        cluster = {} if module in _WITHOUT_CLUSTER else {"kubeconfig": str(layout.KUBECONFIG)}
        arguments = {**cluster, "_ansible_check_mode": check_mode, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            import_module(f"{MODULES}.{module}").main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


@pytest.fixture
def transferred(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all pieces of bodies that tasks with a bandwidth transfer, repeated pieces included."""
    sizes: list[int] = []
    wait_for_slot = Bandwidth._wait_for_slot

    def record(self: Bandwidth, size: int) -> None:
        sizes.append(size)
        wait_for_slot(self, size)

    monkeypatch.setattr(Bandwidth, "_wait_for_slot", record)
    return sizes


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostRegistry]:
    """CNCF distribution 3, which keeps upload sessions; its images are deleted after the test."""
    with host_registry("distribution-3", tmp_path / "registry", "distribution") as registry:
        yield registry


@pytest.fixture
def repository() -> str:
    """The name of a repository that does not exist yet."""
    return f"live/{secrets.token_hex(6)}"


@pytest.fixture
def address(registry: str) -> Iterator[str]:
    """A local address that forwards to the registry's read-only port, for clients without API server access."""
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
