# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saved states of uploads."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upload_state import UploadRecords

DIGEST = "sha256:" + "0" * 64
DAY = 24 * 60 * 60


@pytest.fixture
def records(tmp_path: Path) -> UploadRecords:
    """The saved states of uploads to one registry."""
    return UploadRecords(tmp_path / "uploads", "cluster")


def test_upload_record_is_read_in_next_run(records: UploadRecords, tmp_path: Path) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")

    with UploadRecords(tmp_path / "uploads", "cluster").open("team/app", DIGEST) as record:
        assert record.location == "/v2/team/app/blobs/uploads/1"


@pytest.mark.parametrize(("registry", "repository"), [("other", "team/app"), ("cluster", "team/other")])
def test_upload_record_of_other_registry_or_repository_is_not_read(
    records: UploadRecords, tmp_path: Path, registry: str, repository: str
) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")

    with UploadRecords(tmp_path / "uploads", registry).open(repository, DIGEST) as record:
        assert record.location is None


def test_upload_record_is_readable_by_user_only(records: UploadRecords, tmp_path: Path) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")

    (file,) = (tmp_path / "uploads").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_upload_record_in_use_is_empty_in_second_run(records: UploadRecords) -> None:
    with records.open("team/app", DIGEST) as first:
        first.remember("/v2/team/app/blobs/uploads/1")
        with records.open("team/app", DIGEST) as second:
            assert second.location is None
            second.forget()

    with records.open("team/app", DIGEST) as third:
        assert third.location == "/v2/team/app/blobs/uploads/1"


def test_upload_record_keeps_new_session_after_lost_one(records: UploadRecords) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")
        record.forget()
        record.remember("/v2/team/app/blobs/uploads/2")

    with records.open("team/app", DIGEST) as record:
        assert record.location == "/v2/team/app/blobs/uploads/2"


@pytest.mark.parametrize("sessions", [0, 1])
def test_upload_record_leaves_no_file_after_upload(records: UploadRecords, tmp_path: Path, sessions: int) -> None:
    with records.open("team/app", DIGEST) as record:
        for session in range(sessions):
            record.remember(f"/v2/team/app/blobs/uploads/{session}")
            record.forget()

    assert list((tmp_path / "uploads").iterdir()) == []


def test_upload_record_expires_after_a_week(records: UploadRecords, tmp_path: Path) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")
    (file,) = (tmp_path / "uploads").iterdir()
    week_ago = time.time() - 7 * DAY - 1
    os.utime(file, (week_ago, week_ago))

    records.forget_expired()

    assert not file.exists()


def test_upload_record_survives_until_registry_deletes_upload(records: UploadRecords, tmp_path: Path) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")
    (file,) = (tmp_path / "uploads").iterdir()
    six_days_ago = time.time() - 6 * DAY
    os.utime(file, (six_days_ago, six_days_ago))

    records.forget_expired()

    with records.open("team/app", DIGEST) as record:
        assert record.location == "/v2/team/app/blobs/uploads/1"


def test_upload_record_in_use_never_expires(records: UploadRecords, tmp_path: Path) -> None:
    with records.open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")
        (file,) = (tmp_path / "uploads").iterdir()
        os.utime(file, (0, 0))

        UploadRecords(tmp_path / "uploads", "other").forget_expired()
        record.remember("/v2/team/app/blobs/uploads/2")

    with records.open("team/app", DIGEST) as record:
        assert record.location == "/v2/team/app/blobs/uploads/2"


def test_upload_record_is_not_saved_without_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with UploadRecords(tmp_path / "file" / "uploads", "cluster").open("team/app", DIGEST) as record:
        record.remember("/v2/team/app/blobs/uploads/1")
        assert record.location is None
