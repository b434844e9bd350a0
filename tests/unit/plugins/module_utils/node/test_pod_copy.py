# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of a node's files stay in their folder, whatever the node sends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.pod_copy import NodeCopy, Record, parse_records

OUTSIDE = [
    [Record("file", "-", "/../outside", b"x")],
    [Record("file", "-", "outside", b"x")],
    [Record("file", "-", "/a\nb", b"x")],
    [Record("link", "-", "/a", b"x"), Record("file", "-", "/a/b", b"x")],
    [Record("dangling", "-", "/a", b"/b"), Record("file", "-", "/a/c", b"x")],
    [Record("file", "-", "/a", b"x"), Record("file", "-", "/a/b", b"x")],
    [Record("file", "-", "/.linked/0", b"x")],
]


@pytest.mark.parametrize("records", OUTSIDE)
def test_copy_rejects_impossible_files(tmp_path: Path, records: list[Record]) -> None:
    root = tmp_path / "copy"
    root.mkdir()

    with pytest.raises(SourceError):
        NodeCopy(root, records)

    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_copy_has_dangling_link_inside_its_folder(tmp_path: Path) -> None:
    NodeCopy(tmp_path, [Record("dangling", "-", "/a/b", b"/a/../../../etc/shadow")])

    assert (tmp_path / "a/b").readlink() == tmp_path / "etc/shadow"


@pytest.mark.parametrize("kind", ["file", "link", "dump", "version"])
def test_records_reject_digest_of_other_content(kind: str) -> None:
    # With the digest of another node's file, that node would get the changes for this one.
    digest = hashlib.sha256(b"other").hexdigest()

    with pytest.raises(SourceError, match="'/a' changed while it was read"):
        parse_records(f"{kind} {digest} L2E= eA==\n".encode())


@pytest.mark.parametrize("output", [b"bash: warning\n", b"file x L2E= !\n", b"\xff\n", b"file x\n"])
def test_records_reject_other_output(output: bytes) -> None:
    with pytest.raises(SourceError, match="something else"):
        parse_records(output)
