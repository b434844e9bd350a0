# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Managed blocks: inserted and removed."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import (
    BEGIN,
    BEGIN_LAST,
    END,
    insert_block,
    managed_lines,
    parse_markers,
    remove_block,
    replace_span,
    split_lines,
)
from hypothesis import given, settings
from hypothesis import strategies as st

OTHER_BREAKS = "\x0b\x0c\x1c\x85\u2028\u2029\r"
LINES = st.lists(st.sampled_from(["a\r\n", "b\n", "\r\n", "#"])).map("".join)
TEXTS = st.text(st.sampled_from("ab# \n\n" + OTHER_BREAKS)) | LINES


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_remove_block_restores_every_byte_of_any_text(text: str, data: st.DataObject) -> None:
    lines = split_lines(text)
    index = data.draw(st.integers(0, len(lines)))
    disabled = data.draw(st.sets(st.integers(0, max(len(lines) - 1, 0))))
    assert remove_block(insert_block(lines, index, ["managed"], disabled)) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_remove_block_restores_every_byte_of_replaced_span(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert remove_block(replace_span(text, start, end, ["managed"])) == text


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_insert_block_uses_line_breaks_of_file(line_break: str) -> None:
    text = f"a = 1{line_break}b = 2{line_break}"
    after = insert_block(split_lines(text), 1, ["managed"])
    assert after == f"a = 1{line_break}{BEGIN}{line_break}managed{line_break}{END}{line_break}b = 2{line_break}"


def test_insert_block_begins_new_line_after_last_one_without_line_break() -> None:
    assert insert_block(["a"], 1, ["managed"]) == f"a\n{BEGIN_LAST}\nmanaged\n{END}\n"


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_remove_block_keeps_line_break_before_lines_that_follow_block(line_break: str) -> None:
    after = insert_block([f"a{line_break}", "b"], 2, ["managed"])
    assert remove_block(after) == f"a{line_break}b"
    assert remove_block(f"{after}c{line_break}") == f"a{line_break}b{line_break}c{line_break}"


def test_managed_lines_returns_block_and_disabled_lines() -> None:
    text = insert_block(["a\n", "b\n"], 1, ["managed"], [1])
    assert managed_lines(text) == f"{BEGIN}\nmanaged\n{END}\n# set aside by k8scr.core: b\n"


DAMAGED = {
    "begin-without-end": (f"a = 1\n{BEGIN}\nmanaged\nb = 2\n[plugins]\n", 2, "has no END after it"),
    "end-without-begin": (f"a = 1\nmanaged\n{END}\nb = 2\n", 3, "has no BEGIN before it"),
    "nested": (f"{BEGIN}\nmanaged\n{BEGIN}\n{END}\n{END}\n", 3, "follows another one, in line 1"),
    "second-end": (f"{BEGIN}\n{END}\nb\n{END}\n", 4, "complete block that ends in line 2"),
    "second-block": (f"{BEGIN}\n{END}\nb\n{BEGIN}\n{END}\n", 4, "complete block that ends in line 2"),
    "indented-begin": (f"  {BEGIN}\nmanaged\n", 1, "has no END after it"),
    "crlf": (f"a\r\n{BEGIN}\r\nmanaged\r\n", 2, "has no END after it"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_parse_markers_names_file_and_line_of_damaged_markers(damage: str) -> None:
    text, line, reason = DAMAGED[damage]
    with pytest.raises(InputError, match=f"/etc/x is damaged: line {line}: .*{reason}"):
        parse_markers(text, "/etc/x")


@pytest.mark.parametrize("damage", DAMAGED)
def test_remove_block_rejects_damaged_markers(damage: str) -> None:
    with pytest.raises(InputError):
        remove_block(DAMAGED[damage][0])
