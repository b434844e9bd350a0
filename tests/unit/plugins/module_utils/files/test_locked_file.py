# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks on files."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.locked_file import (
    delete_expired,
    file_lock,
    open_locked,
)

RUNS = 3
LINES = 300
HOUR = 60.0 * 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file in an existing folder."""
    return tmp_path / "folder" / "file"


@pytest.fixture(autouse=True)
def folder(file: Path) -> None:
    """Create the folder."""
    file.parent.mkdir()


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold the lock of a file like another process."""
    descriptor = open_locked(file)
    assert descriptor is not None
    yield descriptor
    os.close(descriptor)


def write_lines(file: Path, run: int) -> None:
    """Write lines to a file that each process renames or deletes while others wait for the lock."""
    for number in range(LINES):
        descriptor = open_locked(file, wait=True)
        assert descriptor is not None
        content = os.pread(descriptor, 1 << 20, 0) + b"%d %d\n" % (run, number)
        if number % 3:
            os.pwrite(descriptor, content, 0)
        elif number % 2:
            os.pwrite(descriptor, content, 0)
            file.rename(file.with_name(f"renamed-{run}-{number}"))
        else:
            file.with_name(f"copied-{run}-{number}").write_bytes(content)
            file.unlink()
        os.close(descriptor)


def test_locked_file_loses_no_write_while_processes_rename_and_delete_it(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=write_lines, args=(file, run)) for run in range(RUNS)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    assert [run.exitcode for run in runs] == [0] * RUNS
    lines = [line for path in file.parent.iterdir() for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{run} {number}" for run in range(RUNS) for number in range(LINES))


def test_locked_file_is_not_opened_while_another_process_has_it(file: Path) -> None:
    with locked(file):
        assert open_locked(file) is None


def test_locked_file_of_another_user_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.touch()
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)

    assert open_locked(file) is None


def test_locked_file_that_is_a_hard_link_is_not_used(file: Path) -> None:
    file.parent.with_name("elsewhere").touch()
    file.hardlink_to(file.parent.with_name("elsewhere"))

    assert open_locked(file) is None


def test_locked_file_that_is_a_symbolic_link_is_not_followed(file: Path) -> None:
    file.symlink_to(file.parent.with_name("elsewhere"))

    with pytest.raises(OSError, match="symbolic links"):
        open_locked(file)

    assert not file.parent.with_name("elsewhere").exists()


def test_delete_expired_deletes_only_old_files_that_no_process_uses(file: Path) -> None:
    young, old, used = (file.with_name(name) for name in ("young", "old", "used"))
    for path in (young, old, used):
        path.touch()
    for path in (old, used):
        os.utime(path, (0, 0))

    with locked(used):
        delete_expired([file.with_name("missing"), young, old, used], HOUR)

    assert sorted(file.parent.iterdir()) == [used, young]


def test_file_lock_leaves_no_file(tmp_path: Path) -> None:
    with file_lock(tmp_path / "new/lock"):
        assert open_locked(tmp_path / "new/lock") is None

    assert not list((tmp_path / "new").iterdir())


def test_file_lock_of_unusable_path_locks_nothing(file: Path) -> None:
    file.write_bytes(b"")

    with file_lock(file / "lock"):
        assert file.read_bytes() == b""
