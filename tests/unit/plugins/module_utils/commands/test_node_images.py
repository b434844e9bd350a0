# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_images``: settings, conflicting names, and the deletion of archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_images import (
    NODE_IMAGES_ARGUMENT_SPEC,
    ImageEntry,
    NodeImagesSettings,
    check_names,
    delete_archives,
    open_runtime,
    run_node_images,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.runtime_images import Containerd, Podman
from unit.plugins.module_utils.support.settings import module_options
from unit.plugins.module_utils.support.shown_texts import ShownTexts

NAME = "docker.io/library/app:1"
ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def entry(
    digest: str, config_digests: list[str], archive: str | None = None, name: str = NAME, file: str = "app.tar"
) -> ImageEntry:
    """Return an entry of the option ``images``."""
    parameters = {"name": name, "digest": digest, "config_digests": config_digests, "file": file, "archive": archive}
    return ImageEntry.from_options(parameters, "/var/lib/k8scr")


def settings(**options: Any) -> NodeImagesSettings:
    """Return the settings of a task of k8scr_node_images."""
    return NodeImagesSettings.from_options(module_options(NODE_IMAGES_ARGUMENT_SPEC, **options))


CTR = ("ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, CTR),
        ({"program": "/opt/ctr", "socket": "/run/c.sock"}, ("/opt/ctr", "--address", "/run/c.sock", *CTR[3:])),
        ({"runtime": "containers"}, ("podman",)),
    ],
)
def test_settings_have_program_with_options_of_every_command(options: dict[str, Any], expected: tuple[str]) -> None:
    assert settings(**options).program == expected


@pytest.mark.parametrize(
    ("options", "dumped", "expected"),
    [
        ({}, (0, "version = 3\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n", ""), "native"),
        ({}, (1, "", "invalid"), ""),
        ({}, FileNotFoundError(2, "No such file or directory"), ""),
        ({"snapshotter": "zfs"}, (1, "", "invalid"), "zfs"),
    ],
    ids=["configured", "invalid", "missing", "option"],
)
def test_open_runtime_uses_snapshotter_of_containerd(options: dict[str, Any], dumped: object, expected: str) -> None:
    commands = Mock(**{"run_command.side_effect": [dumped]})

    assert open_runtime(settings(**options), commands) == Containerd(commands, CTR, expected)


def test_open_runtime_returns_podman_for_containers() -> None:
    commands = Mock()

    assert open_runtime(settings(runtime="containers"), commands) == Podman(commands, ("podman",))


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


def test_node_images_shows_archive_while_it_is_imported_and_changed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ShownTexts(monkeypatch)

    def run_command(command: list[str], **_options: object) -> tuple[int, str, str]:
        if command[1] == "load":
            shown.wait_for_last(r"importing /var/lib/k8scr/app\.tar \(\d s\)")
            return 0, "", ""
        return (125, "", "no such image") if command[-1] == NAME else (0, ONE.partition(":")[2], "")

    images = [{"name": NAME, "file": "app.tar", "config_digests": [ONE]}]
    images.append({"name": "docker.io/library/api:1", "file": "api.tar", "config_digests": [ONE]})
    options = module_options(NODE_IMAGES_ARGUMENT_SPEC, runtime="containers", images=images)
    module = Mock(params=options, check_mode=False, run_command=run_command)

    run_node_images(module, shown.progress)

    assert shown.texts[0] == "importing /var/lib/k8scr/app.tar (1 s)"
    assert shown.texts[-1] == f"{NAME} imported"
