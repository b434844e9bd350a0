# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A blob that is written beside its place, and gone on with by the next run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    DestinationError,
    DigestMismatchError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.partial_file import (
    PartialFile,
    delete_expired_partials,
    write_blob,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from unit.plugins.module_utils.support.stores import Content, blob

CONTENT = bytes(range(256)) * (4 << 12)
BLOB = blob(digest_of(CONTENT), CONTENT)
KEPT = 3 << 20


class Cut(Content):
    """A content whose connection is lost after some bytes."""

    def __init__(self, after: int) -> None:
        super().__init__(CONTENT)
        self.after = after

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        """Open it."""

        def blocks() -> Blocks:
            yield memoryview(self.content)[offset : self.after]
            raise ConnectionLostError("cut")

        yield blocks()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the blob shall be."""
    return tmp_path / "blob"


def leave_a_part(place: Path) -> Path:
    """Let a first run be cut; the path of what it leaves comes back."""
    with pytest.raises(ConnectionLostError):
        write_blob(place, BLOB, Cut(KEPT))
    (part,) = place.parent.iterdir()
    return part


def test_complete_file_is_renamed_and_leaves_no_partial_file(place: Path) -> None:
    write_blob(place, BLOB, Content(CONTENT))

    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]


def test_interrupted_file_does_not_appear_at_its_final_path(place: Path) -> None:
    leave_a_part(place)

    assert not place.exists()


def test_next_run_resumes_interrupted_file(place: Path) -> None:
    leave_a_part(place)
    content = Content(CONTENT)

    write_blob(place, BLOB, content)

    assert content.offsets == [KEPT]
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]


def test_damaged_partial_file_is_downloaded_again(place: Path) -> None:
    part = leave_a_part(place)
    with part.open("r+b") as file:
        file.write(b"torn by a power cut")
    content = Content(CONTENT)

    write_blob(place, BLOB, content)

    assert content.offsets == [KEPT, 0]
    assert place.read_bytes() == CONTENT


def test_partial_file_larger_than_the_blob_is_downloaded_again(place: Path) -> None:
    part = leave_a_part(place)
    os.truncate(part, len(CONTENT) + 1)

    write_blob(place, BLOB, Content(CONTENT))

    assert place.read_bytes() == CONTENT


def test_small_partial_file_is_deleted(place: Path) -> None:
    with pytest.raises(ConnectionLostError):
        write_blob(place, BLOB, Cut(1000))

    assert list(place.parent.iterdir()) == []


def test_content_with_wrong_digest_leaves_no_partial_file(place: Path) -> None:
    with pytest.raises(DigestMismatchError, match="blob from the test is damaged"):
        write_blob(place, BLOB, Content(bytes(len(CONTENT))))

    assert list(place.parent.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_no_partial_file(place: Path) -> None:
    with pytest.raises(DestinationError):
        write_blob(place, BLOB, Content(CONTENT))

    assert list(place.parent.iterdir()) == []


def test_parallel_runs_write_the_same_blob(place: Path) -> None:
    class Meanwhile(Content):
        @contextmanager
        def __call__(self, offset: int = 0) -> Iterator[Blocks]:
            write_blob(place, BLOB, Content(CONTENT))
            with super().__call__(offset) as blocks:
                yield blocks

    write_blob(place, BLOB, Meanwhile(CONTENT))

    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]


def test_hard_linked_partial_file_is_not_used(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    # In a folder that others can write to, whoever knows where an image will be can lay one out.
    precious = tmp_path_factory.mktemp("elsewhere") / "precious"
    precious.write_bytes(b"precious")
    place.with_name(".blob.partial").hardlink_to(precious)

    write_blob(place, BLOB, Content(CONTENT))

    assert precious.read_bytes() == b"precious"
    assert place.read_bytes() == CONTENT


def test_partial_file_of_another_user_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # He could go on writing to it when it is in its place.
    part = leave_a_part(place)
    monkeypatch.setattr(os, "geteuid", lambda: part.stat().st_uid + 1)

    write_blob(place, BLOB, Content(CONTENT))

    assert place.read_bytes() == CONTENT
    assert part.stat().st_size == KEPT


def test_abandoned_partial_files_are_deleted_after_a_week(place: Path) -> None:
    old = leave_a_part(place)
    os.utime(old, (0, 0))
    young = place.with_name(".other.partial")
    young.touch()

    delete_expired_partials(place.parent)

    assert list(place.parent.iterdir()) == [young]


def test_partial_file_in_use_never_expires(place: Path) -> None:
    part = PartialFile(place)
    os.utime(part.path, (0, 0))

    delete_expired_partials(place.parent)
    part.finish()

    assert list(place.parent.iterdir()) == [place]


def test_partial_file_of_second_run_in_use_never_expires(place: Path) -> None:
    first, second = PartialFile(place), PartialFile(place)
    os.utime(second.path, (0, 0))

    delete_expired_partials(place.parent)
    second.finish()
    first.abandon(keep=False)

    assert list(place.parent.iterdir()) == [place]
