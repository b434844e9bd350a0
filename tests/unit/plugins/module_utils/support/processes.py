# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that the code under test starts."""

from __future__ import annotations

import time
from pathlib import Path


def has_ended(pid: Path) -> bool:
    """Return whether the process with the ID in a file ended, or is a zombie that its parent has not waited for."""
    status = Path(f"/proc/{int(pid.read_text())}/stat")
    for _attempt in range(100):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
