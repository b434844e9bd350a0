# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that comes to a node in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils.node.parts import Beginning, append, look
from ansible_collections.k8scr.core.plugins.module_utils.oci.digest import digest_of

CONTENT = bytes(range(256)) * (3 << 12)
SIZE = len(CONTENT)
DIGEST = digest_of(CONTENT)
HALF = SIZE // 2
NOTHING = Beginning(whole=False, part_size=0, part_digest="")
ALL = Beginning(whole=True, part_size=0, part_digest="")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the file shall be, in a folder in which nothing else is."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "app.tar"


def send(place: Path, start: int, end: int, content: bytes = CONTENT) -> None:
    """Add a piece of a content."""
    piece = place.parent.with_name("piece")
    piece.write_bytes(content[start:end])
    append(place, SIZE, DIGEST, piece, start)


def test_nothing_is_there_at_first(place: Path) -> None:
    assert look(place, SIZE, DIGEST) == NOTHING


def test_a_part_is_known_by_its_digest(place: Path) -> None:
    send(place, 0, HALF)
    assert look(place, SIZE, DIGEST) == Beginning(whole=False, part_size=HALF, part_digest=digest_of(CONTENT[:HALF]))
    assert not place.exists()


def test_the_last_piece_puts_the_file_in_its_place(place: Path) -> None:
    send(place, 0, HALF)
    send(place, HALF, SIZE)
    assert place.read_bytes() == CONTENT
    assert look(place, SIZE, DIGEST) == ALL
    assert list(place.parent.iterdir()) == [place]


def test_an_empty_file_takes_one_piece(place: Path) -> None:
    piece = place.parent.with_name("piece")
    piece.touch()
    append(place, 0, digest_of(b""), piece, 0)
    assert look(place, 0, digest_of(b"")) == ALL


def test_another_file_in_its_place_is_not_it_and_is_replaced(place: Path) -> None:
    place.write_bytes(bytes(SIZE))
    assert look(place, SIZE, DIGEST) == NOTHING
    send(place, 0, SIZE)
    assert place.read_bytes() == CONTENT


def test_what_is_there_beyond_the_offset_is_dropped(place: Path) -> None:
    send(place, 0, HALF, bytes(SIZE))
    send(place, 0, SIZE)
    assert place.read_bytes() == CONTENT


def test_a_part_that_is_larger_than_the_file_is_none(place: Path) -> None:
    send(place, 0, HALF)
    assert look(place, HALF - 1, DIGEST) == NOTHING


def test_a_piece_after_a_gap_is_refused(place: Path) -> None:
    with pytest.raises(DestinationError, match=rf"of the {HALF} bytes that were sent, 0 are there. Another run"):
        send(place, HALF, SIZE)
    assert list(place.parent.iterdir()) == []


def test_a_file_that_changed_on_the_way_gets_no_name(place: Path) -> None:
    send(place, 0, HALF)
    with pytest.raises(SourceError, match="has become another while it was sent"):
        send(place, HALF, SIZE, bytes(SIZE))
    assert list(place.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "piece").touch()
    with pytest.raises(DestinationError, match=r"missing/app.tar cannot be written: No such file or directory"):
        append(tmp_path / "missing" / "app.tar", SIZE, DIGEST, tmp_path / "piece", 0)
