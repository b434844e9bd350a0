# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs."""

from __future__ import annotations

import argparse

from . import catalogue, programs
from .errors import ClusterError, say


def main() -> int:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("programs")
    p.add_argument("names", nargs="*")
    a = parser.parse_args()
    try:
        for path in programs.ensure(a.names or [x.name for x in catalogue.NEEDED]).values():
            print(path)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0
