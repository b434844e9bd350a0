# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one kind of failure that a person is told about in a line."""

from __future__ import annotations

import sys


class ClusterError(Exception):
    """What went wrong and what to do about it, fit to be shown as it is."""


def say(line: str) -> None:
    """Tell the person at the terminal; standard output is for what was asked for."""
    print(line, file=sys.stderr, flush=True)
