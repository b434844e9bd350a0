# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_images``: conflicting names, and the deletion of archives."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_images import (
    ImageEntry,
    check_names,
    delete_archives,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError

NAME = "docker.io/library/app:1"
ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def entry(
    digest: str, config_digests: list[str], archive: str | None = None, name: str = NAME, file: str = "app.tar"
) -> ImageEntry:
    """Return an entry of the option ``images``."""
    parameters = {"name": name, "digest": digest, "config_digests": config_digests, "file": file, "archive": archive}
    return ImageEntry.from_options(parameters, "/var/lib/k8scr")


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


@pytest.mark.parametrize(
    ("first", "second"), [((ONE, [ONE]), (TWO, [ONE])), (("", [ONE]), ("", [TWO])), ((ONE, [ONE]), ("", [TWO]))]
)
def test_check_names_rejects_different_images_with_same_name(
    first: tuple[str, list[str]], second: tuple[str, list[str]]
) -> None:
    entries = [entry(*first, archive="/media/a/app.tar"), entry(*second, archive="/media/b/app.tar")]

    with pytest.raises(InputError, match=f"/media/a/app.tar and /media/b/app.tar have different images named {NAME}"):
        check_names(entries)


def test_check_names_names_files_without_paths_of_archives() -> None:
    with pytest.raises(InputError, match=r"1-app\.tar and 2-app\.tar have different images"):
        check_names([entry(ONE, [], file="1-app.tar"), entry(TWO, [], file="2-app.tar")])


@pytest.mark.parametrize(
    "second",
    [entry(ONE, [TWO]), entry("", [TWO]), entry(TWO, [ONE], name=f"{NAME}.1")],
    ids=["digest", "config", "name"],
)
def test_check_names_accepts_same_image_or_different_names(second: ImageEntry) -> None:
    check_names([entry(ONE, [ONE, TWO]), second])
