# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads skipped tests from JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

# The reason of ansible-test if a check does not apply to the collection, for example because it has no PowerShell.
NOTHING_TO_CHECK = "No tests applicable."


def skipped(reports: Path) -> list[str]:
    """Return the tests of a file, or of all files in a folder, that were skipped or expected to fail, with reasons."""
    files = sorted(reports.glob("*.xml")) if reports.is_dir() else [reports]
    return [test for file in files for test in _skipped(file)]


def _skipped(file: Path) -> Iterator[str]:
    for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314 (the tools' own output)
        for skip in case.iter("skipped"):
            reason = skip.get("message") or (skip.text or "").strip()
            if reason != NOTHING_TO_CHECK:
                yield f"{case.get('classname')} {case.get('name')}: {reason}"
