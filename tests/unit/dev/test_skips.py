# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Skipped tests in JUnit XML, and integration targets that were not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev import ansible_test, junit

if TYPE_CHECKING:
    from pathlib import Path

REPORT = """<testsuites><testsuite>
<testcase classname="unit" name="passes"/>
<testcase classname="unit" name="waits"><skipped message="no network"/></testcase>
<testcase classname="sanity" name="pslint"><skipped>No tests applicable.</skipped></testcase>
</testsuite></testsuites>"""


def test_skipped_lists_tests_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)

    assert junit.skipped(tmp_path) == ["unit waits: no network"]


def test_skipped_targets_lists_targets_not_run(tmp_path: Path) -> None:
    for name in ("push", "pull", "setup_images"):
        (tmp_path / "tests/integration/targets" / name).mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/integration-1.json").write_text("""{"targets": {"push": {}}}""")

    assert ansible_test.skipped_targets(tmp_path, tmp_path) == ["integration pull: ansible-test did not run it"]
