# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose images the nodes pull from the registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import layout
from cluster.kubectl import kubectl


@contextmanager
def mirrored(host: str) -> Iterator[None]:
    """Let the nodes pull the images of a host, which no other test and no user uses, from the registry."""
    service = kubectl("get", "service", "k8scr", "--namespace=k8scr", "--output=jsonpath={.spec.clusterIP}")
    folders = [node.certs_d / host for node in layout.NODES]
    for folder in folders:
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'[host."http://{service}:5001"]\n  capabilities = ["pull", "resolve"]\n')
    try:
        yield
    finally:
        for folder in folders:
            shutil.rmtree(folder)
