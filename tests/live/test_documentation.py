# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python examples in the guides run unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import layout

from .guide_pages import GUIDES, read_guide


def examples() -> list[str]:
    """Return the Python examples of all guides."""
    return [program for guide in sorted(GUIDES.glob("*.rst")) for program in read_guide(guide.name).programs]


@pytest.mark.parametrize("program", examples())
def test_python_example_runs(program: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes of a release\n")
    environment = {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
