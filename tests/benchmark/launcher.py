# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a command and writes down what it took: ``python3 -I -S launcher.py FILE WORD…``.

What the kernel counts for a child begins with what its parent has resident: this parent is small.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> int:
    """Run the command; its exit status comes back."""
    started_at, started = time.time(), time.monotonic()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    status, usage = os.wait4(child, 0)[1:]
    took = {
        "seconds": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "started_at": started_at,
    }
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(took, file)
    return os.waitstatus_to_exitcode(status)


sys.exit(main())
