# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pictures of terminals."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from captures.picture import draw
from unit.plugins.module_utils.support.terminal import Screen

SVG = "{http://www.w3.org/2000/svg}"


def test_picture_shows_lines_with_colors_and_columns() -> None:
    screen = Screen(40)
    screen.write("ok <1>   \x1b[0;31mfailed\x1b[0m\r\n\r\nlast")

    picture = ElementTree.fromstring(draw("A & B", screen.styled_lines(), 40))  # noqa: S314 - of this test

    first, last = picture.findall(f"{SVG}text")
    assert picture.findtext(f"{SVG}title") == "A & B"
    assert [(part.text, part.get("class")) for part in first] == [("ok <1>", None), ("failed", "c1")]
    assert float(first[1].get("x", "0")) - float(first[0].get("x", "0")) == pytest.approx(9 * 8.4)
    assert float(last.get("y", "0")) - float(first.get("y", "0")) == 40
