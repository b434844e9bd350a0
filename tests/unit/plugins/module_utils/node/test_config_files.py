# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files: read, written and backed up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_files import (
    FileChange,
    apply_changes,
    read_managed_file,
    read_text,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import insert_block


class FakeModule:
    """The functions of AnsibleModule for files, which record the modes of files."""

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
def module() -> FakeModule:
    """A module that replaces and backs up files."""
    return FakeModule()


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Path, Path]:
    """A symbolic link and its target, a file of an administrator."""
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


def test_apply_changes_never_makes_new_private_file_readable_for_others(tmp_path: Path, module: FakeModule) -> None:
    file = tmp_path / "registries.yaml"
    apply_changes([FileChange(file, None, "password", mode=0o600)], module, backup=True)
    assert module.modes == [0o600, 0o600]
    assert _mode(file) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_apply_changes_keeps_mode_of_existing_file(tmp_path: Path, module: FakeModule, mode: int) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("old")
    file.chmod(mode)
    apply_changes([FileChange(file, "old", "new", mode=0o600)], module, backup=False)
    assert module.modes == [0o600, mode]
    assert _mode(file) == mode


def test_apply_changes_never_makes_backup_of_private_file_readable_for_others(
    tmp_path: Path, module: FakeModule
) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("password")
    file.chmod(0o600)
    apply_changes([FileChange(file, "password", "new")], module, backup=True)
    assert module.modes[0] == 0o600


def test_apply_changes_deletes_new_file_after_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakeModule()
    monkeypatch.setattr(module, "atomic_move", Mock(side_effect=RuntimeError))
    with pytest.raises(RuntimeError):
        apply_changes([FileChange(tmp_path / "file", None, "new")], module, backup=True)
    assert list(tmp_path.iterdir()) == []


def test_apply_changes_names_file_and_reason_if_host_cannot_replace_it(
    tmp_path: Path, module: FakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(src: str, dest: str) -> None:
        # AnsibleModule's exception for an immutable file.
        raise RuntimeError(f"Unable to make {src} into to {dest}") from PermissionError(1, "Operation not permitted")

    file = tmp_path / "file"
    file.write_text("old")
    monkeypatch.setattr(module, "atomic_move", move)
    with pytest.raises(DestinationError, match=f"^{file} cannot be written: Operation not permitted. The previous"):
        apply_changes([FileChange(file, "old", "new")], module, backup=True)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("before", ["old", None])
def test_apply_changes_accepts_file_that_same_task_of_another_process_changed(
    tmp_path: Path, module: FakeModule, before: str | None
) -> None:
    file = tmp_path / "file"
    file.write_text("new")
    assert apply_changes([FileChange(file, before, "new")], module, backup=True) == []
    apply_changes([FileChange(tmp_path / "missing", "old", None)], module, backup=True)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(("before", "after"), [("old", "new"), ("old", None), (None, "new")])
def test_apply_changes_rejects_file_that_another_process_changed(
    tmp_path: Path, module: FakeModule, before: str | None, after: str | None
) -> None:
    file = tmp_path / "file"
    file.write_text("changed by an administrator")
    with pytest.raises(DestinationError, match=f"^{file} is not changed: another process has just changed it"):
        apply_changes([FileChange(file, before, after)], module, backup=True)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["changed by an administrator"]


def test_apply_changes_backs_up_file_with_lines_of_administrators(tmp_path: Path, module: FakeModule) -> None:
    file = tmp_path / "file"
    before = insert_block(["mine\n"], 1, ["managed"])
    file.write_text(before)
    assert apply_changes([FileChange(file, before, "mine\n")], module, backup=True) == [f"{file}.backup"]
    assert Path(f"{file}.backup").read_text() == before


@pytest.mark.parametrize(
    ("before", "after"), [("mine\n", "mine\n"), (None, "managed"), (insert_block([], 0, ["managed"]), "new")]
)
def test_apply_changes_backs_up_no_unchanged_or_managed_file(
    tmp_path: Path, module: FakeModule, before: str | None, after: str
) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_text(before)
    assert apply_changes([FileChange(file, before, after)], module, backup=True) == []


def test_apply_changes_writes_to_target_of_symbolic_link(linked: tuple[Path, Path], module: FakeModule) -> None:
    link, file = linked
    (backup,) = apply_changes([FileChange(link, read_text(link), "new\n")], module, backup=True)
    assert file.read_text() == "new\n"
    assert _mode(file) == 0o640
    assert link.is_symlink()
    assert Path(backup).read_text() == "# mine\n"


def test_apply_changes_empties_managed_target_of_symbolic_link(linked: tuple[Path, Path], module: FakeModule) -> None:
    link, file = linked
    file.write_text("managed")
    change = FileChange(link, "managed", None, whole=True, folder=True)
    apply_changes([change], module, backup=True)
    assert link.is_symlink()
    assert file.read_text() == ""
    assert change.result["action"] == "updated"
    assert not FileChange(link, "", None, whole=True).changed


def test_read_text_rejects_dangling_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    with pytest.raises(SourceError, match=r"link is a symbolic link to .*/missing, which is not a file"):
        read_text(tmp_path / "link")


def test_read_text_rejects_loop_of_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SourceError, match="symbolic link in a loop"):
        read_text(tmp_path / "a")


def test_read_text_rejects_symbolic_link_in_folder_writable_for_all_users(linked: tuple[Path, Path]) -> None:
    link, _file = linked
    link.parent.chmod(0o1777)
    with pytest.raises(SourceError, match="other users may have created"):
        read_text(link)


def test_read_text_rejects_symbolic_link_of_another_user(
    linked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, _file = linked
    mode, inode, device, count, _user, *others = link.lstat()
    monkeypatch.setattr(Path, "lstat", lambda _path: os.stat_result((mode, inode, device, count, 1234, *others)))
    with pytest.raises(SourceError, match="other users may have created"):
        read_text(link)


def test_read_managed_file_names_file_and_line_of_damaged_block(tmp_path: Path) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("a: 1\n# BEGIN k8scr.core\nb: 2\n")
    with pytest.raises(InputError, match=f"{file} is damaged: line 2: this BEGIN has no END"):
        read_managed_file(file)


def test_apply_changes_keeps_byte_order_mark(tmp_path: Path, module: FakeModule) -> None:
    file = tmp_path / "registries.yaml"
    file.write_bytes(b"\xef\xbb\xbf# mine\r\n")
    assert read_text(file) == "# mine\r\n"
    apply_changes([FileChange(file, "# mine\r\n", "# mine\r\nnew\r\n")], module, backup=False)
    assert file.read_bytes() == b"\xef\xbb\xbf# mine\r\nnew\r\n"


def _create_pipe(path: Path) -> None:
    os.mkfifo(path)


def _create_large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((4 << 20) + 1)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (_create_pipe, "is not a regular file"),
    "folder": (Path.mkdir, "cannot be read: Is a directory"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link to /dev/zero, which is not a file"),
    "large": (_create_large_file, "has more than 4 MiB"),
    "latin-1": (lambda path: path.write_bytes(b"# a\n# \xe9\n"), "is not UTF-8 text in line 2"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_read_text_names_file_that_is_no_text(tmp_path: Path, kind: str) -> None:
    create, reason = UNREADABLE[kind]
    create(tmp_path / "file")
    with pytest.raises(SourceError, match=f"^{tmp_path}/file ({reason})"):
        read_text(tmp_path / "file")
