# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.preheat_report import PreheatRow, report

ROWS = [
    PreheatRow("node-2", "a:1", "failed", 2.14, "not found"),
    PreheatRow("node-1", "registry.example.com/b:1", "pulled", 0.66),
    PreheatRow("node-1", "a:1", "failed", 2.0, "not found"),
]


def test_report_is_sorted_by_node_and_image() -> None:
    assert report(ROWS)["report"][2] == {
        "node": "node-2",
        "image": "a:1",
        "result": "failed",
        "seconds": 2.14,
        "reason": "not found",
    }


def test_report_fails_and_names_each_failed_image_and_node() -> None:
    result = report(ROWS)

    assert result["failed"]
    assert result["msg"] == "2 pulls of 3 failed:\nnot found:\n  a:1 on node-1\n  a:1 on node-2"


def test_report_has_aligned_table() -> None:
    assert report(ROWS)["table"] == [
        "NODE    IMAGE                     RESULT  SECONDS  REASON",
        "node-1  a:1                       failed  2.0      not found",
        "node-1  registry.example.com/b:1  pulled  0.7",
        "node-2  a:1                       failed  2.1      not found",
    ]


def test_report_is_unchanged_if_all_images_existed() -> None:
    result = report([PreheatRow("node-1", "a:1", "present")])

    assert not result["changed"]
    assert "failed" not in result


def test_row_adds_nothing_for_ordinary_node() -> None:
    assert ROWS[1].line == "registry.example.com/b:1 on node-1 pulled (0.7 s)"
