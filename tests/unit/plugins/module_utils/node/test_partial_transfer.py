# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files received in pieces."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.partial_file import partial_path
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.partial_transfer import (
    FileTransfer,
    PieceSize,
    TransferState,
    free_space,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.host import FakeFiles

CONTENT = bytes(range(256)) * (3 << 12)
SIZE = len(CONTENT)
DIGEST = digest_of(CONTENT)
HALF = SIZE // 2
MISSING = TransferState(whole=False)
COMPLETE = TransferState(whole=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the complete file, in an empty folder."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "app.tar"


def send(path: Path, start: int, end: int, content: bytes = CONTENT) -> None:
    """Append a piece of a file."""
    piece = path.parent.with_name("piece")
    piece.write_bytes(content[start:end])
    FileTransfer(path, SIZE, DIGEST).append(piece, start, FakeFiles())


def test_transfer_state_returns_no_partial_file_at_first(path: Path) -> None:
    assert FileTransfer(path, SIZE, DIGEST).state() == MISSING


def test_transfer_state_returns_size_and_digest_of_partial_file(path: Path) -> None:
    send(path, 0, HALF)
    assert FileTransfer(path, SIZE, DIGEST).state() == TransferState(
        whole=False, part_size=HALF, part_digest=digest_of(CONTENT[:HALF])
    )
    assert not path.exists()


def test_transfer_append_moves_complete_file_to_its_path(path: Path) -> None:
    send(path, 0, HALF)
    send(path, HALF, SIZE)
    assert path.read_bytes() == CONTENT
    assert FileTransfer(path, SIZE, DIGEST).state() == COMPLETE
    assert list(path.parent.iterdir()) == [path]


def test_transfer_append_creates_empty_file(path: Path) -> None:
    piece = path.parent.with_name("piece")
    piece.touch()
    transfer = FileTransfer(path, 0, digest_of(b""))
    transfer.append(piece, 0, FakeFiles())
    assert transfer.state() == COMPLETE


def test_transfer_append_replaces_different_file(path: Path) -> None:
    path.write_bytes(bytes(SIZE))
    assert FileTransfer(path, SIZE, DIGEST).state() == MISSING
    send(path, 0, SIZE)
    assert path.read_bytes() == CONTENT


def test_transfer_append_at_offset_0_discards_partial_file(path: Path) -> None:
    send(path, 0, HALF, bytes(SIZE))
    send(path, 0, SIZE)
    assert path.read_bytes() == CONTENT


def test_transfer_state_ignores_partial_file_larger_than_file(path: Path) -> None:
    send(path, 0, HALF)
    assert FileTransfer(path, HALF - 1, DIGEST).state() == MISSING


def test_transfer_append_rejects_piece_after_gap(path: Path) -> None:
    with pytest.raises(
        DestinationError, match=rf"begins at byte {HALF}, and the partial file has 0 bytes. Another task"
    ):
        send(path, HALF, SIZE)
    assert list(path.parent.iterdir()) == []


def test_transfer_append_keeps_partial_file_after_rejected_piece(path: Path) -> None:
    send(path, 0, 100)
    with pytest.raises(DestinationError, match="the partial file has 100 bytes"):
        send(path, HALF, SIZE)
    assert FileTransfer(path, SIZE, DIGEST).state().part_size == 100


def test_transfer_append_accepts_pieces_of_two_runs(path: Path) -> None:
    third = SIZE // 3
    send(path, 0, third)
    # The second run began at the end of the first piece, and is slower.
    send(path, third, HALF)
    send(path, third, 2 * third)
    send(path, HALF, HALF + 1)
    assert FileTransfer(path, SIZE, DIGEST).state().part_size == 2 * third
    send(path, 2 * third, SIZE)
    send(path, HALF + 1, SIZE)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_transfer_append_accepts_repeated_last_piece(path: Path) -> None:
    send(path, 0, HALF)
    send(path, HALF, SIZE)
    send(path, HALF, SIZE)
    assert FileTransfer(path, SIZE, DIGEST).state() == COMPLETE
    assert list(path.parent.iterdir()) == [path]


def test_partial_file_of_another_user_is_rejected(path: Path) -> None:
    target = path.parent.with_name("elsewhere")
    target.write_bytes(b"something")
    partial_path(path).hardlink_to(target)
    with pytest.raises(
        DestinationError, match=r"\.app\.tar\.partial is not used: it is not a regular file of this user"
    ):
        FileTransfer(path, SIZE, DIGEST).state()
    with pytest.raises(
        DestinationError, match=r"\.app\.tar\.partial is not used: it is not a regular file of this user"
    ):
        send(path, 0, SIZE)
    assert target.read_bytes() == b"something"


def test_transfer_append_does_not_follow_symbolic_link(path: Path) -> None:
    target = path.parent.with_name("elsewhere")
    target.write_bytes(b"something")
    partial_path(path).symlink_to(target)
    with pytest.raises(DestinationError, match=r"\.app\.tar\.partial cannot be written"):
        send(path, 0, SIZE)
    assert target.read_bytes() == b"something"


def test_transfer_append_rejects_file_that_changed_during_transfer(path: Path) -> None:
    send(path, 0, HALF)
    with pytest.raises(SourceError, match="the source changed during the transfer"):
        send(path, HALF, SIZE, bytes(SIZE))
    assert list(path.parent.iterdir()) == []


def test_transfer_append_names_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "piece").touch()
    with pytest.raises(DestinationError, match=r"missing/.app.tar.partial cannot be written: No such file or dir"):
        FileTransfer(tmp_path / "missing" / "app.tar", SIZE, DIGEST).append(tmp_path / "piece", 0, FakeFiles())


MIB = 1 << 20


def sizes(remaining: int, room: int, seconds: float) -> list[int]:
    """Return the sizes of six pieces that each take some seconds."""
    piece_size, found = PieceSize(), []
    for _number in range(6):
        found.append(piece_size.fit(remaining, room, "/small"))
        piece_size.sent(seconds)
    return found


@pytest.mark.parametrize(
    ("room", "seconds", "expected"),
    [
        (1 << 40, 1, [4, 8, 16, 32, 64, 128]),
        (1 << 40, 20, [4, 2, 1, 1, 1, 1]),
        (24 * MIB, 1, [4, 8, 12, 12, 12, 12]),
        (2 * MIB, 1, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_piece_size_depends_on_seconds_and_free_space(room: int, seconds: float, expected: list[int]) -> None:
    assert sizes(1 << 40, room, seconds) == [size * MIB for size in expected]


@pytest.mark.parametrize(("remaining", "room"), [(0, 0), (1, 2), (4 * MIB, 8 * MIB)])
def test_piece_size_is_that_of_the_rest_of_the_file(remaining: int, room: int) -> None:
    assert sizes(remaining, room, 1)[0] == remaining


@pytest.mark.parametrize(("remaining", "room"), [(1, 1), (1, 0), (1 << 40, 2 * MIB - 2)])
def test_piece_size_error_names_folder_and_free_space(remaining: int, room: int) -> None:
    with pytest.raises(DestinationError, match=f"the folder /small on the host, .* has only {room} bytes free"):
        PieceSize().fit(remaining, room, "/small")


def test_free_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    assert 0 < free_space(tmp_path) <= shutil.disk_usage(tmp_path).total


def test_free_space_is_enough_for_largest_piece_on_file_system_without_a_size() -> None:
    assert os.statvfs("/proc").f_blocks == 0

    room = free_space(Path("/proc"))

    assert sizes(1 << 40, room, 0)[-1] == 128 * MIB
    assert room // 2 == 256 * MIB


def test_free_space_error_names_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="missing cannot be read: No such file"):
        free_space(tmp_path / "missing")
