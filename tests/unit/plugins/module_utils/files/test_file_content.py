# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random access to archives that are compressed with gzip, with little memory and without temporary files."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import open_source, parse_location
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from unit.plugins.module_utils.support.images import Image, tar, write_docker_archive, write_oci_archive
from unit.plugins.module_utils.support.stores import read_image

MIB = 1 << 20
FILES = {f"layer-{number}": hashlib.shake_256(b"%d" % number).digest(number * MIB // 2) for number in range(6)}
CONTENT = tar(*FILES.items(), ("manifest.json", b"[]"))
ARCHIVES: dict[str, Callable[[Path, Image], Path]] = {
    "oci-archive": lambda path, image: write_oci_archive(path, {"app:1": image}),
    "docker-archive": lambda path, image: write_docker_archive(path, [(["app:1"], image)]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images.tar.gz"


def compressed(path: Path, content: bytes = CONTENT) -> TarFiles:
    """Write and open an archive that is compressed with gzip."""
    path.write_bytes(gzip.compress(content, 1))
    return TarFiles(path)


def read(files: TarFiles, name: str, offset: int = 0) -> bytes:
    with files.open(name, offset) as blocks:
        return b"".join(bytes(block) for block in blocks)


def test_compressed_archive_is_read_in_any_order(path: Path) -> None:
    files = compressed(path)

    assert {name: read(files, name) for name in reversed(FILES)} == FILES
    assert read(files, "manifest.json") == b"[]"


def test_compressed_archive_is_read_from_an_offset(path: Path) -> None:
    assert read(compressed(path), "layer-5", MIB + 7) == FILES["layer-5"][MIB + 7 :]


def test_compressed_archive_is_read_in_parallel(path: Path) -> None:
    files = compressed(path)

    with ThreadPoolExecutor(4) as readers:
        assert list(readers.map(lambda name: read(files, name), [*FILES] * 2)) == [*FILES.values()] * 2


def test_gzip_file_with_several_members_is_one_archive(path: Path) -> None:
    middle = len(CONTENT) // 2
    path.write_bytes(gzip.compress(CONTENT[:middle]) + gzip.compress(CONTENT[middle:]) + bytes(512))

    assert read(TarFiles(path), "layer-5") == FILES["layer-5"]


def test_images_of_compressed_archive_equal_those_of_the_plain_one(path: Path, tmp_path: Path, image: Image) -> None:
    write_oci_archive(tmp_path / "oci.tar", {"example.com/app:1": image})
    write_docker_archive(tmp_path / "docker.tar", [(["example.com/app:1"], image)])
    for kind in ("oci", "docker"):
        archive = tmp_path / f"{kind}.tar"
        path.write_bytes(gzip.compress(archive.read_bytes()))

        source, original = open_source(parse_location(str(path))), open_source(parse_location(str(archive)))

        (found,), (wanted,) = source.images(), original.images()
        assert found == wanted
        assert read_image(source, found.root) == read_image(original, wanted.root)


def test_compressed_archive_is_read_with_little_memory(path: Path) -> None:
    path.write_bytes(gzip.compress(CONTENT, 1))
    tracemalloc.start()

    files = TarFiles(path)
    with files.open("layer-5") as blocks:
        for _block in blocks:
            pass

    assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    tracemalloc.stop()


def test_many_compressed_archives_are_open_with_little_memory(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT, 1)
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(packed)
    tracemalloc.start()

    archives = [TarFiles(path) for path in paths]
    contents = {read(files, "layer-1") for files in archives}

    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert contents == {FILES["layer-1"]}
    assert size < 2 * MIB


def test_reader_saves_checkpoints_again_after_other_archives_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = []
    for number in range(6):
        (tmp_path / str(number)).write_bytes(gzip.compress(CONTENT, 1))
        archives.append(TarFiles(tmp_path / str(number)))
    offsets: list[int] = []
    pread = os.pread

    def noted(descriptor: int, size: int, offset: int) -> bytes:
        offsets.append(offset)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", noted)
    starts = []
    for _time in range(2):
        offsets.clear()
        assert read(archives[0], "layer-5") == FILES["layer-5"]
        starts.append(offsets[0])

    assert starts[0] == 0 < starts[1]


def test_checkpoints_get_sparser_in_a_long_archive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_content._MAXIMUM_CHECKPOINTS", 3
    )

    files = compressed(path)

    assert {name: read(files, name) for name in FILES} == FILES


@pytest.mark.parametrize("length", [100, len(CONTENT) // 3, len(CONTENT) // 3 * 2])
def test_incomplete_gzip_file_is_reported_as_truncated(path: Path, length: int) -> None:
    path.write_bytes(gzip.compress(CONTENT, 1)[:length])

    with pytest.raises(SourceError, match=r"images\.tar\.gz is truncated"):
        TarFiles(path)


def test_truncated_archive_is_reported_inside_a_complete_gzip_file(path: Path) -> None:
    with pytest.raises(SourceError, match=r"images.tar.gz is truncated: .* its entry 'layer-5' ends at"):
        compressed(path, CONTENT[:-MIB])


def test_damaged_gzip_file_is_rejected(path: Path) -> None:
    content = bytearray(gzip.compress(tar(("list", b"".join(b"%d\n" % number for number in range(100_000))))))
    content[1000:1064] = bytes(64 * b"\xff")
    path.write_bytes(content)

    with pytest.raises(SourceError, match=r"images\.tar\.gz is damaged: .*Create or copy it again"):
        TarFiles(path)


@pytest.mark.parametrize("transport", ARCHIVES)
@pytest.mark.parametrize(("position", "why"), [(-8, "incorrect data check"), (-1, "incorrect length check")])
@pytest.mark.parametrize("member", [0, 1])
def test_gzip_file_is_rejected_with_wrong_trailer(
    path: Path, tmp_path: Path, image: Image, transport: str, member: int, position: int, why: str
) -> None:
    content = ARCHIVES[transport](tmp_path / "plain.tar", image).read_bytes()
    members = [bytearray(gzip.compress(part)) for part in (content[:700], content[700:])]
    members[member][position] ^= 1
    path.write_bytes(b"".join(members))

    with pytest.raises(SourceError, match=rf"images\.tar\.gz is damaged: .*{why}"):
        open_source(parse_location(f"{transport}:{path}"))


def test_gzip_file_is_rejected_above_the_size_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.unpacking._ALWAYS_ALLOWED", 16 * MIB
    )
    header = tarfile.TarInfo("layer")
    header.size = 64 * MIB
    compressor = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        file.write(compressor.compress(header.tobuf()))
        for _number in range(64):
            file.write(compressor.compress(bytes(MIB)))
        file.write(compressor.flush())

    with pytest.raises(SourceError, match="decompresses to more than"):
        TarFiles(path)


def test_compressed_archive_is_rejected_as_destination(path: Path, image: Image, tmp_path: Path) -> None:
    archive = write_oci_archive(tmp_path / "oci.tar", {"example.com/app:1": image})
    path.write_bytes(gzip.compress(archive.read_bytes()))

    with pytest.raises(DestinationError, match=r"it is a compressed tar archive\. Remove it or choose another file"):
        OciArchiveDestination(path)
