# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the registry's writing container and of its garbage collection."""

from __future__ import annotations

from ..prunes.registry import PruneRegistry
from .base import Fault, FaultContext
from .components import ApiServerKilled


class WriterKilled(Fault):
    """Writing container of the registry killed"""

    in_cluster = True

    def inject(self, context: FaultContext) -> None:
        _registry(context).kill_writer()


class WritingProcessKilled(Fault):
    """Registry process in the writing container killed"""

    in_cluster = True

    def inject(self, context: FaultContext) -> None:
        _registry(context).kill_in_writer("registry serve")


class CollectorKilled(Fault):
    """Garbage collection killed"""

    in_cluster = True
    expected_error = "garbage collection|collector"

    def inject(self, context: FaultContext) -> None:
        _registry(context).kill_in_writer("registry garbage-collect")


class ApiServerRestarted(ApiServerKilled):
    """API server killed and restarted"""

    # A starting API server denies requests until it has read all Roles; tasks that start at this moment fail.
    expected_error = "the API server forbids access"


def _registry(context: FaultContext) -> PruneRegistry:
    registry = context.testbed.registry
    assert isinstance(registry, PruneRegistry)
    return registry
