# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress file: a module writes it, and the controller reads it without trusting it."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import (
    Message,
    MessageReader,
    ProgressFile,
)
from hypothesis import example, given
from hypothesis import strategies as st

LINE, STATUS = Message("done → sha256:1", lasting=True), Message("3 of 12", lasting=False)


def test_reader_returns_messages_of_writer(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    file, reader = ProgressFile(str(path)), MessageReader()

    file.write(STATUS)
    file.write(LINE)

    assert reader.feed(path.read_bytes()) == [STATUS, LINE]
    assert (reader.group, file.error) == (os.getpgrp(), None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["missing/file", "existing", "link", "nul\0"])
def test_writer_states_error_if_file_cannot_be_created(tmp_path: Path, name: str) -> None:
    (tmp_path / "existing").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    file = ProgressFile(f"{tmp_path}/{name}")
    file.write(LINE)

    assert file.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["existing", "link"]
    assert (tmp_path / "existing").read_bytes() == b"content"


def test_writer_stops_on_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    file = ProgressFile(str(path))
    written = path.read_bytes()
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), file._descriptor or -1)

    file.write(LINE)
    file.write(LINE)

    assert file.error == "No space left on device"
    assert path.read_bytes() == written


@given(data=st.binary() | st.text().map(str.encode), cuts=st.lists(st.integers(0, 100)))
@example(data=b'{"group": 7}\n{"line": "\\u001b[31m\\u009b\\u202e\\ud800\n"}\n', cuts=[3, 30])
@example(data='{"status": "a\x1b\x9b\u2066b"}\n'.encode(), cuts=[])
@example(data=b"[" * 9000 + b"\n" + b'{"line": ' + b"9" * 9000 + b"}\n", cuts=[1])
@example(data=b'{"line": "' + b"x" * 20_000 + b'"}\n{"line": "next"}\n', cuts=[18_000])
def test_reader_yields_no_control_characters_for_any_bytes_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    whole, reader = MessageReader(), MessageReader()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]

    messages = [message for begin, end in zip(edges, edges[1:]) for message in reader.feed(data[begin:end])]

    assert messages == whole.feed(data)
    for message in messages:
        assert len(message.text) <= 500
        assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in message.text)
        message.text.encode()


def test_reader_takes_group_only_from_first_line() -> None:
    reader = MessageReader()

    reader.feed(b'{"status": "begin"}\n{"group": 4}\n')

    assert reader.group is None


def test_reader_ignores_malformed_and_long_lines() -> None:
    lines = [b"", b"{", b"7", b'{"line": 7}', b"\xff", b'{"line": "' + b"x" * 20_000 + b'"}', b'{"line": "shown"}', b""]

    assert MessageReader().feed(b"\n".join(lines)) == [Message("shown", lasting=True)]
