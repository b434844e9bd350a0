# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_send_part``: invalid parameters, bounds, and the deletion of pieces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import send
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send import run_send_part
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of


def run(**parameters: Any) -> dict[str, Any]:
    """Run the command with the given parameters, and with valid ones otherwise."""
    valid = {
        "dest": "/srv/missing.tar",
        "size": 10,
        "digest": digest_of(b""),
        "piece": None,
        "piece_dir": None,
        "offset": 0,
    }
    return run_send_part(Mock(params={**valid, **parameters}, check_mode=False))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": -1}, "size is -1. The allowed range is 0 to "),
        ({"size": 1 << 63}, "size is 9223372036854775808. The allowed range is 0 to 9223372036854775807."),
        ({"offset": -1}, "offset is -1. The allowed range is 0 to "),
        ({"digest": "sha256:1"}, "'sha256:1' is not a digest"),
    ],
)
def test_send_part_names_invalid_parameter(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**parameters)


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (10, 10), ((1 << 63) - 1, 0)])
def test_send_part_accepts_bounds(size: int, offset: int) -> None:
    assert run(size=size, offset=offset) == {"changed": False, "whole": False, "part_size": 0, "part_digest": ""}


def test_send_part_deletes_piece_after_error(tmp_path: Path) -> None:
    piece = tmp_path / "piece"
    piece.write_bytes(bytes(10))
    with pytest.raises(SourceError, match="the source changed during the transfer"):
        run(dest=str(tmp_path / "app.tar"), piece=str(piece))
    assert list(tmp_path.iterdir()) == []


def test_send_part_succeeds_if_it_must_not_delete_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # After become to an unprivileged user, the folder belongs to another user, who lets this one only read.
    piece = tmp_path / "piece"
    piece.write_bytes(bytes(10))
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=PermissionError(13, "Permission denied")))

    result = run(dest=str(tmp_path / "app.tar"), size=20, piece=str(piece))

    assert result == {"changed": True}
    assert (tmp_path / ".app.tar.partial").stat().st_size == 10


@pytest.mark.parametrize("piece", [None, "piece"])
def test_send_part_returns_free_space_for_pieces(tmp_path: Path, piece: str | None) -> None:
    (tmp_path / "piece").write_bytes(bytes(10))

    result = run(
        dest=str(tmp_path / "app.tar"), size=20, piece=piece and str(tmp_path / piece), piece_dir=str(tmp_path)
    )

    assert 0 < result["piece_room"] <= shutil.disk_usage(tmp_path).total


@pytest.mark.parametrize(("may_delete", "room"), [(True, 100), (False, 110)])
def test_send_part_counts_space_of_piece_that_next_one_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_delete: bool, room: int
) -> None:
    piece = tmp_path / "piece"
    piece.write_bytes(bytes(10))
    monkeypatch.setattr(send, "free_space", lambda _folder: 100)
    if not may_delete:
        monkeypatch.setattr(Path, "unlink", Mock(side_effect=PermissionError(13, "Permission denied")))

    result = run(dest=str(tmp_path / "app.tar"), size=20, piece=str(piece), piece_dir=str(tmp_path))

    assert result["piece_room"] == room


def test_send_part_deletes_piece_after_invalid_parameter(tmp_path: Path) -> None:
    piece = tmp_path / "piece"
    piece.write_bytes(bytes(10))

    with pytest.raises(InputError, match="offset is -1"):
        run(piece=str(piece), offset=-1)

    assert list(tmp_path.iterdir()) == []
