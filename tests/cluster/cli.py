# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs."""

from __future__ import annotations

import argparse
import json
import time

from . import catalogue, cluster, programs, status
from .errors import ClusterError, say


def main() -> int:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("programs")
    p.add_argument("names", nargs="*")
    verbs.add_parser("up")
    verbs.add_parser("down")
    p=verbs.add_parser("status")
    p.add_argument("--json", action="store_true")
    a = parser.parse_args()
    t=time.monotonic()
    try:
        if a.verb=="programs":
          for path in programs.ensure(a.names or [x.name for x in catalogue.NEEDED]).values():
            print(path)
        elif a.verb=="up": cluster.up()
        elif a.verb=="down": cluster.down()
        elif a.verb=="status":
            s=status.collect()
            print(json.dumps(s,indent=2) if a.json else "\n".join(status.lines(s)))
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    say(f"{a.verb}: {time.monotonic()-t:.1f}")
    return 0
