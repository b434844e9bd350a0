# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endpoint that the role node_mirror writes to the files of a node."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("10.96.10.20:5001", "http://10.96.10.20:5001"),
        ("[fd00:10:96::abcd]:5001", "http://[fd00:10:96::abcd]:5001"),
        ("https://[fd00:10:96::abcd]", "https://[fd00:10:96::abcd]"),
    ],
)
def test_role_writes_url_of_endpoint(
    run_plays: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, endpoint: str, url: str
) -> None:
    done = run_plays(
        {"roles": ["k8scr.core.node_mirror"]},
        registry_endpoint=endpoint,
        node_mirror_path=str(tmp_path / "certs.d"),
        node_mirror_upstreams=["docker.io"],
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f'[host."{url}"]' in (tmp_path / "certs.d/docker.io/hosts.toml").read_text()
