# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Planned changes of containerd's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node import toml_parser
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import FileChange
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.containerd_config import (
    ContainerdConfig,
    LocalContainerd,
    plan_config_path,
    plan_config_path_removal,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import remove_block

CRI = "io.containerd.grpc.v1.cri"
DEFAULT = f"version = 2\n[plugins.'{CRI}'.registry]\nconfig_path = ''\n"
SETTING = f'[plugins."{CRI}".registry]\n  config_path = "/etc/certs.d"\n'


class FakeContainerd:
    """The part of AnsibleModule that runs commands, with a containerd that prints its configuration."""

    def __init__(self, folder: Path) -> None:
        self.tmpdir = str(folder)
        self.missing = False
        self.reset = False
        self.modes: list[int] = []

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        if self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        if args[1:] == ["config", "default"]:
            return 0, DEFAULT, ""
        config = Path(args[2])
        self.modes.append(config.stat().st_mode & 0o777)
        try:
            parsed = tomllib.loads(config.read_text())
        except ValueError as error:
            return 1, "", f"failed to load TOML: {error}"
        registry = parsed.setdefault("plugins", {}).setdefault(CRI, {}).setdefault("registry", {})
        registry["config_path"] = "" if self.reset else registry.get("config_path", "")
        return 0, f'imports = ["{config}"]\n' + "".join(_lines(parsed, ())), ""


def _lines(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"[{'.'.join(repr(part) for part in path)}]\n"
    yield from (f"{key!r} = {value!r}\n" for key, value in table.items() if not isinstance(value, dict))
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _lines(value, (*path, key))


@pytest.fixture
def containerd(tmp_path: Path) -> FakeContainerd:
    """A containerd with its configuration in the folder of the test."""
    return FakeContainerd(tmp_path)


def _plan(containerd: FakeContainerd, text: str | None, state: str = "present") -> tuple[FileChange, str]:
    config = Path(containerd.tmpdir) / "config.toml"
    if text is not None:
        config.write_text(text)
    plan = plan_config_path if state == "present" else plan_config_path_removal
    return plan(ContainerdConfig(config, LocalContainerd("containerd", config, containerd)), "/etc/certs.d")


def test_plan_config_path_sets_folder_in_configuration_with_dotted_key(containerd: FakeContainerd) -> None:
    change, folder = _plan(containerd, f'version = 2\n[plugins."{CRI}"]\n  registry.config_path = ""\n')
    assert folder == "/etc/certs.d"
    assert tomllib.loads(change.after or "")["plugins"][CRI]["registry"] == {"config_path": "/etc/certs.d"}


def test_plan_config_path_uses_version_of_default_for_missing_file(containerd: FakeContainerd) -> None:
    change, _folder = _plan(containerd, None)
    assert tomllib.loads(change.after or "") == tomllib.loads(f"version = 2\n{SETTING}")


def test_plan_config_path_keeps_configured_folder(containerd: FakeContainerd) -> None:
    change, folder = _plan(containerd, f"version = 2\n{SETTING.replace('/etc/certs.d', '/a:/b')}")
    assert not change.changed
    assert folder == "/a"


def test_plan_config_path_quotes_error_of_containerd_for_invalid_file(containerd: FakeContainerd) -> None:
    with pytest.raises(SourceError, match=r"config\.toml is not changed: containerd cannot read it: failed to load"):
        _plan(containerd, "version = \n")


def test_plan_config_path_rejects_setting_that_imported_file_resets(containerd: FakeContainerd) -> None:
    containerd.reset = True
    with pytest.raises(InputError, match=r"containerd would not use /etc/certs\.d"):
        _plan(containerd, "version = 2\n[grpc]\naddress = ''\n")


def test_plan_config_path_rejects_change_that_containerd_cannot_read(containerd: FakeContainerd) -> None:
    # A parser reads this quoted key with an escape as the table of registries.
    text = f'version = 2\n[plugins."{CRI}"]\n  "regi\\u0073try".max = 1\n'
    with pytest.raises(InputError, match=r"config\.toml is not changed: it would no longer be valid: containerd"):
        _plan(containerd, text)


def test_plan_config_path_deletes_its_private_copies(containerd: FakeContainerd) -> None:
    _plan(containerd, "version = 2\n[grpc]\naddress = ''\n")
    assert set(containerd.modes) == {0o600}
    assert [file.name for file in Path(containerd.tmpdir).iterdir()] == ["config.toml"]


def test_plan_config_path_removal_accepts_invalid_configuration(containerd: FakeContainerd) -> None:
    change, _folder = _plan(containerd, "version = 2\n[grpc]\naddress = ''\n")
    assert change.after is not None
    removal, folder = _plan(containerd, f"{change.after}[grpc]\n", "absent")
    assert removal.after == "version = 2\n[grpc]\naddress = ''\n[grpc]\n"
    assert folder == "/etc/certs.d"


def test_plan_config_path_replaces_block_that_makes_configuration_invalid(containerd: FakeContainerd) -> None:
    valid = f'version = 2\n[plugins."{CRI}"]\n  registry.max = 1\n'
    change, _folder = _plan(containerd, f"{valid}# BEGIN k8scr.core\n{SETTING}# END k8scr.core\n")
    assert remove_block(change.after or "") == valid
    registry = tomllib.loads(change.after or "")["plugins"][CRI]["registry"]
    assert registry == {"max": 1, "config_path": "/etc/certs.d"}


@pytest.mark.parametrize("text", ["version = 2\n", "version = \n"])
def test_plan_config_path_removal_changes_no_configuration_without_block(containerd: FakeContainerd, text: str) -> None:
    change, folder = _plan(containerd, text, "absent")
    assert not change.changed
    assert folder == "/etc/certs.d"


def test_plan_config_path_removal_works_without_containerd(containerd: FakeContainerd) -> None:
    change, _folder = _plan(containerd, "version = 2\n[grpc]\naddress = ''\n")
    containerd.missing = True
    removal, folder = _plan(containerd, change.after, "absent")
    assert removal.after == remove_block(change.after or "")
    assert folder == "/etc/certs.d"


def test_plan_config_path_names_missing_program(containerd: FakeContainerd) -> None:
    containerd.missing = True
    with pytest.raises(SourceError, match=r"containerd cannot be run: No such file.*Install it"):
        _plan(containerd, "version = 2\n")


def test_plan_config_path_removal_names_missing_parser_without_containerd(
    containerd: FakeContainerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, _folder = _plan(containerd, "version = 2\n[grpc]\naddress = ''\n")
    containerd.missing = True
    monkeypatch.setattr(toml_parser, "_LOADS", None)
    with pytest.raises(InputError, match="Install tomli"):
        _plan(containerd, change.after, "absent")


def test_plan_config_path_rejects_damaged_block_in_either_state(containerd: FakeContainerd) -> None:
    for state in ("present", "absent"):
        with pytest.raises(InputError, match=r"config\.toml is damaged: line 2: .*has no END"):
            _plan(containerd, "version = 2\n# BEGIN k8scr.core\n[grpc]\n", state)
