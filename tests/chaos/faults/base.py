# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base class of faults, and the context that they act on."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from ..module_process import Run
from ..sources import Source
from ..testbed import DIRECT, Testbed


@dataclass
class FaultContext:
    """State of a delivery that a fault can change.

    Attributes:
        testbed: Testbed of the delivery.
        sources: Images of a push; empty for a pull.
        repository: Repository of the first image.
        old: Previous digest of the tag, if any.
        start: Starts a concurrent run with the same or the other action.
        run: The current run.
        concurrent_runs: Runs that faults started.
        destroyed: Bytes that the registry accepted and lost.
        wasted: Bytes that were transferred and discarded.
    """

    testbed: Testbed
    sources: list[Source]
    repository: str
    old: str | None
    start: Callable[[str], Run]
    run: Run = field(init=False)
    concurrent_runs: list[Run] = field(default_factory=list)
    destroyed: int = 0
    wasted: int = 0


class Fault(ABC):
    """A fault during a delivery.

    The first line of the class docstring is the description in reports.

    Attributes:
        actions: Actions that the fault applies to.
        expected_error: Regular expression for errors that the fault may cause; empty if the delivery must succeed.
        seconds: Duration of the fault; None for the rest of the delivery.
        connection: Required connection to the API server.
        registry_proxy: Whether the fault needs the proxy in front of the registry.
        in_cluster: Whether the registry must run in the cluster.
        timeout: The module's option: longer than responses of a busy machine, shorter than a stall.
    """

    actions: tuple[str, ...] = ("push", "pull")
    expected_error = ""
    seconds: float | None = None
    connection = DIRECT
    registry_proxy = False
    timeout = 15
    in_cluster = False

    def __init__(self, draw: random.Random) -> None:  # noqa: B027 - not all faults have parameters
        """Draw the random parameters."""

    @classmethod
    def description(cls) -> str:
        """Return the description in reports."""
        return (cls.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def inject(self, context: FaultContext) -> None:
        """Inject the fault."""

    def clear(self, context: FaultContext) -> None:  # noqa: B027 - some faults end at once
        """Clear the fault."""
