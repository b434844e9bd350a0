# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The screen of a terminal as SVG: text that can be selected, in the colors of a light or a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unit.plugins.module_utils.support.terminal import Span, Style

_FONT_SIZE = 14
_CHARACTER = _FONT_SIZE * 0.6
"""The width of a character in most fixed-width fonts."""
_LINE = 20
_MARGIN = 16
_LIGHT = ("#24292f", "#b3261e", "#116329", "#7a5200", "#0550ae", "#8250df", "#0b6a75", "#57606a")
_DARK = ("#8b949e", "#ff8f87", "#6fdd8b", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#e6edf3")
_FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def draw(title: str, lines: Sequence[Sequence[Span]], columns: int) -> str:
    """Return a picture of a screen.

    Args:
        title: The title for screen readers.
        lines: The lines.
        columns: The width of the screen.
    """
    width = round(columns * _CHARACTER + 2 * _MARGIN)
    height = len(lines) * _LINE + 2 * _MARGIN - 4
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" xml:space="preserve"'
        f' font-family="{_FONTS}" font-size="{_FONT_SIZE}">'
    )
    used = sorted({style.color % len(_LIGHT) for line in lines for _text, style in line if style.color is not None})
    background = f'<rect class="b" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>'
    texts = [_line(line, _MARGIN + _LINE * row + 12) for row, line in enumerate(lines)]
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", _styles(used), background, *filter(None, texts), "</svg>", ""]
    )


def _styles(colors: Sequence[int]) -> str:
    def rules(background: str, border: str, text: str, palette: Sequence[str]) -> str:
        used = "".join(f".c{color}{{fill:{palette[color]}}}" for color in colors)
        return f".b{{fill:{background};stroke:{border}}}text{{fill:{text}}}{used}"

    light = rules("#ffffff", "#d0d7de", "#24292f", _LIGHT)
    dark = rules("#161b22", "#30363d", "#e6edf3", _DARK)
    return f"<style>{light}@media(prefers-color-scheme:dark){{{dark}}}</style>"


def _line(spans: Sequence[Span], y: int) -> str:
    column = 0
    parts = []
    for text, style in spans:
        if text.strip():
            # With its own position, a span begins at its column in every font.
            parts.append(
                f'<tspan x="{_MARGIN + column * _CHARACTER:g}"{_attributes(style)}>{escape(text.rstrip())}</tspan>'
            )
        column += len(text)
    return f'<text y="{y}">{"".join(parts)}</text>' if parts else ""


def _attributes(style: Style) -> str:
    color = "" if style.color is None else f' class="c{style.color % len(_LIGHT)}"'
    return color + (' font-weight="600"' if style.bold else "")
