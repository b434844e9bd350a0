# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers, sizes, rates and durations in messages."""

from __future__ import annotations

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 image`` or ``12 images``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_text(count: float) -> str:
    """Return a number of bytes for messages: ``41.2 MiB``."""
    number, unit = _scaled(count, _unit_of(count))
    return f"{number} {unit}"


def rate_text(rate: float) -> str:
    """Return bytes a second for messages: ``3.1 MiB/s`` or ``61 MiB/s``."""
    number, unit = _scaled(rate, _unit_of(rate), decimals=rate < 9.95 * 1024 ** _unit_of(rate))
    return f"{number} {unit}/s"


def share_text(done: float, total: float) -> str:
    """Return transferred and all bytes for messages: ``3.1 of 18.4 GiB``."""
    unit = _unit_of(total)
    part = size_text(done) if done and _unit_of(done) != unit else _scaled(done, unit)[0]
    return f"{part} of {size_text(total)}"


def seconds_text(seconds: float) -> str:
    """Return a duration for messages: ``3.1 s``, ``35 s``, ``4 min`` or ``2 h 5 min``."""
    return f"{seconds:.1f} s" if seconds < 9.95 else whole_seconds_text(seconds)


def whole_seconds_text(seconds: float) -> str:
    """Return a duration that is still running or estimated, of at least one second: ``3 s`` or ``4 min``."""
    if seconds < 89.5:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _unit_of(count: float) -> int:
    for power, _unit in enumerate(_UNITS):
        # 1023.96 KiB would be shown as 1024.0 KiB.
        if count < 1023.95 * 1024**power:
            return power
    return len(_UNITS) - 1


def _scaled(count: float, power: int, decimals: bool = True) -> tuple[str, str]:
    return (f"{count / 1024**power:.1f}" if power and decimals else f"{count / 1024**power:.0f}"), _UNITS[power]
