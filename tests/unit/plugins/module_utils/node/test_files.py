# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.files import (
    Change,
    carry_out,
    read_managed,
    read_text,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import with_block


class Keeper:
    """What AnsibleModule does with files; keeps the modes of those that it is given."""

    def __init__(self) -> None:
        self.modes: list[int] = []

    def backup_local(self, fn: str) -> str:
        copy = f"{fn}.backup"
        shutil.copyfile(fn, copy)
        self.modes.append(_mode(Path(copy)))
        shutil.copymode(fn, copy)
        return copy

    def atomic_move(self, src: str, dest: str) -> None:
        self.modes.append(_mode(Path(src)))
        if Path(dest).exists():
            shutil.copystat(dest, src)
        else:
            Path(src).chmod(0o644)
        self.modes.append(_mode(Path(src)))
        Path(src).replace(dest)


@pytest.fixture
def keeper() -> Keeper:
    """A module that replaces files and makes backups."""
    return Keeper()


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Path, Path]:
    """A symbolic link and its file, which belongs to an administrator."""
    file = tmp_path / "real/file"
    file.parent.mkdir()
    file.write_text("# mine\n")
    file.chmod(0o640)
    link = tmp_path / "etc/link"
    link.parent.mkdir()
    link.symlink_to("../real/file")
    return link, file


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_carry_out_never_lets_others_read_a_new_private_file(tmp_path: Path, keeper: Keeper) -> None:
    file = tmp_path / "registries.yaml"
    carry_out([Change(file, None, "password", mode=0o600)], keeper, backup=True)
    assert keeper.modes == [0o600, 0o600]
    assert _mode(file) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_carry_out_keeps_mode_of_existing_file(tmp_path: Path, keeper: Keeper, mode: int) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("old")
    file.chmod(mode)
    carry_out([Change(file, "old", "new", mode=0o600)], keeper, backup=False)
    assert keeper.modes == [0o600, mode]
    assert _mode(file) == mode


def test_carry_out_never_lets_others_read_a_backup_of_a_private_file(tmp_path: Path, keeper: Keeper) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("password")
    file.chmod(0o600)
    carry_out([Change(file, "password", "new")], keeper, backup=True)
    assert keeper.modes[0] == 0o600


def test_carry_out_leaves_no_new_file_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper()
    monkeypatch.setattr(keeper, "atomic_move", Mock(side_effect=RuntimeError))
    with pytest.raises(RuntimeError):
        carry_out([Change(tmp_path / "file", None, "new")], keeper, backup=True)
    assert list(tmp_path.iterdir()) == []


def test_carry_out_backs_up_each_change_of_file_with_lines_of_others(tmp_path: Path, keeper: Keeper) -> None:
    file = tmp_path / "file"
    ours = with_block(["mine\n"], 1, ["ours"])
    file.write_text(ours)
    assert carry_out([Change(file, ours, "mine\n")], keeper, backup=True) == [f"{file}.backup"]
    assert Path(f"{file}.backup").read_text() == ours


@pytest.mark.parametrize(
    ("before", "after"), [("mine\n", "mine\n"), (None, "ours"), (with_block([], 0, ["ours"]), "new")]
)
def test_carry_out_makes_no_backup_of_file_that_is_unchanged_or_ours(
    tmp_path: Path, keeper: Keeper, before: str | None, after: str
) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_text(before)
    assert carry_out([Change(file, before, after)], keeper, backup=True) == []


def test_carry_out_writes_to_the_file_of_a_link(linked: tuple[Path, Path], keeper: Keeper) -> None:
    link, file = linked
    (backup,) = carry_out([Change(link, read_text(link), "new\n")], keeper, backup=True)
    assert file.read_text() == "new\n"
    assert _mode(file) == 0o640
    assert link.is_symlink()
    assert Path(backup).read_text() == "# mine\n"


def test_carry_out_empties_the_file_of_a_link_that_has_only_ours(linked: tuple[Path, Path], keeper: Keeper) -> None:
    link, file = linked
    change = Change(link, "ours", None, whole=True, folder=True)
    carry_out([change], keeper, backup=True)
    assert link.is_symlink()
    assert file.read_text() == ""
    assert change.result["action"] == "updated"
    assert not Change(link, "", None, whole=True).changed


def test_read_text_refuses_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    with pytest.raises(SourceError, match=r"link is a symbolic link to .*/missing, which is not a file"):
        read_text(tmp_path / "link")


def test_read_text_refuses_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SourceError, match="leads in a circle"):
        read_text(tmp_path / "a")


def test_read_text_refuses_link_in_folder_that_all_users_can_write_to(linked: tuple[Path, Path]) -> None:
    link, _file = linked
    link.parent.chmod(0o1777)
    with pytest.raises(SourceError, match="another user could have made"):
        read_text(link)


def test_read_text_refuses_link_of_another_user(linked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    link, _file = linked
    mode, inode, device, count, _user, *others = link.lstat()
    monkeypatch.setattr(Path, "lstat", lambda _path: os.stat_result((mode, inode, device, count, 1234, *others)))
    with pytest.raises(SourceError, match="another user could have made"):
        read_text(link)


def test_read_managed_names_file_and_line_of_damaged_block(tmp_path: Path) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("a: 1\n# BEGIN k8scr.core\nb: 2\n")
    with pytest.raises(InputError, match=f"{file} is damaged: line 2: this BEGIN has no END"):
        read_managed(file)
