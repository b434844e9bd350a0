# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a command and writes its cost to a file: ``python3 -I -S launcher.py FILE COMMAND…``.

The kernel's peak memory of a child starts at the resident memory of its parent, so this process stays small.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> int:
    """Run the command and return its exit status."""
    started_at, started = time.time(), time.monotonic()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    status, usage = os.wait4(child, 0)[1:]
    cost = {
        "seconds": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "started_at": started_at,
    }
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(cost, file)
    return os.waitstatus_to_exitcode(status)


sys.exit(main())
