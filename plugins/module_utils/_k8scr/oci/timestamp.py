# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times in JSON documents."""

from __future__ import annotations

import re
from datetime import datetime


def parse_timestamp(timestamp: object) -> float | None:
    """Return a time in the format of RFC 3339 as seconds since 1970; ``None`` if it is missing or invalid."""
    # Python before 3.11 reads neither the letter Z nor all numbers of decimals.
    text = re.sub(r"\.\d+", "", str(timestamp)).upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
