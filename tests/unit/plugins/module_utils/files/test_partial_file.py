# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Partial files: written, interrupted and resumed."""

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
    """A content with a connection that is lost after some bytes."""

    def __init__(self, after: int) -> None:
        super().__init__(CONTENT)
        self.after = after

    @contextmanager
    def __call__(self, offset: int = 0) -> Iterator[Blocks]:
        """Open the content at ``offset`` (bytes)."""

        def blocks() -> Blocks:
            yield memoryview(self.content)[offset : self.after]
            raise ConnectionLostError("cut")

        yield blocks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the blob."""
    return tmp_path / "blob"


def interrupt(path: Path) -> Path:
    """Interrupt a first run, and return the path of its partial file."""
    with pytest.raises(ConnectionLostError):
        write_blob(path, BLOB, Cut(KEPT))
    (partial,) = path.parent.iterdir()
    return partial


def test_complete_file_is_renamed_and_leaves_no_partial_file(path: Path) -> None:
    write_blob(path, BLOB, Content(CONTENT))

    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_interrupted_file_does_not_appear_at_its_final_path(path: Path) -> None:
    interrupt(path)

    assert not path.exists()


def test_next_run_resumes_interrupted_file(path: Path) -> None:
    interrupt(path)
    content = Content(CONTENT)

    write_blob(path, BLOB, content)

    assert content.offsets == [KEPT]
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_damaged_partial_file_is_downloaded_again(path: Path) -> None:
    partial = interrupt(path)
    with partial.open("r+b") as file:
        file.write(b"torn by a power cut")
    content = Content(CONTENT)

    write_blob(path, BLOB, content)

    assert content.offsets == [KEPT, 0]
    assert path.read_bytes() == CONTENT


def test_partial_file_larger_than_the_blob_is_downloaded_again(path: Path) -> None:
    partial = interrupt(path)
    os.truncate(partial, len(CONTENT) + 1)

    write_blob(path, BLOB, Content(CONTENT))

    assert path.read_bytes() == CONTENT


def test_small_partial_file_is_deleted(path: Path) -> None:
    with pytest.raises(ConnectionLostError):
        write_blob(path, BLOB, Cut(1000))

    assert list(path.parent.iterdir()) == []


def test_content_with_wrong_digest_leaves_no_partial_file(path: Path) -> None:
    with pytest.raises(DigestMismatchError, match="blob from the test is damaged"):
        write_blob(path, BLOB, Content(bytes(len(CONTENT))))

    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_no_partial_file(path: Path) -> None:
    with pytest.raises(DestinationError):
        write_blob(path, BLOB, Content(CONTENT))

    assert list(path.parent.iterdir()) == []


def test_parallel_runs_write_the_same_blob(path: Path) -> None:
    class Meanwhile(Content):
        @contextmanager
        def __call__(self, offset: int = 0) -> Iterator[Blocks]:
            write_blob(path, BLOB, Content(CONTENT))
            with super().__call__(offset) as blocks:
                yield blocks

    write_blob(path, BLOB, Meanwhile(CONTENT))

    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_hard_linked_partial_file_is_not_used(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Other users can plant a file in a folder that they can write to.
    precious = tmp_path_factory.mktemp("elsewhere") / "precious"
    precious.write_bytes(b"precious")
    path.with_name(".blob.partial").hardlink_to(precious)

    write_blob(path, BLOB, Content(CONTENT))

    assert precious.read_bytes() == b"precious"
    assert path.read_bytes() == CONTENT


def test_partial_file_of_another_user_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That user could change the file after the rename.
    partial = interrupt(path)
    monkeypatch.setattr(os, "geteuid", lambda: partial.stat().st_uid + 1)

    write_blob(path, BLOB, Content(CONTENT))

    assert path.read_bytes() == CONTENT
    assert partial.stat().st_size == KEPT


def test_abandoned_partial_files_are_deleted_after_a_week(path: Path) -> None:
    old = interrupt(path)
    os.utime(old, (0, 0))
    young = path.with_name(".other.partial")
    young.touch()

    delete_expired_partials(path.parent)

    assert list(path.parent.iterdir()) == [young]


def test_partial_file_in_use_never_expires(path: Path) -> None:
    partial = PartialFile(path)
    os.utime(partial.path, (0, 0))

    delete_expired_partials(path.parent)
    partial.finish()

    assert list(path.parent.iterdir()) == [path]


def test_partial_file_of_second_run_in_use_never_expires(path: Path) -> None:
    first, second = PartialFile(path), PartialFile(path)
    os.utime(second.path, (0, 0))

    delete_expired_partials(path.parent)
    second.finish()
    first.abandon(keep=False)

    assert list(path.parent.iterdir()) == [path]
