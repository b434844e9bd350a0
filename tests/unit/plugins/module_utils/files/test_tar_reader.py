# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read valid and hostile tar archives."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from unit.plugins.module_utils.support.images import tar
from unit.plugins.module_utils.support.tar_entries import END, entry, free_descriptor, pax

LONG = "blobs/" + "/".join("directory" * 6 for _number in range(3)) + "/file"


def archive(path: Path, *parts: bytes) -> TarFiles:
    """Open an archive of these parts."""
    path.write_bytes(b"".join(parts))
    return TarFiles(path)


def read(files: TarFiles, name: str, offset: int = 0) -> bytes:
    """Return a file's content."""
    with files.open(name, offset) as blocks:
        return b"".join(bytes(block) for block in blocks)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the archive."""
    return tmp_path / "images.tar"


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["index.json", "./index.json", LONG])
def test_file_is_read_from_archives_of_all_formats(path: Path, format_: int, name: str) -> None:
    with tarfile.open(path, "w", format=format_) as writer:
        for each, content in (("first", b"1" * 700), (name, b"content"), ("last", b"")):
            header = tarfile.TarInfo(each)
            header.size = len(content)
            writer.addfile(header, io.BytesIO(content))

    files = TarFiles(path)

    assert (files.size(name), read(files, name)) == (7, b"content")
    assert (files.size("last"), read(files, "last")) == (0, b"")
    files.close()


def test_long_name_is_read_in_both_formats(path: Path) -> None:
    name = f"{'n' * 300}/file"
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        header = tarfile.TarInfo(name)

        assert archive(path, header.tobuf(format_), END).size(name) == 0


def test_file_is_read_from_an_offset(path: Path) -> None:
    files = archive(path, tar(("layer", b"0123456789")))

    assert read(files, "layer", 7) == b"789"


def test_file_larger_than_a_block_is_read_completely(path: Path) -> None:
    content = os.urandom((2 << 20) + 13)
    files = archive(path, tar(("layer", content)))

    assert read(files, "layer") == content


def test_large_size_is_read_in_both_formats(path: Path) -> None:
    # Both declare 8 GiB, more than the file has; the error shows that the number was parsed.
    for header in (
        entry("layer", size=b"\x80" + (9 << 30).to_bytes(11, "big")),
        pax(size=str(9 << 30)) + entry("layer"),
    ):
        with pytest.raises(SourceError, match=f"'layer' ends at {(9 << 30) + 512}|'layer' ends at {(9 << 30) + 1536}"):
            archive(path, header, END)


def test_last_entry_wins_among_entries_with_the_same_name(path: Path) -> None:
    files = archive(path, tar(("index.json", b"old"), ("index.json", b"new")))

    assert read(files, "index.json") == b"new"


def test_missing_file_has_no_size_and_cannot_be_opened(path: Path) -> None:
    files = archive(path, tar(("index.json", b"")))

    assert files.size("manifest.json") is None
    with pytest.raises(SourceError, match=r"has no entry manifest.json"):
        read(files, "manifest.json")


@pytest.mark.parametrize(("kind", "target"), [(b"2", "../aa/layer.tar"), (b"1", "aa/layer.tar")])
def test_link_inside_the_archive_is_followed(path: Path, kind: bytes, target: str) -> None:
    # Docker before version 25 writes a shared layer once, and a symbolic link to it.
    files = archive(path, entry("aa/layer.tar", b"layer"), entry("bb/layer.tar", kind=kind, link=target), END)

    assert read(files, "bb/layer.tar") == b"layer"


@pytest.mark.parametrize(
    ("kind", "target"),
    [(b"2", "/etc/shadow"), (b"2", "../../etc/shadow"), (b"1", "/etc/shadow"), (b"1", "../etc/shadow")],
)
def test_link_outside_the_archive_is_rejected(path: Path, kind: bytes, target: str) -> None:
    with pytest.raises(SourceError, match="points outside the archive"):
        archive(path, entry("aa/layer.tar", kind=kind, link=target), END)


def test_circular_links_are_rejected(path: Path) -> None:
    files = archive(path, entry("a", kind=b"2", link="b"), entry("b", kind=b"2", link="a"), END)

    with pytest.raises(SourceError, match="is circular"):
        files.size("a")


@pytest.mark.parametrize("name", ["/etc/passwd", "../escape", "blobs/../../escape", ".."])
def test_name_outside_the_archive_is_rejected(path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="points outside the archive"):
        archive(path, entry(name, b"x"), END)


def test_long_name_outside_the_archive_is_rejected(path: Path) -> None:
    with pytest.raises(SourceError, match="points outside the archive"):
        archive(path, pax(path="../escape"), entry("harmless", b"x"), END)


@pytest.mark.parametrize("kind", [b"3", b"4", b"6", b"S"])
def test_device_is_rejected(path: Path, kind: bytes) -> None:
    with pytest.raises(SourceError, match=r"'dev/null' is a device or another unsupported type of file"):
        archive(path, entry("dev/null", kind=kind), END)


def test_sparse_file_is_rejected(path: Path) -> None:
    with pytest.raises(SourceError, match="'layer' is a sparse file"):
        archive(path, pax(**{"GNU.sparse.major": "1"}), entry("layer", b"x"), END)


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"\xff" * 11 + b"\x01",
        b"-1",
        b"-0000001000",
        b"+1",
        b"1_0",
        b"0o1",
        b"\x80" + b"\xff" * 11,
        b"9",
        b"abc",
    ],
)
def test_impossible_size_is_rejected(path: Path, size: bytes) -> None:
    with pytest.raises(SourceError, match="'layer' has the invalid number"):
        archive(path, entry("layer", b"x", size=size), END)


@pytest.mark.parametrize("size", ["-1", "-512", "1.5", "", " ", "1_0", "²", "9" * 4300, "9" * 5000])
def test_impossible_size_in_extended_header_is_rejected(path: Path, size: str) -> None:
    with pytest.raises(SourceError, match="'layer' has the invalid number"):
        archive(path, pax(size=size), entry("layer", b"x" * 700), END)


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_name_with_gigabytes_is_rejected_unread(path: Path, kind: bytes) -> None:
    path.write_bytes(entry("././@LongLink", kind=kind, size=b"\x80" + (3 << 30).to_bytes(11, "big")))
    os.truncate(path, 4 << 30)

    with pytest.raises(SourceError, match=f"'././@LongLink' has a declared size of {3 << 30} bytes"):
        TarFiles(path)


@pytest.mark.parametrize(
    "content",
    [
        b"no length",
        b"-5 path=x\n",
        b"0 path=x\n",
        b"999 path=x\n",
        b"\xb2 path=x\n",
        b"9" * 5000 + b" path=x\n",
        b"10 path=x",
        b"9 pathxx\n",
        b"7 path=x\n",
    ],
)
def test_malformed_extended_header_is_rejected(path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="'PaxHeaders/x' is malformed"):
        archive(path, entry("PaxHeaders/x", content, b"x"), entry("layer"), END)


@pytest.mark.parametrize("length", [100, 520, 1535, 1600])
def test_incomplete_archive_is_reported_as_truncated(path: Path, length: int) -> None:
    whole = tar(("first", b"x" * 10), ("layer", b"y" * 600))

    with pytest.raises(SourceError, match=r"truncated|shorter than one header"):
        archive(path, whole[:length])


def test_archive_that_shrinks_during_read_is_reported_as_truncated(path: Path) -> None:
    files = archive(path, tar(("layer", b"y" * 5000)))
    os.truncate(path, 2000)

    with pytest.raises(SourceError, match=r"layer in the archive .* is truncated: 3512 bytes are missing"):
        read(files, "layer")


@pytest.mark.parametrize("content", [b"", bytes(10240)])
def test_empty_archive_is_rejected(path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="it is empty"):
        archive(path, content)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"x" * 1000, b"<!DOCTYPE html>" * 100, b"x" * 512])
def test_file_that_is_not_a_tar_archive_is_rejected(path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="the header at byte 0 is invalid"):
        archive(path, content)


def test_damaged_header_in_the_middle_is_rejected(path: Path) -> None:
    whole = bytearray(tar(("first", b"x"), ("second", b"y")))
    whole[1024 + 3] ^= 0xFF

    with pytest.raises(SourceError, match="the header at byte 1024 is invalid"):
        archive(path, bytes(whole))


def test_archive_with_too_many_entries_is_rejected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{TarFiles.__module__}._MAXIMUM_ENTRIES", 10)

    with pytest.raises(SourceError, match="more than 10 entries"):
        archive(path, entry("x") * 11, END)


def test_archive_with_too_long_names_is_rejected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{TarFiles.__module__}._MAXIMUM_NAMES", 1000)

    with pytest.raises(SourceError, match="names of its entries have more than 1000 characters"):
        archive(path, *(pax(path="n" * 500) + entry("x") for _number in range(3)), END)


def test_pipe_is_rejected_without_blocking(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(SourceError, match=r"images.tar is not a regular file"):
        TarFiles(path)


def test_error_of_archive_is_one_line(path: Path) -> None:
    with pytest.raises(SourceError) as failure:
        archive(path, entry("../a\nb\x1b[31m"), END)

    assert str(failure.value).isprintable()


def test_missing_archive_cannot_be_read(path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        TarFiles(path)


def test_closed_archive_leaves_no_open_file(path: Path) -> None:
    free = free_descriptor()
    files = archive(path, tar(("index.json", b"x")))

    files.close()

    assert free_descriptor() == free


def test_rejected_archive_leaves_no_open_file(path: Path) -> None:
    free = free_descriptor()

    with pytest.raises(SourceError):
        archive(path, b"x" * 1024)

    assert free_descriptor() == free
