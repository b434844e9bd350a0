# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers in texts from peers and files. ``int()`` raises errors for long texts and accepts signs and underscores."""

from __future__ import annotations

import re

_DECIMAL = re.compile("[0-9]{1,19}")


def parse_decimal(text: str) -> int | None:
    """Return the number in a text of 1 to 19 decimal digits; None for any other text."""
    return int(text) if _DECIMAL.fullmatch(text) else None
