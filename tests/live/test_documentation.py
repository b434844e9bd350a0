# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python examples in the guides run unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cluster import layout

GUIDES = Path(__file__).resolve().parents[2] / "docs/docsite/rst"
EXAMPLE = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def examples() -> list[str]:
    """Return the Python examples of all guides."""
    return [
        textwrap.dedent(found) for guide in sorted(GUIDES.glob("*.rst")) for found in EXAMPLE.findall(guide.read_text())
    ]


@pytest.mark.parametrize("program", examples())
def test_python_example_runs(program: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes of a release\n")
    environment = {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
