# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of the configurations of the nodes' containerd, at one path that is the same on all nodes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import layout


@contextmanager
def containerd_copies(name: str) -> Iterator[str]:
    """Copy the configurations until the end of the block.

    Args:
        name: The name of a folder that does not exist.

    Yields:
        The path on each node, in a folder that no other node has.
    """
    folders = [node.root / "var/lib/cni" / name for node in layout.NODES]
    try:
        for node, folder in zip(layout.NODES, folders):
            folder.mkdir()
            shutil.copy(node.folder / "containerd.toml", folder)
        yield f"/var/lib/cni/{name}/containerd.toml"
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
