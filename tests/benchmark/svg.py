# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bar charts and line charts as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("#0b6bcb", "#c4412c", "#2e8b57", "#8250a8", "#b8860b", "#5f6b76")
"""The first color marks the collection's modules."""
_WIDTH = 760
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'
_EMPTY = "<svg/>"


def bars(title: str, unit: str, values: Mapping[str, float], highlight: str) -> str:
    """Return a chart of horizontal bars.

    Args:
        title: Title of the chart.
        unit: Unit of the values.
        values: The values by label.
        highlight: Prefix of the labels to highlight.
    """
    left, row, top = 300, 26, 44
    longest = max(values.values(), default=1.0)
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = top + number * row
        width = value / longest * (_WIDTH - left - 90)
        color = COLORS[0] if name.startswith(highlight) else COLORS[-1]
        parts.append(_text(left - 8, y + 15, name, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{row - 7}" fill="{color}"/>')
        parts.append(_text(left + width + 6, y + 15, f"{value:.3g} {unit}"))
    return _svg(title, top + len(values) * row + 8, parts)


@dataclass(frozen=True)
class Axis:
    """An axis of a line chart.

    Attributes:
        label: Label of the axis.
        log: Whether the axis is logarithmic.
    """

    label: str
    log: bool = False

    def ticks(self, values: Sequence[float]) -> list[float]:
        """Return round numbers that cover the values."""
        if self.log:
            low = math.floor(math.log10(min(values)))
            high = math.ceil(math.log10(max(values)))
            return [10.0**power for power in range(low, max(high, low + 1) + 1)]
        step = 10 ** math.floor(math.log10(max(values) or 1))
        step = next(step / part for part in (5, 2, 1, 0.5) if max(values) / (step / part) <= 6)
        return [step * number for number in range(math.ceil(max(values) / step) + 1)]

    def at(self, value: float, ticks: Sequence[float]) -> float:
        """Return the position of a value between the first tick, 0, and the last tick, 1."""
        if self.log:
            return math.log(value / ticks[0]) / math.log(ticks[-1] / ticks[0])
        return (value - ticks[0]) / (ticks[-1] - ticks[0])


def lines(title: str, x: Axis, y: Axis, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a line chart with markers."""
    points = [point for line in series.values() for point in line]
    if not points:
        return _EMPTY
    left, right, top, bottom = 70, _WIDTH - 20, 44, 330
    x_ticks, y_ticks = x.ticks([point[0] for point in points]), y.ticks([point[1] for point in points])

    def position(point: tuple[float, float]) -> tuple[float, float]:
        across, up = x.at(point[0], x_ticks), y.at(point[1], y_ticks)
        return left + across * (right - left), bottom - up * (bottom - top)

    parts = []
    for tick in x_ticks:
        x_position = position((tick, y_ticks[0]))[0]
        parts.append(f'<path d="M{x_position:.1f} {top}V{bottom}" stroke="#e3e6e8"/>')
        parts.append(_text(x_position, bottom + 18, f"{tick:,g}", "middle"))
    for tick in y_ticks:
        y_position = position((x_ticks[0], tick))[1]
        parts.append(f'<path d="M{left} {y_position:.1f}H{right}" stroke="#e3e6e8"/>')
        parts.append(_text(left - 8, y_position + 4, f"{tick:,g}", "end"))
    parts.append(_text((left + right) / 2, bottom + 38, x.label, "middle"))
    parts.append(_text(left, top - 8, y.label))
    for number, (name, line) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        positions = [position(point) for point in sorted(line)]
        path = "L".join(f"{across:.1f} {up:.1f}" for across, up in positions)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3.5" fill="{color}"/>' for across, up in positions]
        at = bottom + 62 + 20 * number
        parts.append(f'<rect x="{left}" y="{at - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(_text(left + 20, at, name))
    return _svg(title, bottom + 62 + 20 * len(series), parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" {_FONT}>'
    background = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    heading = f'<text x="12" y="22" font-weight="600" fill="#1c2126">{escape(title)}</text>'
    return "\n".join([head, f"<title>{escape(title)}</title>", background, heading, *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#39424a">{escape(text)}</text>'
