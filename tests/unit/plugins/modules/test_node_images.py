# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives on a node, which are deleted after the import."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.modules.k8scr_node_images import delete_archives


def test_delete_archives_deletes_folder_without_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "k8scr"
    folder.mkdir()
    for name in ("app.tar", ".app.tar.partial"):
        (folder / name).touch()

    delete_archives(folder, ["app.tar"])

    assert not folder.exists()


def test_delete_archives_keeps_folder_in_which_another_run_creates_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmdir = Path.rmdir

    def rmdir_after_other_run(folder: Path) -> None:
        (folder / "other.tar").touch()
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", rmdir_after_other_run)

    delete_archives(tmp_path, ["app.tar"])

    assert [path.name for path in tmp_path.iterdir()] == ["other.tar"]


def test_delete_archives_accepts_missing_folder(tmp_path: Path) -> None:
    delete_archives(tmp_path / "missing", ["app.tar"])
