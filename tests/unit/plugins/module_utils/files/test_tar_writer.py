# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write tar archives."""

from __future__ import annotations

import errno
import os
import tarfile
from pathlib import Path
from typing import NoReturn

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_writer import TarWriter
from unit.plugins.module_utils.support.images import read_tar


def test_written_archive_is_readable_by_tarfile(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("index.json", b"{}")
    writer.add(f"blobs/sha512/{'a' * 128}", b"x" * 1000)
    writer.finish()

    assert read_tar(tmp_path / "images.tar") == {"index.json": b"{}", f"blobs/sha512/{'a' * 128}": b"x" * 1000}


def test_two_entries_are_written_in_parallel(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    first, second = writer.reserve("first", 6), writer.reserve("second", 4)
    for position, block in ((second, b"54"), (first, b"123"), (second + 2, b"32"), (first + 3, b"456")):
        writer.write(position, memoryview(block))
    writer.finish()

    assert read_tar(tmp_path / "images.tar") == {"first": b"123456", "second": b"5432"}


def test_empty_entry_is_written(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("empty", b"")
    writer.finish()

    assert TarFiles(tmp_path / "images.tar").size("empty") == 0


def test_archive_does_not_exist_before_it_is_finished(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"old")
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("index.json", b"{}")

    assert (tmp_path / "images.tar").read_bytes() == b"old"
    writer.abandon(keep=False)


def test_abandoned_archive_leaves_no_file(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("index.json", b"{}")

    writer.abandon(keep=False)

    assert list(tmp_path.iterdir()) == []


def test_archive_has_the_mode_of_other_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.finish()

    assert (tmp_path / "images.tar").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_full_disk_fails_before_content_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _offset: int, _length: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    writer = TarWriter(tmp_path / "images.tar", "blobs/")

    with pytest.raises(DestinationError, match=r"No space left on device.*The previous content is unchanged"):
        writer.reserve("layer", 1 << 30)
    writer.abandon(keep=False)


@pytest.mark.parametrize("missing", ["the system", "the file system"])
def test_archive_is_written_on_file_systems_without_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(_descriptor: int, _offset: int, _length: int) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if missing == "the system":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("index.json", b"{}")
    writer.add("blobs/x", b"x" * 1000)
    writer.finish()

    assert read_tar(tmp_path / "images.tar") == {"index.json": b"{}", "blobs/x": b"x" * 1000}


def test_content_is_on_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, bool]] = []

    def sync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, (tmp_path / "images.tar").exists()))

    monkeypatch.setattr(os, "fsync", sync)
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    writer.add("index.json", b"{}")

    writer.finish()

    assert synced == [((tmp_path / "images.tar").stat().st_ino, False)]


def test_writer_removes_entries_that_are_not_kept(tmp_path: Path) -> None:
    contents = {f"blobs/{number}": bytes([number]) * (number * (1 << 20) + 1) for number in range(4)}
    writer = TarWriter(tmp_path / "images.tar", "blobs/")
    for name, content in contents.items():
        writer.add(name, content)

    writer.keep_only(["blobs/1", "blobs/3"])
    writer.add("index.json", b"{}")
    writer.finish()

    kept = {name: contents[name] for name in ("blobs/1", "blobs/3")}
    assert read_tar(tmp_path / "images.tar") == {**kept, "index.json": b"{}"}
    with tarfile.open(tmp_path / "images.tar") as archive:
        assert archive.getnames() == ["blobs/1", "blobs/3", "index.json"]


def test_writer_starts_again_after_partial_file_with_other_headers(tmp_path: Path) -> None:
    # The writer moves entries on the assumption that their headers are as long as its own.
    with tarfile.open(tmp_path / ".images.tar.partial", "w", format=tarfile.PAX_FORMAT) as archive:
        header = tarfile.TarInfo("blobs/1")
        header.mtime = 0.5
        archive.addfile(header)

    writer = TarWriter(tmp_path / "images.tar", "blobs/")

    assert writer.left_over == {}
    writer.abandon(keep=False)


def test_writer_deletes_partial_files_of_its_archive_after_a_week(tmp_path: Path) -> None:
    names = [".images.tar.partial", ".images.tar.x1y2.partial", ".other.tar.partial"]
    for name in names:
        (tmp_path / name).write_bytes(tarfile.TarInfo("blobs/1").tobuf())
        os.utime(tmp_path / name, (0, 0))

    writer = TarWriter(tmp_path / "images.tar", "blobs/")

    assert writer.left_over == {}
    writer.abandon(keep=False)
    assert [path.name for path in tmp_path.iterdir()] == [".other.tar.partial"]
