# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Malicious and damaged archives are rejected, and leave no file, thread or open descriptor."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.images import Image, layout_files, read_tar, write_docker_archive
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tar_entries import END, entry, free_descriptor, pax

Push = Callable[..., dict[str, Any]]
Entries = dict[str, bytes]


def archive_of(kind: str, image: Image, folder: Path) -> Entries:
    """Return the files of an archive of this kind with one image."""
    if kind == "oci-archive":
        return layout_files({"example.com/app:1": image})
    return read_tar(write_docker_archive(folder / "honest.tar", [(["example.com/app:1"], image)]))


def written(files: Entries) -> list[bytes]:
    return [entry(name, content) for name, content in files.items()]


def largest(files: Entries) -> str:
    """Return the name of the largest file, a blob."""
    return max(files, key=lambda name: len(files[name]))


def renamed(files: Entries, name: str) -> list[bytes]:
    return written({name if each == largest(files) else each: content for each, content in files.items()})


def replaced(files: Entries, *parts: bytes) -> list[bytes]:
    """Return the archive with these parts in place of its largest file."""
    return [*parts, *written({name: content for name, content in files.items() if name != largest(files)})]


def left_of_it(folder: Path) -> tuple[int, list[str], list[Path]]:
    """Return resources that must not remain: open files, running threads, other files in the folder."""
    workers = [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
    return free_descriptor(), workers, sorted(folder.rglob("*"))


HOSTILE: dict[str, tuple[Callable[[Entries], Sequence[bytes]], str]] = {
    "cut in an entry": (lambda files: [b"".join(written(files))[:-700]], "is truncated"),
    "cut between entries": (lambda files: written(files)[:2], "has no|does not have"),
    "a renamed entry": (lambda files: renamed(files, "other"), "does not have the (manifest|layer)"),
    "a name outside the archive": (
        lambda files: renamed(files, "../../escape"),
        "entry '../../escape' points outside the archive",
    ),
    "an absolute name": (lambda files: renamed(files, "/etc/passwd"), "entry '/etc/passwd' points outside the archive"),
    "a link outside the archive": (
        lambda files: replaced(files, entry("blobs/link", kind=b"2", link="/etc/shadow")),
        "entry 'blobs/link' points outside the archive",
    ),
    "a hard link outside the archive": (
        lambda files: replaced(files, entry("link", kind=b"1", link="../etc/shadow")),
        "entry 'link' points outside the archive",
    ),
    "a link to itself": (
        lambda files: replaced(files, entry(largest(files), kind=b"2", link=largest(files).rpartition("/")[2])),
        "is circular",
    ),
    "a link to a folder": (
        lambda files: replaced(files, entry(largest(files), kind=b"2", link=".")),
        "does not have the (manifest|layer)",
    ),
    "a device": (lambda files: replaced(files, entry("dev/sda", kind=b"4")), "entry 'dev/sda' is a device"),
    "a pipe": (
        lambda files: replaced(files, entry("pipe", kind=b"6")),
        "entry 'pipe' is a device or another unsupported type of file",
    ),
    "an old sparse file": (lambda files: replaced(files, entry("hole", kind=b"S")), "entry 'hole' is a device"),
    "a sparse file": (
        lambda files: replaced(files, pax(**{"GNU.sparse.major": "1", "GNU.sparse.realsize": "9" * 18}), entry("hole")),
        "entry 'hole' is a sparse file",
    ),
    "a long name outside the archive": (
        lambda files: replaced(files, entry("././@LongLink", b"../escape\0", b"L"), entry("x")),
        "entry '../escape' points outside the archive",
    ),
    "a name outside the archive in an extended header": (
        lambda files: replaced(files, pax(path="../escape"), entry("x")),
        "entry '../escape' points outside the archive",
    ),
    "a negative size": (
        lambda files: replaced(files, entry("back", size=b"\xff" * 12)),
        "entry 'back' has the invalid number",
    ),
    "a size beyond the archive": (
        lambda files: replaced(files, entry("huge", size=b"77777777777")),
        "entry 'huge' ends at",
    ),
    "an extended header without end": (
        lambda files: replaced(files, entry("PaxHeaders/x", kind=b"x", size=b"00007777777"), bytes(4 << 20)),
        "'PaxHeaders/x' has a declared size of 2097151 bytes",
    ),
    "extended headers without an entry": (
        lambda files: [pax(path="x")] * 1000 + [END],
        "has no",
    ),
}


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("harm", HOSTILE)
def test_hostile_archive_is_rejected_with_entry_name_and_leaves_no_file(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, kind: str, harm: str
) -> None:
    make, why = HOSTILE[harm]
    path = tmp_path / "hostile.tar"
    path.write_bytes(b"".join(make(archive_of(kind, image, tmp_path))))
    before = left_of_it(tmp_path)

    result = push(f"{kind}:{path}")

    assert result["failed"]
    assert [image["changed"] for image in result["images"]] == [False]
    _count, reason = result["msg"].split("\n")
    assert "hostile.tar" in reason
    assert reason.isprintable()
    assert re.search(why, reason)
    assert server.manifests == {}
    assert left_of_it(tmp_path) == before


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_order_of_archive_entries_is_irrelevant(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, kind: str
) -> None:
    path = tmp_path / "turned.tar"
    path.write_bytes(b"".join(reversed(written(archive_of(kind, image, tmp_path)))) + END)

    assert push(f"{kind}:{path}")["changed"]
    assert set(server.manifests["app"]) > {"1"}
