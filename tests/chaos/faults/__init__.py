# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults, one class each; instances draw their random parameters."""

from __future__ import annotations

from .base import Fault
from .components import (
    ApiServerKilled,
    ClusterPodDeleted,
    ContainerdRestarted,
    ControllerManagerKilled,
    PermissionsRevoked,
    PodRescheduled,
    PodRescheduledWithoutStorage,
    RegistryKilled,
)
from .connection import (
    ApiServerUnreachable,
    ConnectionReset,
    CutAfterBytes,
    CutInHeader,
    HighLatency,
    LowBandwidth,
    Stall,
)
from .disk import ClientDiskFull, RegistryDiskFull, SourceChanged, SourceTruncated
from .module_runs import ConcurrentPrune, ConcurrentPull, ConcurrentPush, ModuleKilled
from .proxy import (
    BadGateway,
    BodyLimit,
    GatewayTimeout,
    HalfClosed,
    IdleTimeout,
    ResetInHeader,
    ResponseLost,
    TokenExpired,
    TokenRenewed,
)
from .prunes import ApiServerRestarted, CollectorKilled, WriterKilled, WritingProcessKilled

CLUSTER_FAULTS: tuple[type[Fault], ...] = (
    ApiServerKilled,
    ControllerManagerKilled,
    ClusterPodDeleted,
    ContainerdRestarted,
)
"""Faults that affect other users of the cluster."""

FAULTS: tuple[type[Fault], ...] = (
    ApiServerUnreachable,
    CutAfterBytes,
    CutInHeader,
    ConnectionReset,
    Stall,
    LowBandwidth,
    HighLatency,
    BodyLimit,
    BadGateway,
    GatewayTimeout,
    IdleTimeout,
    ResetInHeader,
    HalfClosed,
    ResponseLost,
    TokenRenewed,
    TokenExpired,
    PermissionsRevoked,
    RegistryKilled,
    PodRescheduled,
    PodRescheduledWithoutStorage,
    RegistryDiskFull,
    ClientDiskFull,
    SourceChanged,
    SourceTruncated,
    ModuleKilled,
    ConcurrentPush,
    ConcurrentPull,
    ConcurrentPrune,
)

PRUNE_FAULTS: tuple[type[Fault], ...] = (
    WriterKilled,
    WritingProcessKilled,
    CollectorKilled,
    ModuleKilled,
    ApiServerRestarted,
    ControllerManagerKilled,
    ApiServerUnreachable,
    ConnectionReset,
)
"""Faults of prunes; the connection to the API server is that of the prune alone."""
