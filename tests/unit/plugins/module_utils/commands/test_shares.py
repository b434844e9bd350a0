# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls and lock files on file systems that reject modes, owners, locks or syncs, such as CIFS, NFS and FUSE."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.locked_file import delete_expired
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.partial_file import PartialFile
from unit.plugins.module_utils.support.copies import read_location
from unit.plugins.module_utils.support.images import Image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer

Task = Callable[..., dict[str, Any]]
MEBIBYTE = 1 << 20
TRANSPORTS = ["oci", "oci-archive", "docker-archive"]


class Share:
    """A file system that rejects some system calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def reject(self, module: Any, call: str, code: int) -> None:
        """Let a system call fail."""

        def fail(*_arguments: object, **_options: object) -> None:
            raise OSError(code, os.strerror(code))

        self._monkeypatch.setattr(module, call, fail)

    def own_files_of(self, user: int) -> None:
        """Give all files to a user, as the mount option ``uid`` does."""
        self._monkeypatch.setattr(os, "geteuid", lambda: user + 1)


FAULTS: dict[str, Callable[[Share], None]] = {
    **{
        f"{call} {errno.errorcode[code]}": lambda share, call=call, code=code: share.reject(os, call, code)  # type: ignore[misc]
        for call, codes in {
            "fchmod": (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EIO),
            "fsync": (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP),
            "posix_fallocate": (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP),
            "link": (errno.EPERM, errno.ENOTSUP),
            "chown": (errno.EPERM,),
        }.items()
        for code in codes
    },
    **{
        f"flock {errno.errorcode[code]}": lambda share, code=code: share.reject(fcntl, "flock", code)  # type: ignore[misc]
        for code in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
    },
    "owner": lambda share: share.own_files_of(os.getuid()),
}


@pytest.fixture(params=FAULTS)
def share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Share:
    """A file system with one of the faults."""
    found = Share(monkeypatch)
    FAULTS[request.param](found)
    return found


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""
    Share(monkeypatch).reject(fcntl, "flock", errno.ENOLCK)


def hidden_files(folder: Path) -> list[str]:
    """Return the temporary and partial files below a folder."""
    return [str(path) for path in folder.rglob(".*")]


@pytest.mark.usefixtures("share")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_pull_to_share_writes_images_and_leaves_no_partial_file(
    pull: Task, server: RegistryServer, image: Image, other_image: Image, tmp_path: Path, transport: str
) -> None:
    server.fill("library/app", "1", image)
    server.fill("library/app", "2", other_image)
    dest = f"{transport}:{tmp_path / 'pulled'}"

    results = [
        pull(*({"name": f"docker.io/app:{tag}", "dest": dest} for tag in tags), qualify=False)
        for tags in (("1",), ("1", "2"), ("1", "2"))
    ]

    assert [result.get("msg") for result in results] == [None] * 3
    assert hidden_files(tmp_path) == []
    assert read_location(f"{dest}:docker.io/library/app:1")


@pytest.mark.usefixtures("share")
def test_push_with_lock_file_and_cache_on_share_leaves_no_temporary_file(
    push: Task, image: Image, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", {"docker.io/team/app:1": image})

    result = push(f"oci:{tmp_path / 'layout'}", lock=str(tmp_path / "images.lock"))

    assert "msg" not in result
    assert json.loads((tmp_path / "images.lock").read_text()) == {"docker.io/team/app:1": image.digest}
    assert hidden_files(tmp_path) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("code", [errno.EEXIST, errno.EACCES, errno.EPERM, errno.EXDEV])
def test_pull_to_share_that_rejects_renames_names_reason_and_leaves_no_partial_file(
    pull: Task,
    server: RegistryServer,
    image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    code: int,
) -> None:
    server.fill("library/app", "1", image)
    Share(monkeypatch).reject(Path, "replace", code)

    result = pull({"name": "docker.io/app:1", "dest": f"{transport}:{tmp_path / 'pulled'}"})

    assert f"cannot be written: {os.strerror(code)}" in result["msg"]
    assert hidden_files(tmp_path) == []


@pytest.mark.usefixtures("lockless")
def test_second_partial_file_is_another_one_on_file_system_without_locks(tmp_path: Path) -> None:
    first, second = PartialFile(tmp_path / "blob"), PartialFile(tmp_path / "blob")

    assert first.path != second.path
    for each in (first, second):
        each.abandon(keep=False)


@pytest.mark.usefixtures("lockless")
def test_partial_file_that_no_run_can_resume_is_deleted(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "blob")
    os.truncate(partial.path, 2 * MEBIBYTE)

    partial.abandon(keep=True)

    assert hidden_files(tmp_path) == []


@pytest.mark.usefixtures("lockless")
def test_delete_expired_deletes_old_files_on_file_system_without_locks(tmp_path: Path) -> None:
    old, young = tmp_path / "old", tmp_path / "young"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))

    delete_expired([old, young], 3600.0)

    assert list(tmp_path.iterdir()) == [young]
