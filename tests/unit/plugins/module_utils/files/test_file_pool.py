# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are opened on demand, with a limit of idle open files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_pool import (
    FilePool,
    PooledFile,
    UnchangedFile,
)
from unit.plugins.module_utils.support.tar_entries import open_files

CONTENTS = [b"first", b"second", b"third"]


def read(file: PooledFile) -> bytes:
    with file.use() as descriptor:
        return os.pread(descriptor, 100, 0)


def is_open(path: Path) -> bool:
    """Whether this process has a file open."""
    return any(os.path.samestat(path.stat(), each) for each in open_files())


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for number, content in enumerate(CONTENTS):
        (tmp_path / str(number)).write_bytes(content)
    return [tmp_path / str(number) for number in range(len(CONTENTS))]


@pytest.fixture
def files(paths: list[Path]) -> list[PooledFile]:
    """Files of a pool with a limit of 2 open files."""
    pool = FilePool(2)
    return [PooledFile(pool, UnchangedFile(path, f"the file {path.name}")) for path in paths]


def test_pool_closes_the_file_that_was_idle_for_the_longest_time(files: list[PooledFile], paths: list[Path]) -> None:
    for number in (0, 1, 0, 2):
        assert read(files[number]) == CONTENTS[number]

    assert [is_open(path) for path in paths] == [True, False, True]


def test_pool_opens_a_closed_file_again(files: list[PooledFile]) -> None:
    for _time in range(2):
        assert [read(file) for file in files] == CONTENTS


def test_pool_closes_no_file_in_use(files: list[PooledFile], paths: list[Path]) -> None:
    with ExitStack() as stack:
        descriptors = [stack.enter_context(file.use()) for file in files]

        assert [os.pread(descriptor, 100, 0) for descriptor in descriptors] == CONTENTS

    assert sum(map(is_open, paths)) == 2


def test_closed_file_is_not_open(files: list[PooledFile], paths: list[Path]) -> None:
    read(files[0])

    files[0].close()

    assert not is_open(paths[0])


def test_kept_file_stays_open_until_it_is_closed(paths: list[Path]) -> None:
    kept = PooledFile(FilePool(0), UnchangedFile(paths[0], "the file"), keep=True)
    content = paths[0].read_bytes()
    stays = is_open(paths[0])

    kept.close()

    assert (stays, is_open(paths[0]), content) == (True, False, CONTENTS[0])


def rewrite(path: Path) -> None:
    path.write_bytes(b"FIRST")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"FIRST")
    os.utime(path.with_name("new"), ns=(1, 1))
    path.with_name("new").replace(path)


@pytest.mark.parametrize("change", [rewrite, replace, lambda path: path.write_bytes(b"")])
def test_file_that_changed_while_it_was_closed_is_rejected(
    files: list[PooledFile], paths: list[Path], change: Callable[[Path], None]
) -> None:
    for file in files:
        read(file)

    change(paths[0])

    with pytest.raises(SourceError, match="the file 0 was changed or replaced while the task used it"):
        read(files[0])


def test_file_with_another_inode_number_is_the_same_file(files: list[PooledFile], paths: list[Path]) -> None:
    for file in files:
        read(file)
    state = paths[0].stat()

    paths[0].with_name("new").write_bytes(CONTENTS[0])
    os.utime(paths[0].with_name("new"), ns=(state.st_atime_ns, state.st_mtime_ns))
    paths[0].with_name("new").replace(paths[0])

    assert read(files[0]) == CONTENTS[0]


def test_file_that_was_deleted_while_it_was_closed_is_rejected(files: list[PooledFile], paths: list[Path]) -> None:
    for file in files:
        read(file)

    paths[0].unlink()

    with pytest.raises(SourceError, match="0 cannot be read: No such file or directory"):
        read(files[0])
