# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives that are compressed with zstd, xz or bzip2 are unpacked into temporary files."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files import decompression, file_content, unpacking
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from unit.plugins.module_utils.support.images import tar
from unit.plugins.module_utils.support.tar_entries import open_files

Compress = Callable[[bytes], bytes]

FILES = {f"layer-{number}": hashlib.shake_256(b"%d" % number).digest(number << 17) for number in range(4)}
CONTENT = tar(*FILES.items(), ("manifest.json", b"[]"))
SKIPPABLE = b"\x53\x2a\x4d\x18\x04\x00\x00\x00data"


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def with_large_window(content: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(content) + compressor.flush()


COMPRESSIONS: dict[str, Compress] = {"zstd": zstd, "xz": lzma.compress, "bzip2": bz2.compress}
each_compression = pytest.mark.parametrize("compression", COMPRESSIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images.tar.compressed"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python without libraries for zstd, xz and bzip2, on a host without programs."""
    monkeypatch.setattr(decompression, "_import", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))


def read(files: TarFiles, name: str, offset: int = 0) -> bytes:
    with files.open(name, offset) as blocks:
        return b"".join(bytes(block) for block in blocks)


def write_program(path: Path, body: str) -> None:
    """Write a program in Python to a folder of PATH."""
    path.write_text(f"#!{sys.executable}\nimport sys, zstandard\n{body}\n")
    path.chmod(0o755)


@each_compression
def test_unpacked_archive_is_read_in_any_order_and_in_parallel(path: Path, compression: str) -> None:
    path.write_bytes(COMPRESSIONS[compression](CONTENT))

    with closing(TarFiles(path)) as files, ThreadPoolExecutor(4) as readers:
        assert list(readers.map(lambda name: read(files, name), reversed(FILES))) == list(reversed(FILES.values()))
        assert read(files, "layer-3", 7) == FILES["layer-3"][7:]


@pytest.mark.parametrize(
    "frames",
    [
        zstd(CONTENT[:700]) + zstd(CONTENT[700:]),
        SKIPPABLE + zstd(CONTENT),
        zstd(CONTENT[:700]) + SKIPPABLE + zstd(b"") + zstd(CONTENT[700:]) + SKIPPABLE,
        lzma.compress(CONTENT[:700]) + lzma.compress(CONTENT[700:]),
        bz2.compress(CONTENT[:700]) + bz2.compress(CONTENT[700:]),
    ],
)
def test_frames_of_one_file_are_one_archive(path: Path, frames: bytes) -> None:
    path.write_bytes(frames)

    with closing(TarFiles(path)) as files:
        assert {name: read(files, name) for name in FILES} == FILES


def test_archive_is_unpacked_again_after_others_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []
    unpack = unpacking.unpack

    def noted(descriptor: int, compression: decompression.Format, folder: Path, description: str) -> int:
        unpacked.append(description)
        return unpack(descriptor, compression, folder, description)

    monkeypatch.setattr(file_content, "unpack", noted)
    archives = [
        TarFiles(path) for path in (tmp_path / str(number) for number in range(5)) if path.write_bytes(zstd(CONTENT))
    ]

    contents = [read(files, "layer-1") for files in archives for _time in range(2)]

    assert set(contents) == {FILES["layer-1"]}
    assert len(unpacked) == 2 * len(archives)


@each_compression
def test_temporary_file_has_no_name_and_frees_its_space_at_the_end(path: Path, folder: Path, compression: str) -> None:
    # Files of other tests have other sizes.
    content = tar(("layer", bytes(7_777_777)))
    path.write_bytes(COMPRESSIONS[compression](content))

    files = TarFiles(path)
    names, sizes = list(folder.iterdir()), [each.st_size for each in open_files()]
    files.close()

    assert names == []
    assert sizes.count(len(content)) == 1
    assert len(content) not in [each.st_size for each in open_files()]


@each_compression
@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda content: content[:-9], "is (damaged|truncated)"),
        (lambda content: content[: len(content) // 2], "is damaged: the .* stream is truncated"),
        (lambda content: content + b"more of something", "is damaged"),
        (lambda content: content[:3000] + bytes(3000) + content[6000:], "is damaged"),
    ],
    ids=["truncated", "half", "more", "overwritten"],
)
def test_damaged_archive_is_rejected_with_its_path(
    path: Path, folder: Path, compression: str, tampered: Compress, why: str
) -> None:
    path.write_bytes(tampered(COMPRESSIONS[compression](CONTENT)))

    with pytest.raises(SourceError, match=rf"images\.tar\.compressed {why}"):
        TarFiles(path)

    assert list(folder.iterdir()) == []


def test_frame_with_a_window_above_the_memory_limit_is_rejected(path: Path) -> None:
    path.write_bytes(with_large_window(CONTENT))

    with pytest.raises(SourceError, match=r"images\.tar\.compressed is damaged: .*too much memory"):
        TarFiles(path)


@each_compression
def test_archive_is_rejected_above_the_size_limit(
    path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    path.write_bytes(COMPRESSIONS[compression](tar(("zeros", bytes(32 << 20)))))

    with pytest.raises(SourceError, match=r"images\.tar\.compressed decompresses to more than [0-9]+ bytes"):
        TarFiles(path)


@each_compression
def test_full_disk_is_reported_with_the_folder_and_advice(path: Path, full_disk: None, compression: str) -> None:
    path.write_bytes(COMPRESSIONS[compression](tar(("zeros", bytes(1 << 20)))))

    with pytest.raises(SourceError, match=r"decompressed in the folder .*/temporary: .*set tmp_dest or TMPDIR"):
        TarFiles(path)


def test_missing_folder_is_reported_with_its_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    path.write_bytes(zstd(CONTENT))

    with pytest.raises(SourceError, match="cannot be decompressed in the folder /no/such/folder: No such file"):
        TarFiles(path)


@pytest.mark.parametrize(
    ("compression", "advice"),
    [
        ("zstd", "needs Python 3.14, the Python library zstandard or the program zstd .* decompress .* with zstd -d"),
        ("xz", "needs a Python with the module lzma on the host .* decompress the archive with unxz"),
        ("bzip2", "needs a Python with the module bz2 on the host .* decompress the archive with bunzip2"),
    ],
)
@pytest.mark.usefixtures("no_library")
def test_compression_without_library_is_rejected_with_advice(path: Path, compression: str, advice: str) -> None:
    path.write_bytes(COMPRESSIONS[compression](CONTENT))

    with pytest.raises(SourceError, match=rf"images\.tar\.compressed is compressed with {compression}, which {advice}"):
        TarFiles(path)


@pytest.mark.usefixtures("no_library")
def test_program_decompresses_zstd_without_library(path: Path, tmp_path: Path) -> None:
    write_program(
        tmp_path / "zstd",
        "assert sys.argv[1:] == ['-d', '-c', '-q']\n"
        "zstandard.ZstdDecompressor().copy_stream(sys.stdin.buffer, sys.stdout.buffer)",
    )
    path.write_bytes(zstd(CONTENT))

    with closing(TarFiles(path)) as files:
        assert {name: read(files, name) for name in FILES} == FILES


@pytest.mark.usefixtures("no_library")
def test_error_of_the_program_is_reported(path: Path, tmp_path: Path) -> None:
    write_program(tmp_path / "zstd", "sys.exit('stdin: unsupported format')")
    path.write_bytes(zstd(CONTENT))

    with pytest.raises(SourceError, match=r"images\.tar\.compressed is damaged: stdin: unsupported format"):
        TarFiles(path)


def test_names_that_start_like_a_compressed_file_are_no_compression(path: Path) -> None:
    path.write_bytes(tar(("BZh9/layer", b"content")))

    with closing(TarFiles(path)) as files:
        assert read(files, "BZh9/layer") == b"content"
