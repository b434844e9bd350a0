# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error of the test cluster, and its messages to the terminal."""

from __future__ import annotations

import sys


class ClusterError(Exception):
    """A failure with a message for the terminal: the problem and, if known, its solution."""


def log(line: str) -> None:
    """Print a line to standard error; standard output is for results.

    ``print`` writes the line break separately: other threads may write between.
    """
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
