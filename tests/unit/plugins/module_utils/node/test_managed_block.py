# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import (
    BEGIN,
    BEGIN_JOINED,
    END,
    own_part,
    read_marked,
    split_lines,
    taken_back,
    with_block,
    with_span,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ODD_BREAKS = "\x0b\x0c\x1c\x85\u2028\u2029\r"
LINES = st.lists(st.sampled_from(["a\r\n", "b\n", "\r\n", "#"])).map("".join)
TEXTS = st.text(st.sampled_from("ab# \n\n" + ODD_BREAKS)) | LINES


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_taken_back_restores_every_byte_of_any_text(text: str, data: st.DataObject) -> None:
    lines = split_lines(text)
    place = data.draw(st.integers(0, len(lines)))
    aside = data.draw(st.sets(st.integers(0, max(len(lines) - 1, 0))))
    assert taken_back(with_block(lines, place, ["ours"], aside)) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_taken_back_restores_every_byte_of_replaced_part(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert taken_back(with_span(text, start, end, ["ours"])) == text


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_with_block_uses_line_breaks_of_file(line_break: str) -> None:
    text = f"a = 1{line_break}b = 2{line_break}"
    after = with_block(split_lines(text), 1, ["ours"])
    assert after == f"a = 1{line_break}{BEGIN}{line_break}ours{line_break}{END}{line_break}b = 2{line_break}"


def test_with_block_begins_new_line_after_last_one_without_line_break() -> None:
    assert with_block(["a"], 1, ["ours"]) == f"a\n{BEGIN_JOINED}\nours\n{END}\n"


def test_own_part_shows_block_and_lines_set_aside() -> None:
    text = with_block(["a\n", "b\n"], 1, ["ours"], [1])
    assert own_part(text) == f"{BEGIN}\nours\n{END}\n# set aside by k8scr.core: b\n"


DAMAGED = {
    "begin-without-end": (f"a = 1\n{BEGIN}\nours\nb = 2\n[plugins]\n", 2, "has no END after it"),
    "end-without-begin": (f"a = 1\nours\n{END}\nb = 2\n", 3, "has no BEGIN before it"),
    "nested": (f"{BEGIN}\nours\n{BEGIN}\n{END}\n{END}\n", 3, "follows another one, in line 1"),
    "second-end": (f"{BEGIN}\n{END}\nb\n{END}\n", 4, "complete with line 2"),
    "second-block": (f"{BEGIN}\n{END}\nb\n{BEGIN}\n{END}\n", 4, "complete with line 2"),
    "indented-begin": (f"  {BEGIN}\nours\n", 1, "has no END after it"),
    "crlf": (f"a\r\n{BEGIN}\r\nours\r\n", 2, "has no END after it"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_read_marked_names_file_and_line_of_damaged_markers(damage: str) -> None:
    text, line, reason = DAMAGED[damage]
    with pytest.raises(InputError, match=f"/etc/x is damaged: line {line}: .*{reason}"):
        read_marked(text, "/etc/x")


@pytest.mark.parametrize("damage", DAMAGED)
def test_taken_back_deletes_nothing_with_damaged_markers(damage: str) -> None:
    with pytest.raises(InputError):
        taken_back(DAMAGED[damage][0])
