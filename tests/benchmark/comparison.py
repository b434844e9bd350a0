# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A comparison: a workload, and the clients that are measured with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .client import Client
from .workloads import Factory


@dataclass(frozen=True)
class Comparison:
    """One workload, and the clients that are measured with it.

    Attributes:
        name: Name on the command line and in results.json.
        title: Title in the report.
        workload: The workload.
        clients: The clients by name.
        initial: Content of the registry before each measurement, under the same names.
        keep: Whether clients leave that content unchanged, so that one preparation is enough.
        rounds: Maximum number of rounds, for slow comparisons.
        series: Plot that the comparison is a point of.
        x: Position in that plot.
        note: Explanation of the figures in the report.
        upstream: Whether the clients read from the upstream registry of :mod:`.upstream`.
    """

    name: str
    title: str
    workload: Factory
    clients: Mapping[str, Client]
    initial: Factory | None = None
    keep: bool = False
    rounds: int | None = None
    series: str = ""
    x: float = 0
    note: str = ""
    upstream: bool = False
