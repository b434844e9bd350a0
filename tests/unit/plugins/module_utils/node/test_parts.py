# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that comes to a node in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.partial_file import partial_path
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.parts import Beginning, append, look
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of

CONTENT = bytes(range(256)) * (3 << 12)
SIZE = len(CONTENT)
DIGEST = digest_of(CONTENT)
HALF = SIZE // 2
NOTHING = Beginning(whole=False)
ALL = Beginning(whole=True)


class Mover:
    """Moves files as AnsibleModule does."""

    def atomic_move(self, src: str, dest: str) -> None:
        """See :meth:`FileMover.atomic_move`."""
        Path(src).replace(dest)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the file shall be, in a folder in which nothing else is."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "app.tar"


def send(place: Path, start: int, end: int, content: bytes = CONTENT) -> None:
    """Add a piece of a content."""
    piece = place.parent.with_name("piece")
    piece.write_bytes(content[start:end])
    append(place, SIZE, DIGEST, piece, start, Mover())


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
    append(place, 0, digest_of(b""), piece, 0, Mover())
    assert look(place, 0, digest_of(b"")) == ALL


def test_another_file_in_its_place_is_not_it_and_is_replaced(place: Path) -> None:
    place.write_bytes(bytes(SIZE))
    assert look(place, SIZE, DIGEST) == NOTHING
    send(place, 0, SIZE)
    assert place.read_bytes() == CONTENT


def test_the_first_piece_begins_anew_whatever_is_there(place: Path) -> None:
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


def test_what_is_there_stays_when_a_piece_is_refused(place: Path) -> None:
    send(place, 0, 100)
    with pytest.raises(DestinationError, match="100 are there"):
        send(place, HALF, SIZE)
    assert look(place, SIZE, DIGEST).part_size == 100


def test_two_runs_that_send_the_same_file_both_end_well(place: Path) -> None:
    third = SIZE // 3
    send(place, 0, third)
    # The second run has begun where the first one was, and falls behind.
    send(place, third, HALF)
    send(place, third, 2 * third)
    send(place, HALF, HALF + 1)
    assert look(place, SIZE, DIGEST).part_size == 2 * third
    send(place, 2 * third, SIZE)
    send(place, HALF + 1, SIZE)
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]


def test_a_last_piece_that_comes_once_more_is_no_failure(place: Path) -> None:
    send(place, 0, HALF)
    send(place, HALF, SIZE)
    send(place, HALF, SIZE)
    assert look(place, SIZE, DIGEST) == ALL
    assert list(place.parent.iterdir()) == [place]


def test_a_part_that_somebody_else_has_laid_out_is_named(place: Path) -> None:
    target = place.parent.with_name("elsewhere")
    target.write_bytes(b"something")
    partial_path(place).hardlink_to(target)
    with pytest.raises(DestinationError, match=r"\.app\.tar\.partial is not a file of this user's own"):
        look(place, SIZE, DIGEST)
    with pytest.raises(DestinationError, match=r"\.app\.tar\.partial is not a file of this user's own"):
        send(place, 0, SIZE)
    assert target.read_bytes() == b"something"


def test_a_link_in_the_place_of_a_part_is_not_followed(place: Path) -> None:
    target = place.parent.with_name("elsewhere")
    target.write_bytes(b"something")
    partial_path(place).symlink_to(target)
    with pytest.raises(DestinationError, match=r"\.app\.tar\.partial cannot be written"):
        send(place, 0, SIZE)
    assert target.read_bytes() == b"something"


def test_a_file_that_changed_on_the_way_gets_no_name(place: Path) -> None:
    send(place, 0, HALF)
    with pytest.raises(SourceError, match="has become another while it was sent"):
        send(place, HALF, SIZE, bytes(SIZE))
    assert list(place.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "piece").touch()
    with pytest.raises(DestinationError, match=r"missing/.app.tar.partial cannot be written: No such file or dir"):
        append(tmp_path / "missing" / "app.tar", SIZE, DIGEST, tmp_path / "piece", 0, Mover())
