# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

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


def test_a_skipped_test_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)

    assert junit.skipped(tmp_path) == ["unit waits: no network"]


def test_an_integration_target_that_did_not_run_is_told(tmp_path: Path) -> None:
    for name in ("push", "pull", "setup_images"):
        (tmp_path / "tests/integration/targets" / name).mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/integration-1.json").write_text("""{"targets": {"push": {}}}""")

    assert ansible_test.targets_left_out(tmp_path, tmp_path) == ["integration pull: ansible-test left it out"]
