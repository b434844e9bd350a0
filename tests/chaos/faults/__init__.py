# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults, one class for each. What is random in one is drawn when it is made."""

from __future__ import annotations

from .box import (
    AnswerLost,
    BadGateway,
    BodyLimit,
    GatewayTimeout,
    HalfClosed,
    IdleCut,
    ResetInAHeader,
    TokenExpired,
    TokenRenewed,
)
from .cluster_parts import (
    ApiServerKilled,
    ContainerdRestarted,
    ControllerManagerGone,
    PodOfTheClusterDeleted,
    PodRescheduled,
    PodRescheduledFromMemory,
    RegistryKilled,
    RightsTakenAway,
)
from .disk import ClientDiskFull, RegistryDiskFull, SourceChanged, SourceTruncated
from .fault import Fault
from .line import ApiServerAway, Cut, CutInAHeader, Long, Reset, Slow, Stall
from .run import Killed, PrunedMeanwhile, PulledMeanwhile, Twin

CLUSTER_FAULTS: tuple[type[Fault], ...] = (
    ApiServerKilled,
    ControllerManagerGone,
    PodOfTheClusterDeleted,
    ContainerdRestarted,
)
"""Those that whoever else uses the cluster notices."""

FAULTS: tuple[type[Fault], ...] = (
    ApiServerAway,
    Cut,
    CutInAHeader,
    Reset,
    Stall,
    Slow,
    Long,
    BodyLimit,
    BadGateway,
    GatewayTimeout,
    IdleCut,
    ResetInAHeader,
    HalfClosed,
    AnswerLost,
    TokenRenewed,
    TokenExpired,
    RightsTakenAway,
    RegistryKilled,
    PodRescheduled,
    PodRescheduledFromMemory,
    RegistryDiskFull,
    ClientDiskFull,
    SourceChanged,
    SourceTruncated,
    Killed,
    Twin,
    PulledMeanwhile,
    PrunedMeanwhile,
)
