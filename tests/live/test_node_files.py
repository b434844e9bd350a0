# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd and Podman read random files of administrators before and after a change as the module intends."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import apply_changes
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_toml import configured_folders, parse_dump
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.containerd_config import (
    ContainerdConfig,
    LocalContainerd,
    plan_config_path,
    plan_config_path_removal,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror_plan import plan_mirror
from cluster import layout
from unit.plugins.module_utils.support.host import FakeFiles
from unit.plugins.module_utils.support.toml_files import TomlWriter, config_table, registries_table, registry_table

CONTAINERD = [layout.BIN / "containerd", Path("/usr/bin/containerd")]
"""containerd 2 of the cluster, and containerd 1 of Debian, which reads configurations of version 2 only."""
FOLDER = "/etc/certs.d"
MIRROR = Mirror("http", "[fd00:10:96::abcd]:5001", qualify=False, fallback=True)


class Commands:
    """The part of AnsibleModule that runs commands."""

    def __init__(self, folder: Path) -> None:
        self.tmpdir = str(folder)

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        environment = {**os.environ, **environ_update}
        result = subprocess.run(args, capture_output=True, text=True, env=environment, check=False)
        return result.returncode, result.stdout, result.stderr


def _configuration(seed: int, program: Path) -> str:
    """Return a random configuration that the program accepts."""
    random = Random(seed)
    table = config_table(random)
    if program != CONTAINERD[0]:
        table["version"] = 2
    # Random patterns of imports and names of folders are not valid.
    table = {key: value for key, value in table.items() if key not in ("imports", "other", "root")}
    return TomlWriter(random, inline="plugins" not in table).text(table)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("program", CONTAINERD, ids=["2", "1"])
def test_containerd_reads_random_configuration_with_only_config_path_changed(
    tmp_path: Path, program: Path, seed: int
) -> None:
    text = _configuration(seed, program)
    file = tmp_path / "config.toml"
    file.write_bytes(text.encode())
    config = ContainerdConfig(file, LocalContainerd(str(program), file, Commands(tmp_path)))
    before = config.dump(text)

    change, folder = plan_config_path(config, FOLDER)
    apply_changes([change], FakeFiles(), backup=False)

    after = config.dump(change.after)
    assert folder == FOLDER
    assert configured_folders(after) == [FOLDER]
    assert _without_config_path(after) == _without_config_path(before)
    assert plan_config_path(config, FOLDER)[0].changed is False
    apply_changes([plan_config_path_removal(config, FOLDER)[0]], FakeFiles(), backup=False)
    assert file.read_bytes() == text.encode()


def _without_config_path(dump: str) -> dict[str, Any]:
    parsed = parse_dump(dump)
    for version in (2, 3):
        _plugins, plugin, registry = registry_table(version)
        parsed["plugins"].get(plugin, {}).get(registry, {}).pop("config_path", None)
    return parsed


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory with a short path, as Podman requires."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("seed", range(5))
def test_podman_reads_random_registries_with_only_mirror_added(home: Path, seed: int) -> None:
    random = Random(seed)
    folder = home / ".config/containers/registries.conf.d"
    folder.mkdir(parents=True)
    for file in (folder.parent / "registries.conf", folder / "10.conf"):
        file.write_bytes(TomlWriter(random, inline=True).text(registries_table(random)).encode())
    before = _podman_registries(home)

    changes, _warnings = plan_mirror("containers", folder, ["docker.io", "ghcr.io"], MIRROR)
    apply_changes(changes, FakeFiles(), backup=False)

    after = _podman_registries(home)
    for upstream in ("docker.io", "ghcr.io"):
        existing = before.pop(upstream, None) or before.get("*.io") or {}
        entry = after.pop(upstream)
        assert entry["Mirrors"][0]["Location"] == MIRROR.address
        assert entry["Mirrors"][1:] == (existing.get("Mirrors") or [])
        assert entry["Location"] == (existing.get("Location") or upstream)
        assert entry["Insecure"] == existing.get("Insecure", False)
    assert after == before


def _podman_registries(home: Path) -> dict[str, Any]:
    command = ["podman", f"--root={home}/storage", f"--runroot={home}/run", "--storage-driver=vfs", "info"]
    environment = {**os.environ, "HOME": str(home)}
    output = subprocess.check_output([*command, "--format={{json .Registries}}"], env=environment)
    registries: dict[str, Any] = json.loads(output)
    return registries
