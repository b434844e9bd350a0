# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run's JUnit XML says of tests that did not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

# What ansible-test says where a collection has nothing that a check is for, as PowerShell.
NOTHING_TO_CHECK = "No tests applicable."


def skipped(reports: Path) -> list[str]:
    """The tests that were skipped or expected to fail, and why, from a file or a folder of files."""
    files = sorted(reports.glob("*.xml")) if reports.is_dir() else [reports]
    return [test for file in files for test in _skipped(file)]


def _skipped(file: Path) -> Iterator[str]:
    for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314 (the tools' own output)
        for skip in case.iter("skipped"):
            reason = skip.get("message") or (skip.text or "").strip()
            if reason != NOTHING_TO_CHECK:
                yield f"{case.get('classname')} {case.get('name')}: {reason}"
